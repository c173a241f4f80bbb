"""Neumann series: its terms one by one, their energy and spectrum, and what each scale adds to the photo."""

from __future__ import annotations

import numpy as np
import streamlit as st
import torch

from demo.hover_map import hover_map
from demo.interactive import amplified, bars, clipped, curves, flip_figure, value_map
from demo.panels.common import NO_DETAILS, chart, magnitude, save, scale_chooser
from demo.studio import Seen
from nrknet.analysis import Floats, rms
from nrknet.kernels import power_spectrum

GAIN = 8
ADDED = {
    "cross_scale": "Each scale t adds its highest power, k = t, to the photo (Eq. 10).",
    "full": "All scales add all their powers from 1 to the photo (Eq. 9).",
}
SMALLEST_SPECTRUM = 8


def show(seen: Seen) -> None:
    """The panel."""
    if seen.analysis.terms is None:
        st.info(NO_DETAILS)
        return
    st.markdown(
        "Restoring is $D_t^{-1} Y_t \\approx \\sum_k (I - D_t)^k Y_t$: each term is what blurring takes away from the "
        f"one before. {ADDED[seen.config.expansion]}"
    )
    _term(seen)
    left, right = st.columns(2)
    with left:
        _running(seen)
    with right:
        _contributions(seen)


@st.fragment
def _term(seen: Seen) -> None:
    analysis = seen.analysis
    assert analysis.terms is not None
    left, right = st.columns([3, 2])
    with left:
        scale = scale_chooser(len(analysis.terms), "term")
        terms = analysis.terms_at(scale)
        k = st.slider("Power k", 0, len(terms) - 1, len(terms) - 1, key=f"power-{scale}-{seen.network}",
                      persist_state="session")  # fmt: skip
        term = terms[k]
        energy, share = rms(term) ** 2, 100 * rms(term) ** 2 / rms(terms[0]) ** 2
        name = f"(I − D)<sup>{k}</sup>Y" if k else "Y"
        facts = (
            f"Energy {magnitude(energy)} per pixel and colour, {magnitude(share)} % of that of Y · "
            f"RMS {magnitude(255 * energy**0.5)} steps of 8 bits"
        )
        mean, label, size = term.mean(axis=2), f"{name}, mean of R, G, B", seen.pixels.shape[:2]
        with st.container(key="chart-term"):
            hover_map(mean, key="map-term", title=label, signed=k > 0, size=size, above=facts)
        save(
            lambda: value_map(mean, label=label, signed=k > 0, size=size), "term",
            title=f"Term {name} at scale {scale}", values=lambda: {"term": term},
        )  # fmt: skip
    with right:
        _spectra(terms)


def _spectra(terms: tuple[Floats, ...]) -> None:
    st.markdown("**Power spectra** · mean over directions of all terms of this scale")
    if min(terms[0].shape[:2]) < SMALLEST_SPECTRUM:
        st.info("The photo is too small at this scale for a spectrum.")
        return
    found = {f"k = {i}": _spectrum(term) for i, term in enumerate(terms)}
    chart(
        curves(found, x="frequency, cycles per pixel", y="power", log=True, height=430),
        "spectra", title="Power spectra of the terms",
        values=lambda: {"frequency": found["k = 0"][0]} | {n.replace(" = ", "_"): p for n, (_, p) in found.items()},
    )  # fmt: skip


def _spectrum(term: Floats) -> tuple[Floats, Floats]:
    """Frequencies and power, without frequency 0, whose power the window takes away."""
    frequencies, power = power_spectrum(torch.from_numpy(term).permute(2, 0, 1))
    return frequencies[1:].numpy(), power[1:].numpy()


def _running(seen: Seen) -> None:
    sums = seen.analysis.running_sums()
    count = len(sums) - 1
    names = ["Y", *(f"+ t = {count - i}" for i in range(count))]
    names[-1] += " = Z₀"
    st.markdown("**Running sum** · the photo, and what it is with each scale's contribution, coarse to fine")
    chart(
        flip_figure({name: clipped(total) for name, total in zip(names, sums, strict=True)}), "running",
        title="The sum over scales", values=lambda: {f"sum_{i}": total for i, total in enumerate(sums)},
    )  # fmt: skip


def _contributions(seen: Seen) -> None:
    parts = seen.analysis.contributions
    assert parts is not None
    scales = range(len(parts), 0, -1)
    st.markdown(f"**Contributions** · what each scale adds to $Z_0$, {GAIN} times stronger; grey is 0")
    chart(
        flip_figure({f"t = {t}": amplified(part, GAIN) for t, part in zip(scales, parts, strict=True)}),
        "contributions", title=f"Contributions of the scales, {GAIN} times",
        values=lambda: {f"t_{t}": part for t, part in zip(scales, parts, strict=True)},
    )  # fmt: skip
    sizes = [255 * rms(part) for part in parts]
    chart(
        bars([f"t = {t}" for t in scales], {"RMS": sizes}, x="scale", y="RMS, steps of 8 bits", height=230),
        "contribution-rms", title="RMS of the contributions", values=lambda: {"rms": np.array(sizes)},
    )  # fmt: skip
