"""Pixel kernels: the blur that the network sees at one pixel of the photo."""

from __future__ import annotations

import numpy as np
import streamlit as st
import torch

from demo.hover_map import hover_map
from demo.interactive import Floats, curves, kernel_map, value_map
from demo.panels.common import (
    NO_DETAILS,
    SIDES,
    chart,
    colour_chooser,
    magnitude,
    pixel_chooser,
    save,
    scale_chooser,
)
from demo.studio import Seen
from nrknet.convergence import radial_responses
from nrknet.kernels import effective_radius, transfer_function

GRID = 128
"""Frequencies along each axis of the transfer function, for kernels up to 127 pixels a side."""


@st.fragment
def show(seen: Seen) -> None:
    """The panel."""
    if seen.analysis.coefficients is None:
        st.info(NO_DETAILS)
        return
    left, middle, right = st.columns(3)
    with left:
        row, column = pixel_chooser(seen, "kernel")
        scale = scale_chooser(len(seen.analysis.coefficients), "kernel")
        which = colour_chooser(seen.analysis.atoms.shape[1], f"kernel-{seen.network}")
        compress = st.toggle("Colours follow the square root", value=True, key="kernel-root", persist_state="session")
        radial = st.toggle(
            "Chart of the mean over directions", key="radial", persist_state="session",
            help="With what the series brings back; sliders take longer with it",
        )  # fmt: skip
    kernels = seen.analysis.kernel_at(row, column, scale=scale)
    where = f"row {row}, column {column}, scale {scale}"
    with middle:
        _kernel(seen, kernels, kernels[which], where, compress)
    with right:
        _transfer(torch.from_numpy(kernels[which]), where)
    if radial:
        _radial(seen, torch.from_numpy(kernels[which]), scale)


def _kernel(seen: Seen, kernels: Floats, kernel: Floats, where: str, compress: bool) -> None:
    radius = float(effective_radius(torch.from_numpy(kernel)[None]))
    above = f"Kernel at {where}: effective radius {radius:.2f} px, sum {magnitude(float(kernel.sum()))}"
    signed = bool(kernel.min() < -1e-4 * kernel.max())
    with st.container(key="chart-kernel"):
        hover_map(kernel, key="map-kernel", title="Weight", signed=signed, centred=True, compress=compress,
                  above=above, below=SIDES)  # fmt: skip
    save(
        lambda: kernel_map(kernel, compress=compress), "kernel", title=f"Kernel at {where}",
        values=lambda: {"kernel": kernels},
    )  # fmt: skip


def _transfer(kernel: torch.Tensor, where: str) -> None:
    transfer = torch.fft.fftshift(transfer_function(kernel, _grid(kernel)), dim=(-2, -1)).real.numpy()
    signed = bool(transfer.min() < 0)
    with st.container(key="chart-transfer"):
        hover_map(
            transfer, key="map-transfer", title="Transfer function, real part", signed=signed, centred=True,
            step=1 / len(transfer), names=("vertical", "horizontal"),
            above="What uniform blur by this kernel leaves of each frequency; 1 is all",
            below="Cycles per pixel: up and down vertical, left and right horizontal frequencies, 0 in the middle.",
        )  # fmt: skip
    save(
        lambda: value_map(transfer, label="transfer function", signed=signed), "transfer",
        title=f"Transfer function at {where}", values=lambda: {"transfer": transfer},
    )  # fmt: skip


def _grid(kernel: torch.Tensor) -> int:
    return max(GRID, kernel.shape[-1] + 1)


def _radial(seen: Seen, kernel: torch.Tensor, scale: int) -> None:
    """What blur by this kernel everywhere would do, and the series after it."""
    power = seen.config.powers(scale)
    frequencies, blurred, restored = (t.numpy() for t in radial_responses(kernel, power, size=_grid(kernel)))
    lines = {"the kernel": (frequencies, blurred), f"then the series up to k = {power}": (frequencies, restored)}
    chart(
        curves(lines, x="frequency, cycles per pixel", y="factor"), "radial",
        title=f"Transfer function at scale {scale}, mean over directions",
        values=lambda: {"frequency": np.asarray(frequencies), "blurred": blurred, "restored": restored},
    )  # fmt: skip
