"""Coefficient maps: how much of each atom the network takes at each pixel."""

from __future__ import annotations

import numpy as np
import streamlit as st

from demo.interactive import curves, value_map
from demo.panels.common import NO_DETAILS, chart, scale_chooser
from demo.studio import Seen


@st.fragment
def show(seen: Seen) -> None:
    """The panel."""
    analysis = seen.analysis
    if analysis.coefficients is None:
        st.info(NO_DETAILS)
        return
    left, right = st.columns([3, 2])
    with left:
        scale = scale_chooser(len(analysis.coefficients), "coefficients")
        maps = analysis.coefficients_at(scale)
        j = st.slider("Atom j", 0, len(maps) - 1, 0, key=f"coefficient-{seen.network}", persist_state="session")
        same = st.toggle("The same colours for every j", key="coefficients-same", persist_state="session")
        top = float(np.abs(maps).max()) if same else None
        figure = value_map(
            maps[j], label=f"Γ_{j},{scale}", signed=bool(maps.min() < 0), top=top, size=seen.pixels.shape[:2]
        )
        chart(
            figure, "coefficient", title=f"Coefficients of atom {j} at scale {scale}", values=lambda: {"maps": maps}
        )  # fmt: skip
    with right:
        _use(seen)


def _use(seen: Seen) -> None:
    st.markdown("**Use of the atoms** · mean size of $\\Gamma_{j,t}$ over the photo; j = 0 is the delta")
    assert seen.analysis.coefficients is not None
    use = {
        f"t = {t}": np.abs(seen.analysis.coefficients_at(t)).mean(axis=(1, 2))
        for t in range(1, len(seen.analysis.coefficients) + 1)
    }
    chart(
        curves({name: (np.arange(len(mean)), mean) for name, mean in use.items()}, x="atom j", y="mean |Γ|",
               markers=True, height=400),
        "use", title="Mean size of the coefficients", values=lambda: {name.replace(" = ", "_"): u for name, u in use.items()},
    )  # fmt: skip
