"""Atoms: the kernels A_j that all blur is mixed from, and the taps they are made of."""

from __future__ import annotations

import numpy as np
import streamlit as st
import torch

from demo.hover_map import hover_map
from demo.interactive import curves, index, kernel_map
from demo.panels.common import SIDES, chart, colour_chooser, magnitude, save
from demo.studio import Seen
from nrknet.analysis import atom_taps
from nrknet.kernels import effective_radius


def show(seen: Seen) -> None:
    """The panel."""
    st.markdown(
        "Every blur kernel is a mix of these: $K_{h,w} = \\sum_j \\Gamma_j[h,w]\\,A_j$, with $A_0$ the delta, and "
        "recursive atoms $A_j = A_{j-1} * (a_j a_j^\\top)$ from three taps $a_j$ each (Eq. 1 to 3)."
    )
    left, right = st.columns(2)
    with left:
        _atom(seen)
    with right:
        _profiles(seen)
    left, right = st.columns(2)
    with left:
        _taps(seen)
    with right:
        _radii(seen)


@st.fragment
def _atom(seen: Seen) -> None:
    atoms = seen.analysis.atoms
    which = colour_chooser(atoms.shape[1], f"atoms-{seen.network}")
    j = st.slider("Atom j", 0, len(atoms) - 1, min(3, len(atoms) - 1), key=f"atom-{seen.network}",
                  persist_state="session")  # fmt: skip
    compress = st.toggle("Colours follow the square root", value=True, key="atoms-root", persist_state="session")
    kernel = atoms[j, which]
    radius = float(effective_radius(torch.from_numpy(kernel)[None]))
    facts = f"Effective radius {radius:.2f} px, weight in the middle {magnitude(float(kernel.max()))}"
    with st.container(key="chart-atom"):
        hover_map(
            kernel, key="map-atom", title=f"A{index(j)}", centred=True, compress=compress, above=facts, below=SIDES
        )
    save(
        lambda: kernel_map(kernel, label=f"A{index(j)}", compress=compress), "atom",
        title=f"Atom {j} of {seen.network}", values=lambda: {"atoms": atoms},
    )  # fmt: skip


def _profiles(seen: Seen) -> None:
    st.markdown("**Profiles** · the sums of $A_j$ over its rows; light curves are late atoms")
    profiles = seen.analysis.atoms.sum(axis=2).mean(axis=1)
    half = profiles.shape[1] // 2
    offsets = np.arange(-half, half + 1)
    lines = {f"A{index(j)}": (offsets, profile) for j, profile in enumerate(profiles) if j > 0}
    chart(
        curves(lines, x="columns from the middle, px", y="weight", gradient=True, height=560), "profiles",
        title=f"Profiles of the atoms of {seen.network}", values=lambda: {"profiles": profiles},
    )  # fmt: skip


def _taps(seen: Seen) -> None:
    taps = atom_taps(seen.deblurrer.model)
    st.markdown("**Taps** $a_j$")
    if taps is None:
        st.info(f"The atoms of this network ({seen.config.atoms}) are not built from three taps each.")
        return
    shown = taps.mean(axis=1)
    steps = np.arange(1, len(shown) + 1)
    lines = {name: (steps, shown[:, i]) for i, name in enumerate(("left", "middle", "right"))}
    chart(
        curves(lines, x="atom j", y="tap", markers=True), "taps", title=f"Taps of the atoms of {seen.network}",
        values=lambda: {"taps": taps},
    )  # fmt: skip


def _radii(seen: Seen) -> None:
    st.markdown("**Effective radius** · of the disc that is as wide as $A_j$")
    radii = effective_radius(torch.from_numpy(seen.analysis.atoms)).numpy()
    chart(
        curves({"radius": (np.arange(len(radii)), radii)}, x="atom j", y="effective radius, px", markers=True),
        "atom-radius", title=f"Effective radius of the atoms of {seen.network}", values=lambda: {"radius": radii},
    )  # fmt: skip
