"""Pixel kernels: the blur that the network sees at one pixel of the photo."""

from __future__ import annotations

import streamlit as st
import torch

from demo.interactive import curves, kernel_map
from demo.panels.common import NO_DETAILS, chart, colour_chooser, magnitude, pixel_chooser, scale_chooser
from demo.studio import Seen
from nrknet.convergence import radial_responses
from nrknet.kernels import effective_radius

GRID = 128
"""Frequencies of the transfer function; the kernels have at most 129 pixels a side, and 41 in the paper."""


@st.fragment
def show(seen: Seen) -> None:
    """The panel."""
    analysis = seen.analysis
    if analysis.coefficients is None:
        st.info(NO_DETAILS)
        return
    left, middle, right = st.columns([4, 4, 4])
    with left:
        row, column = pixel_chooser(seen, "kernel")
        scale = scale_chooser(len(analysis.coefficients), "kernel")
        which = colour_chooser(analysis.atoms.shape[1], f"kernel-{seen.network}")
        compress = st.toggle("Colours follow the square root", value=True, key="kernel-root", persist_state="session")
    kernels = analysis.kernel_at(row, column, scale=scale)
    kernel = torch.from_numpy(kernels[which])
    with middle:
        st.markdown(f"**Kernel** $K_{{h,w}}$ at row {row}, column {column}")
        st.caption(
            f"effective radius {float(effective_radius(kernel[None])):.2f} px of this scale · blur radius in the defocus "
            f"map {analysis.defocus_map[row, column]:.2f} px · sum {magnitude(float(kernel.sum()))}"
        )
        chart(
            kernel_map(kernel.numpy(), compress=compress), "kernel", values=lambda: {"kernel": kernels},
            title=f"Kernel at row {row}, column {column}, scale {scale}",
        )  # fmt: skip
    with right:
        _response(seen, kernel, scale)


def _response(seen: Seen, kernel: torch.Tensor, scale: int) -> None:
    """What blur by this kernel everywhere would do, and the series after it."""
    power = seen.config.powers(scale)
    size = max(GRID, kernel.shape[-1] + 1)
    frequencies, blurred, restored = (t.numpy() for t in radial_responses(kernel, power, size=size))
    st.markdown("**Transfer function** · the mean over directions")
    st.caption(f"1 leaves a frequency as it is; the series up to k = {power} brings back what blur by this kernel took")
    series = f"then the series up to k = {power}"
    chart(
        curves({"the kernel": (frequencies, blurred), series: (frequencies, restored)},
               x="frequency, cycles per pixel", y="factor", height=400),
        "transfer", title=f"Transfer function at scale {scale}",
        values=lambda: {"frequency": frequencies, "blurred": blurred, "restored": restored},
    )  # fmt: skip
