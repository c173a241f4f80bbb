"""Figures of the notebooks: photos and maps side by side, atoms as the paper shows them, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from demo.pictures import palette

Array = NDArray[Any]
WIDTH = 9.5  # inches; what a notebook on GitHub is wide
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, which colour-blind people tell apart."""
DEFOCUS = LinearSegmentedColormap.from_list("defocus", palette() / 255)
"""Dark is sharp, bright is blurred, as in the app."""
SIGNED = "RdBu_r"


def photos(images: Mapping[str, Array], *, columns: int = 3) -> Figure:
    """Photos under their titles, pixel for pixel where there is room.

    Args:
        images: title -> (H,W,3) uint8, or float in [0,1], which is clipped.
        columns: in a row.
    """
    figure, axes = _grid(list(images.values()), columns)
    for axis, (title, image) in zip(axes, images.items(), strict=True):
        shown = image if image.dtype == np.uint8 else np.clip(image, 0, 1)
        axis.imshow(shown, interpolation="antialiased")
        axis.set_title(title, fontsize=9)
    return figure


def maps(
    arrays: Mapping[str, Array], *, unit: str, limits: tuple[float, float], columns: int = 3, signed: bool = False
) -> Figure:
    """Maps in colour under their titles, all with one scale.

    Args:
        arrays: title -> (H,W).
        unit: of the numbers, beside the scale.
        limits: what the ends of the scale stand for; numbers beyond them get the colour of the end.
        columns: in a row.
        signed: red above 0 and blue below it, instead of dark to bright.
    """
    figure, axes = _grid(list(arrays.values()), columns, share=0.84, dpi=65)
    colours = SIGNED if signed else DEFOCUS
    for axis, (title, array) in zip(axes, arrays.items(), strict=True):
        drawn = axis.imshow(array, cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="antialiased")
        axis.set_title(title, fontsize=9)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, pad=0.02, extend="both" if signed else "max")
    bar.set_label(unit, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def atoms(taps: Array, kernels: Array) -> Figure:
    """The recursive atoms as the paper's supplementary Figures 2 and 3 show them.

    From above: a_j; a_j a_j^T; A_j, each as large as its support; all A_j padded with zeros to one size. Each picture
    has its own brightness, from 0 to its largest number.

    Args:
        taps: (J,3) a_j.
        kernels: (K,S,S) A_j, the delta first, which is left out.
    """
    count = len(taps)
    figure = Figure(figsize=(WIDTH, 4.2 * WIDTH / count + 0.4), dpi=130)
    rows = figure.subplots(4, count, gridspec_kw={"wspace": 0.08, "hspace": 0.12})
    middle = kernels.shape[-1] // 2
    labels = ("$a_j$", "$a_j a_j^T$", "$A_j$", "$A_j$, padded")
    for j in range(count):
        half = slice(middle - j - 1, middle + j + 2)
        shown = (taps[j][None], np.outer(taps[j], taps[j]), kernels[j + 1][half, half], kernels[j + 1])
        for row, (axis, picture) in enumerate(zip(rows[:, j], shown, strict=True)):
            axis.imshow(picture, cmap="gray", vmin=0, vmax=picture.max())
            _bare(axis)
            if j == 0:
                axis.set_ylabel(labels[row], fontsize=8, rotation=0, ha="right", va="center")
        rows[0, j].set_title(str(j + 1), fontsize=8)
    return figure


def kernels(pictures: Mapping[str, Array], *, columns: int = 6) -> Figure:
    """Kernels that may be negative: white is 0, red above it, blue below, each to its own largest size.

    Args:
        pictures: title -> (S,S).
        columns: in a row.
    """
    figure, axes = _grid(list(pictures.values()), columns)
    for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
        largest = float(np.abs(picture).max()) or 1.0
        axis.imshow(picture, cmap=SIGNED, vmin=-largest, vmax=largest)
        axis.set_title(title, fontsize=8)
    return figure


def curves(
    panels: Mapping[str, Mapping[str, tuple[Any, Any]]],
    *,
    x: str,
    y: str,
    log: bool = False,
    lines: Sequence[float] = (),
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Panels of curves side by side, one legend each.

    Args:
        panels: title -> name -> (x, y), arrays or tensors.
        x, y: what the axes are, with units.
        log: logarithmic y.
        lines: levels of y to mark.
        limits: of y.
    """
    figure = Figure(figsize=(WIDTH, 0.9 + WIDTH / max(len(panels), 2) * 0.75), dpi=100, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, (title, named) in zip(axes, panels.items(), strict=True):
        for number, (name, (across, up)) in enumerate(named.items()):
            colour = COLOURS[number % len(COLOURS)]
            axis.plot(np.asarray(across), np.asarray(up), color=colour, label=name, linewidth=1.6)
        for level in lines:
            axis.axhline(level, color="#999999", linewidth=0.8, zorder=0)
        if log:
            axis.set_yscale("log")
        if limits is not None:
            axis.set_ylim(*limits)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(x, fontsize=9)
        axis.legend(fontsize=8, frameon=False)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(y, fontsize=9)
    return figure


def _grid(pictures: Sequence[Array], columns: int, *, share: float = 1.0, dpi: int = 85) -> tuple[Figure, list[Axes]]:
    """Bare axes for pictures of about the same shape, together as wide as that share of the page."""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    tallest = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    cell = share * WIDTH / columns
    figure = Figure(figsize=(WIDTH, rows * (cell * tallest + 0.3)), dpi=dpi, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[len(pictures) :]:
        axis.set_visible(False)
    for axis in axes:
        _bare(axis)
    return figure, axes[: len(pictures)]


def _bare(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
