"""Charts of the tables: bars with error bars, curves, and what networks are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from demo.ablations import MEASURES, Ablations, beside_paper, full_network
from demo.differences import ERRORS
from demo.pictures import COLOURS

WIDTH = 9.0
"""Inches; at 100 dots an inch what GitHub shows without shrinking."""
DARK, MIDDLE, BRIGHT = COLOURS[2], COLOURS[5], COLOURS[7]


@dataclass(frozen=True)
class Panel:
    """One panel of a chart.

    Attributes:
        title: above it.
        unit: below it.
        values: by what stands at the side of a bar, or, numbers, below a point.
        errors: half lengths of the error bars.
        seeds: single values behind each bar, a column each.
        certain: where not, the bar is hollow.
        colour: of bars and points.
    """

    title: str
    unit: str
    values: pd.Series
    errors: pd.Series | None = None
    seeds: pd.DataFrame | None = None
    certain: pd.Series | None = None
    colour: str = DARK


def draw_bars(panels: Sequence[Panel]) -> Figure:
    """Panels side by side with a bar for each name, from the top down in the first panel's order."""
    names = list(panels[0].values.index)
    figure, axes = _panels(panels, height=1.0 + 0.34 * len(names))
    at = np.arange(len(names))
    for panel, axis in zip(panels, axes, strict=True):
        values = panel.values.reindex(names)
        certain = [True] * len(names) if panel.certain is None else panel.certain.reindex(names).eq(True).tolist()
        bars = axis.barh(at, values, height=0.62, edgecolor=panel.colour, linewidth=1.3)
        for bar, sure in zip(bars, certain, strict=True):
            bar.set_facecolor(panel.colour if sure else "white")
        if panel.errors is not None:
            errors = panel.errors.reindex(names)
            # white under black, so that the ends also show inside a dark bar
            axis.errorbar(values, at, xerr=errors, fmt="none", ecolor="white", elinewidth=3.4, capsize=4, capthick=3.4)
            axis.errorbar(values, at, xerr=errors, fmt="none", ecolor="black", elinewidth=1.3, capsize=3)
        for _, column in () if panel.seeds is None else panel.seeds.reindex(names).items():
            axis.plot(column, at, "o", color=BRIGHT, markeredgecolor="black", markersize=5)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_yticks(at, names)
        axis.label_outer()
    return figure


def draw_curves(panels: Sequence[Panel]) -> Figure:
    """Panels side by side with a point for each number, joined in their order."""
    figure, axes = _panels(panels, height=3.0, upright=True)
    for panel, axis in zip(panels, axes, strict=True):
        known = panel.values.dropna().sort_index()
        errors = None if panel.errors is None else panel.errors.reindex(known.index)
        axis.errorbar(known.index, known, yerr=errors, fmt="o-", color=panel.colour, ecolor="black", capsize=3)
        for _, column in () if panel.seeds is None else panel.seeds.items():
            axis.plot(column.index, column, "o", color=BRIGHT, markeredgecolor="black", markersize=5)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_xticks(panel.values.index)
        axis.set_xlabel(panel.values.index.name or "")
    return figure


def draw_parts(table: pd.DataFrame, *, title: str, unit: str) -> Figure:
    """Stacked bars: what each row is made of.

    Args:
        table: one row per bar from the top down, one column per part.
        title, unit: above and below.
    """
    figure = Figure(figsize=(WIDTH, 1.3 + 0.38 * len(table)), dpi=100, layout="constrained")
    axis = figure.add_subplot()
    start = np.zeros(len(table))
    shades = np.linspace(1, len(COLOURS) - 2, len(table.columns)).round().astype(int)
    for part, shade in zip(table.columns, shades, strict=True):
        axis.barh(
            range(len(table)), table[part], left=start, label=part, color=COLOURS[shade], edgecolor="white", height=0.62
        )
        start = start + table[part].to_numpy()
    for row, total in enumerate(start):
        axis.text(total, row, f" {total:,.4g}", va="center")
    axis.set_yticks(range(len(table)), list(table.index))
    axis.set_ylim(len(table) - 0.5, -0.5)
    axis.set_xlim(0, 1.1 * start.max())
    axis.set_title(title, fontsize=11, loc="left")
    axis.set_xlabel(unit)
    axis.legend(ncols=len(table.columns), loc="upper center", bbox_to_anchor=(0.45, -0.32), frameon=False)
    _clear(axis)
    return figure


def draw_ablations(ablations: Ablations, table: str) -> Figure:
    """Differences to the full network: the paper's, and both of ours with twice their standard error.

    Dots are the single seeds; hollow bars are not separated from the full network.

    Args:
        ablations: ours.
        table: "3", "4" or "5" of the paper.
    """
    return draw_bars(_difference_panels(ablations, table))


def draw_atom_numbers(ablations: Ablations) -> Figure:
    """Differences to J = 20 over the number of atoms J, drawn as `draw_ablations` draws its bars' values."""
    return draw_curves([_numbered(panel) for panel in _difference_panels(ablations, "J")])


def _difference_panels(ablations: Ablations, table: str) -> list[Panel]:
    both = beside_paper(ablations, table)
    full = full_network(both.index)
    shown = both.drop(index=full) if table != "J" else both.assign(**_zero(both, full))
    panels = [Panel("paper, DPDD", "difference in PSNR, dB", shown["paper difference"], colour=MIDDLE)]
    for measure, short in MEASURES.items():
        panels.append(
            Panel(
                f"ours, {short}",
                "difference in gain, dB",
                shown[f"{short} difference"],
                ERRORS * shown[f"{short} error"],
                ablations.seed_differences(measure).reindex(shown.index),
                shown[f"{short} separated"],
            )
        )
    return panels


def _zero(both: pd.DataFrame, full: str) -> dict[str, pd.Series]:
    """Columns in which the full network differs from itself by nothing."""
    columns = [f"{short} difference" for short in MEASURES.values()]
    return {name: both[name].where(both.index != full, 0.0) for name in columns}


def _numbered(panel: Panel) -> Panel:
    """The panel of variants J15, J18 and so on over their numbers."""
    names = panel.values.index
    numbers = pd.Index([int(name.removeprefix("J")) for name in names], name="atoms J")
    moved = {key: getattr(panel, key) for key in ("values", "errors", "seeds")}
    moved = {key: part.reindex(names).set_axis(numbers) for key, part in moved.items() if part is not None}
    return replace(panel, **moved, certain=None)


def _panels(panels: Sequence[Panel], *, height: float, upright: bool = False) -> tuple[Figure, Sequence[Axes]]:
    """A figure with an empty, titled pair of axes for each panel; its unit is along the values."""
    figure = Figure(figsize=(WIDTH, height), dpi=100, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for panel, axis in zip(panels, axes, strict=True):
        axis.set_title(panel.title, fontsize=11, loc="left")
        (axis.set_ylabel if upright else axis.set_xlabel)(panel.unit)
        _clear(axis)
    return figure, list(axes)


def _clear(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="both", color="#d4d4d8", linewidth=0.6)
    axis.set_axisbelow(True)
