"""Defocus map: how far out of focus each pixel is, in pixels."""

from __future__ import annotations

import streamlit as st

from demo.interactive import defocus_figure, flip_figure, histogram
from demo.panels.common import chart
from demo.studio import Seen


def show(seen: Seen) -> None:
    """The panel."""
    found = seen.analysis.defocus_map
    left, right = st.columns(2)
    with left:
        source = "the network's own estimate" if seen.config.head == "radius" else "the width of its kernels"
        st.markdown(f"**Defocus map** · radius over which each point is spread: {source}")
        chart(defocus_figure(found), "defocus", title="Defocus map", values=lambda: {"defocus_map": found})
    with right:
        st.markdown("**Photo**")
        chart(
            flip_figure({"Photo": seen.pixels, "Restored": seen.analysis.image}), "defocus-photo",
            title="Photo", values=lambda: {"photo": seen.pixels, "restored": seen.analysis.image},
        )  # fmt: skip
    st.markdown("**How much of the photo is how blurred**")
    chart(
        histogram(found, label="blur radius", unit="px"), "radii", title="Blur radii of the photo",
        values=lambda: {"defocus_map": found},
    )  # fmt: skip
