"""What the panels share: a figure with its downloads, and the choosers of scale, colour and pixel."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from numpy.typing import NDArray

from demo.interactive import Floats, Pixels, picture
from demo.pixel_picker import pixel_picker
from demo.shrink import shrink
from demo.studio import Seen

Arrays = Mapping[str, NDArray[Any]]
PICKER_SIDE = 560
SIDES = "Rows down, columns to the right, counted from the middle."
COLOURS = ("R", "G", "B")
NO_DETAILS = "This photo is over 4 megapixels at its full size: choose its reduced version, above, to see this."


def chart(figure: go.Figure, name: str, *, title: str, values: Callable[[], Arrays]) -> None:
    """A figure, and below it what can be saved of it.

    Args:
        figure: to show.
        name: of the files, and unique on the page.
        title: in the saved figure, which stands alone.
        values: name -> the numbers behind it, at full resolution; made when they are asked for.
    """
    options = {"toImageButtonOptions": {"format": "png", "filename": name, "scale": 2}}
    st.plotly_chart(figure, key=f"chart-{name}", config=options, alt=title)
    save(lambda: figure, name, title=title, values=values)


def save(figure: Callable[[], go.Figure], name: str, *, title: str, values: Callable[[], Arrays]) -> None:
    """What can be saved of a figure; arguments as for `chart`, the figure made when it is asked for."""
    place = st.popover("Save", icon=":material/download:", type="tertiary", key=f"save-{name}", on_change="rerun")
    if not place.open:  # closed, it would only make sliders slower
        return
    with place:
        st.download_button(
            "Figure as HTML", lambda: _page(figure(), title), f"{name}.html", "text/html",
            key=f"html-{name}", on_click="ignore",
        )  # fmt: skip
        st.download_button(
            "Values as NPZ", lambda: _npz(values()), f"{name}.npz", "application/octet-stream",
            key=f"npz-{name}", on_click="ignore",
        )  # fmt: skip
        st.caption("HTML: about 5 MB, opens anywhere, also offline. PNG: a chart's camera button, here or there.")


def _page(figure: go.Figure, title: str) -> str:
    """The figure as a page of its own, the plotting library included."""
    alone = go.Figure(figure)
    margin = (alone.layout.margin.t or 0) + 40
    alone.update_layout(title={"text": title, "y": 0.98, "yanchor": "top"}, margin={"t": margin})
    return alone.to_html(include_plotlyjs=True, full_html=True)


def _npz(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def scale_chooser(count: int, key: str) -> int:
    """The scale t that is looked at, 1 the full size."""
    options = list(range(1, count + 1))
    return st.segmented_control(
        "Scale", options, default=1, required=True, key=f"scale-{key}", persist_state="session",
        format_func=lambda t: "t = 1, full size" if t == 1 else f"t = {t}, 1/{2 ** (t - 1)}",
    )  # fmt: skip


def colour_chooser(sets: int, key: str) -> int:
    """Whose atoms are shown, where each colour has its own; 0 where all share them."""
    if sets == 1:
        return 0
    return st.segmented_control(
        "Colour", range(3), default=1, required=True, key=f"colour-{key}", persist_state="session",
        format_func=COLOURS.__getitem__,
    )  # fmt: skip


def chosen_pixel(seen: Seen) -> tuple[int, int]:
    """The pixel of the photo that is looked at, the middle at first; the same in all panels."""
    rows, columns = seen.pixels.shape[:2]
    return st.session_state.setdefault(f"pixel-{seen.digest}", (rows // 2, columns // 2))


def pixel_chooser(seen: Seen, key: str) -> tuple[int, int]:
    """The photo to click on, and two sliders.

    Args:
        seen: whose photo.
        key: unique on the page.

    Returns:
        row, column.
    """
    rows, columns = seen.pixels.shape[:2]
    row, column = chosen_pixel(seen)
    names = (f"row-{key}-{seen.digest}", f"column-{key}-{seen.digest}")
    for name, value in zip(names, (row, column), strict=True):
        st.session_state[name] = value  # the photo may have been clicked on, here or in another panel

    def slid() -> None:
        st.session_state[f"pixel-{seen.digest}"] = tuple(st.session_state[name] for name in names)

    def picked(row: int, column: int) -> None:
        st.session_state[f"pixel-{seen.digest}"] = (row, column)

    pixel_picker(
        small_picture(seen.digest, seen.pixels), size=(rows, columns), row=row, column=column,
        key=f"picker-{key}-{seen.digest}", on_pick=picked,
    )  # fmt: skip
    st.slider("Row", 0, rows - 1, key=names[0], on_change=slid)
    st.slider("Column", 0, columns - 1, key=names[1], on_change=slid)
    return row, column


@st.cache_data(max_entries=8, show_spinner=False)
def small_picture(digest: str, _pixels: NDArray[Any]) -> str:
    """A photo of this digest, small enough to travel with every move of a slider."""
    return picture(shrink(_pixels, PICKER_SIDE))


def unit(pixels: Pixels) -> Floats:
    """(H,W,3), 8 or 16 bit, as numbers from 0 to 1."""
    return pixels / np.float32(np.iinfo(pixels.dtype).max)


def grouped(number: float) -> str:
    """A whole number with its thousands set apart."""
    return f"{number:,.0f}".replace(",", " ")


def magnitude(value: float) -> str:
    """Three digits, whatever the size; nothing where it is not defined."""
    return "–" if math.isnan(value) else f"{value:.3g}"
