"""Coefficient maps: how much of each atom the network takes at each pixel."""

from __future__ import annotations

import numpy as np
import streamlit as st

from demo.hover_map import hover_map
from demo.interactive import Floats, curves, index, value_map
from demo.panels.common import NO_DETAILS, chart, save, scale_chooser
from demo.studio import Seen


def show(seen: Seen) -> None:
    """The panel."""
    if seen.analysis.coefficients is None:
        st.info(NO_DETAILS)
        return
    left, right = st.columns([3, 2])
    with left:
        _map(seen)
    with right:
        _use(seen)


@st.fragment
def _map(seen: Seen) -> None:
    analysis = seen.analysis
    assert analysis.coefficients is not None
    scale = scale_chooser(len(analysis.coefficients), "coefficients")
    maps = analysis.coefficients_at(scale)
    j = st.slider("Atom j", 0, len(maps) - 1, 0, key=f"coefficient-{seen.network}", persist_state="session")
    same = st.toggle("The same colours for every j", key="coefficients-same", persist_state="session")
    lowest, largest = _range(seen.key, scale, maps)
    label, signed, size = f"Γ{index(j, scale)}", lowest < 0, seen.pixels.shape[:2]
    top = max(-lowest, largest) if same else None
    with st.container(key="chart-coefficient"):
        hover_map(maps[j], key="map-coefficient", title=label, signed=signed, top=top, size=size)
    save(
        lambda: value_map(maps[j], label=label, signed=signed, top=top, size=size), "coefficient",
        title=f"Coefficients of atom {j}, scale {scale}", values=lambda: {"maps": maps},
    )  # fmt: skip


@st.cache_data(max_entries=16, show_spinner=False)
def _range(key: str, scale: int, _maps: Floats) -> tuple[float, float]:
    """The lowest and the largest coefficient of a scale."""
    return float(_maps.min()), float(_maps.max())


def _use(seen: Seen) -> None:
    st.markdown("**Use of the atoms** · mean size of $\\Gamma_{j,t}$ over the photo; j = 0 is the delta")
    assert seen.analysis.coefficients is not None
    use = {
        f"t = {t}": np.abs(seen.analysis.coefficients_at(t)).mean(axis=(1, 2))
        for t in range(1, len(seen.analysis.coefficients) + 1)
    }
    lines = {name: (np.arange(len(mean)), mean) for name, mean in use.items()}
    chart(
        curves(lines, x="atom j", y="mean |Γ|", markers=True, height=400), "use",
        title="Mean size of the coefficients", values=lambda: {name.replace(" = ", "_"): u for name, u in use.items()},
    )  # fmt: skip
