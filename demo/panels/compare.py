"""Two networks side by side on one photo."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st
import torch

from demo.hover_map import hover_map
from demo.interactive import Floats, amplified, curves, defocus_figure, flip_figure, kernel_map
from demo.panels.common import SIDES, chart, grouped, magnitude, pixel_chooser, save, unit
from demo.studio import Seen
from nrknet.analysis import rms
from nrknet.kernels import effective_radius
from nrknet.metrics import psnr_of

GAIN = 8


def show(seen: Seen, other: Seen | None) -> None:
    """The panel."""
    if other is None:
        st.info("Choose a second network in the sidebar, under “Compare with”: a bundled one, a folder, or owner/repo.")
        return
    _flip(seen, other)
    st.dataframe(pd.DataFrame([_facts(seen), _facts(other)]), hide_index=True, key="compare-facts")
    st.markdown("**Defocus maps** · in the same colours")
    top = max(float(np.quantile(s.analysis.defocus_map, 0.998)) for s in (seen, other)) or 1.0
    for side, (column, one) in enumerate(zip(st.columns(2), (seen, other), strict=True)):
        with column:
            st.markdown(one.network)
            _defocus(f"compare-defocus-{side}", one, top)
    if seen.analysis.coefficients is not None:
        _kernels(seen, other)
    st.markdown("**Effective radius of the atoms**")
    radii = [effective_radius(torch.from_numpy(s.analysis.atoms)).numpy() for s in (seen, other)]
    names = _names(seen, other)
    chart(
        curves({n: (np.arange(len(r)), r) for n, r in zip(names, radii, strict=True)}, x="atom j",
               y="effective radius, px", markers=True),
        "compare-radius", title="Effective radius of the atoms", values=lambda: {"A": radii[0], "B": radii[1]},
    )  # fmt: skip


def _defocus(name: str, seen: Seen, top: float) -> None:
    found = seen.analysis.defocus_map
    chart(
        defocus_figure(found, top=top), name, title=f"Defocus map of {seen.network}",
        values=lambda: {"defocus_map": found},
    )  # fmt: skip


def _names(seen: Seen, other: Seen) -> tuple[str, str]:
    return f"A: {seen.network}", f"B: {other.network}"


def _flip(seen: Seen, other: Seen) -> None:
    first, second = seen.analysis.image, other.analysis.image
    difference = amplified(unit(second) - unit(first), GAIN)
    left, right = _names(seen, other)
    apart = psnr_of(255 * unit(first), 255 * unit(second))
    st.markdown(f"**{left}** against **{right}** · they differ by {apart:.2f} dB PSNR")
    chart(
        flip_figure({"Photo": seen.pixels, "A": first, "B": second, f"(B − A) × {GAIN}": difference}, width=640),
        "compare", title=f"{left}, {right}", values=lambda: {"photo": seen.pixels, "A": first, "B": second},
    )  # fmt: skip


def _facts(seen: Seen) -> dict[str, str]:
    analysis = seen.analysis
    return {
        "network": seen.network,
        "parameters": grouped(sum(p.numel() for p in seen.deblurrer.model.parameters())),
        "seconds": f"{seen.seconds:.2f}",
        "median blur radius, px": f"{float(np.median(analysis.defocus_map)):.2f}",
        "reblur RMS, 8-bit steps": "–" if analysis.terms is None else magnitude(255 * rms(analysis.residual())),
    }


@st.fragment
def _kernels(seen: Seen, other: Seen) -> None:
    st.markdown("**Kernels at one pixel**, full size")
    columns = st.columns(3)
    with columns[0]:
        row, column = pixel_chooser(seen, "compare")
    for side, (place, one) in enumerate(zip(columns[1:], (seen, other), strict=True)):
        kernel = one.analysis.kernel_at(row, column)
        radius = float(effective_radius(torch.from_numpy(kernel)))
        with place:
            st.markdown(f"{'AB'[side]}: {one.network}, effective radius {radius:.2f} px")
            _kernel(f"compare-kernel-{side}", kernel, f"Kernel of {one.network} at row {row}, column {column}")


def _kernel(name: str, kernel: Floats, title: str) -> None:
    mean = kernel.mean(axis=0)
    signed = bool(mean.min() < -1e-4 * mean.max())
    with st.container(key=f"chart-{name}"):
        hover_map(mean, key=f"map-{name}", title="weight", signed=signed, centred=True, compress=True, below=SIDES)
    save(lambda: kernel_map(mean, compress=True), name, title=title, values=lambda: {"kernel": kernel})
