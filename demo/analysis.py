"""Look inside the network: `streamlit run demo/analysis.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # `streamlit run` puts only this folder there

import streamlit as st
import torch

from demo.panels import atoms, coefficients, compare, defocus, kernels, overview, reblur, results, series
from demo.studio import LARGEST_PHOTO, Seen, Subject, analyze, example_photos, read_upload, subject
from nrknet.imageio import IMAGE_SUFFIXES, ImageError, Photo
from nrknet.inference import DETAIL_PIXELS
from nrknet.weights import bundled_models

KEEP_UPLOADS = 4
# Pixels to which large photos are reduced: not at all, or to what takes a few seconds without a GPU.
FULL_SIZE, QUICK_PIXELS = 0, 1_000_000
NETWORK_HELP = "A bundled network, or type a folder that `nrknet train` made, a .pth file, or owner/repo on the Hub."

Panel = Callable[[Subject, Seen, Seen | None], None]
PANELS: dict[str, Panel] = {
    "Overview": lambda shown, seen, _: overview.show(shown, seen),
    "Atoms": lambda _, seen, __: atoms.show(seen),
    "Pixel kernels": lambda _, seen, __: kernels.show(seen),
    "Coefficients": lambda _, seen, __: coefficients.show(seen),
    "Neumann series": lambda _, seen, __: series.show(seen),
    "Defocus map": lambda _, seen, __: defocus.show(seen),
    "Reblur": lambda _, seen, __: reblur.show(seen),
    "Compare": lambda _, seen, other: compare.show(seen, other),
}


def take_upload() -> None:
    """Add the uploaded photo to those to choose from and choose it; a broken one changes nothing but says why."""
    file = st.session_state["upload"]
    st.session_state["problem"] = None
    if file is None:
        return
    try:
        photo = read_upload(file.name, file.getvalue())
    except ImageError as error:
        st.session_state["problem"] = str(error)
        return
    uploads: dict[str, Photo] = st.session_state["uploads"]
    uploads.pop(file.name, None)
    uploads[file.name] = photo
    while len(uploads) > KEEP_UPLOADS:
        del uploads[next(iter(uploads))]
    st.session_state["photo"] = file.name


def known_networks() -> list[str]:
    """The bundled networks and those that were typed into a chooser, for the other to choose as well."""
    typed = (st.session_state.get(chooser) for chooser in ("network", "other"))
    return list(dict.fromkeys([*bundled_models(), *filter(None, typed)]))


def sidebar() -> tuple[str, Photo, str, str | None]:
    """The choosers: the photo's name, the photo, the network, and the one to compare it with."""
    uploads: dict[str, Photo] = st.session_state.setdefault("uploads", {})
    st.header("NRKNet, inside")
    st.file_uploader(
        "Add a photo", type=sorted(IMAGE_SUFFIXES), key="upload", on_change=take_upload,
        help=f"JPEG, PNG, TIFF, WebP, BMP or GIF, up to {LARGEST_PHOTO / 1e6:.0f} megapixels; kept in memory only.",
    )  # fmt: skip
    if st.session_state.get("problem"):
        st.error(st.session_state["problem"])
    photos = {**dict(reversed(uploads.items())), **example_photos()}
    name = st.selectbox("Photo", list(photos), key="photo", bind="query-params")
    networks = known_networks()
    network = st.selectbox("Network", networks, key="network", accept_new_options=True, help=NETWORK_HELP)
    other = st.selectbox(
        "Compare with", networks, index=None, key="other", accept_new_options=True, help=NETWORK_HELP,
        placeholder="No second network",
    )  # fmt: skip
    return str(name), photos[str(name)], network or networks[0], other


def choose_size(name: str, photo: Photo) -> Subject:
    """The photo, or where it is too large for all details and the visitor so chooses, a reduced version."""
    height, width = photo.pixels.shape[:2]
    if height * width <= DETAIL_PIXELS:
        return subject(name, photo)
    choice = st.radio(
        "Size", [QUICK_PIXELS, DETAIL_PIXELS, FULL_SIZE], key=f"size-{name}", persist_state="session", horizontal=True,
        format_func=lambda most: f"Reduced to {most / 1e6:g} megapixel" if most else "Full size, few details",
    )  # fmt: skip
    if choice == FULL_SIZE:
        st.info("At full size there are the restored photo, the defocus map and the atoms, but no more.")
        return subject(name, photo)
    reduced = subject(name, photo, most=choice)
    rows, columns = reduced.pixels.shape[:2]
    st.info(
        f"{name} has {height * width / 1e6:.1f} megapixels; coefficients and terms are kept up to "
        f"{DETAIL_PIXELS / 1e6:g}. All below is about the photo reduced to {columns} × {rows}: one pixel here is "
        f"{width / columns:.2f} pixels of the file, and blur radii are that much smaller."
    )
    return reduced


def look(shown: Subject, network: str) -> Seen | None:
    """What the network sees in the photo; None where it cannot be loaded or run, which is then said."""
    try:
        return analyze(shown, network)
    except ValueError as error:
        st.error(str(error))
    except (MemoryError, torch.OutOfMemoryError):
        st.error("There is not enough memory for a photo of this size.")
    return None


def page() -> None:
    """All of it."""
    st.set_page_config(page_title="NRKNet, inside", layout="wide")
    with st.sidebar:
        name, photo, network, other_network = sidebar()
    st.caption(f"**{name}** under **{network}** · photo and network are chosen in the sidebar")
    shown = choose_size(name, photo)
    seen = look(shown, network)
    other = look(shown, other_network) if other_network else None
    tabs = st.tabs([*PANELS, "Results"], key="view", on_change="rerun", bind="query-params")
    for tab, panel in zip(tabs, PANELS.values(), strict=False):
        with tab:
            if tab.open and seen is not None:
                panel(shown, seen, other)
    with tabs[-1]:
        if tabs[-1].open:
            results.show()


page()
