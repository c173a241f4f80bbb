"""Reblur residual: whether the restored photo, blurred again by the network's kernels, gives the photo back."""

from __future__ import annotations

import numpy as np
import streamlit as st

from demo.interactive import amplified, clipped, flip_figure, value_map
from demo.panels.common import NO_DETAILS, chart, magnitude, save
from demo.shrink import shrink
from demo.studio import Seen
from nrknet.analysis import Floats, rms

GAINS = (1, 2, 5, 10, 20, 50, 100)
PICTURE_SIDE = 512


def show(seen: Seen) -> None:
    """The panel."""
    if seen.analysis.reblurred is None:
        st.info(NO_DETAILS)
        return
    residual = seen.analysis.residual()
    st.markdown(
        "The loss that needs no sharp photo (Eq. 14) asks that $D_1 Z_0$, the restored photo blurred again, is the "
        f"photo $Y$. Here the RMS of $D_1 Z_0 - Y$ is **{magnitude(255 * rms(residual))}** steps of 8 bits."
    )
    left, right = st.columns(2)
    with left:
        _amplified(residual, shrink(residual, PICTURE_SIDE))
    with right:
        st.markdown("**Residual** · the mean of R, G, B; red where the reblurred photo is brighter")
        mean = 255 * residual.mean(axis=2)
        top = float(np.quantile(np.abs(mean), 0.999))
        chart(
            value_map(mean, label="D₁Z₀ − Y", unit="steps of 8 bits", signed=True, top=top), "residual",
            title="Reblur residual", values=lambda: {"residual": residual},
        )  # fmt: skip
    st.markdown("**Flip between them**")
    assert seen.analysis.series is not None and seen.analysis.reblurred is not None
    pictures = {"Y": seen.analysis.running_sums()[0], "D₁Z₀": seen.analysis.reblurred, "Z₀": seen.analysis.series}
    chart(
        flip_figure({name: clipped(image) for name, image in pictures.items()}, width=640), "reblurred",
        title="Photo, reblurred, restored",
        values=lambda: dict(zip(("photo", "reblurred", "restored"), pictures.values(), strict=True)),
    )  # fmt: skip


@st.fragment
def _amplified(residual: Floats, small: Floats) -> None:
    st.markdown("**Residual in colour, amplified** · $D_1 Z_0 - Y$; grey is 0")
    gain = st.select_slider("Amplification", GAINS, 20, key="gain", persist_state="session",
                            format_func=lambda g: f"×{g}")  # fmt: skip
    shown = amplified(small, gain)
    with st.container(key="chart-amplified"):
        st.image(shown, width="stretch", output_format="JPEG", alt=f"The residual, {gain} times")
    save(
        lambda: flip_figure({"residual": shown}), "amplified", title=f"Reblur residual, {gain} times",
        values=lambda: {"residual": residual},
    )  # fmt: skip
