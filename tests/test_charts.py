"""What charts draw is what they are given."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from demo.ablations import Ablations
from demo.charts import Panel, draw_ablations, draw_atom_numbers, draw_bars, draw_curves, draw_parts
from demo.differences import ERRORS
from demo.published import SCORES

CROPS = 30


def made_up(*variants: str) -> Ablations:
    """Two seeds of each variant; the later its place, the lower its gains."""
    rows = []
    for place, variant in enumerate(variants):
        for seed in (0, 1):
            gains = np.random.default_rng((seed, place)).normal(0.8 - 0.1 * place, 0.05, CROPS)
            rows += [
                {"variant": variant, "seed": seed, "crop": c, "gain_db": g, "known_radius_gain_db": 1 + g}
                for c, g in enumerate(gains)
            ]
    crops = pd.DataFrame(rows)
    return Ablations(crops[["variant", "seed"]].drop_duplicates(), crops, "nothing")


def bars(axis: Axes) -> dict[str, float]:
    """Lengths of the bars by the names beside them."""
    (container,) = (c for c in axis.containers if isinstance(c, BarContainer))
    names = dict(zip(axis.get_yticks(), (label.get_text() for label in axis.get_yticklabels()), strict=True))
    return {names[round(bar.get_y() + bar.get_height() / 2, 6)]: bar.get_width() for bar in container}


def half_lengths(axis: Axes, *, along: int) -> list[float]:
    """Half lengths of the last error bars that were drawn; nan where there is none."""
    segments = axis.collections[-1].get_segments()
    return [abs(s[1][along] - s[0][along]) / 2 if len(s) else float("nan") for s in segments]


def test_bars_are_as_long_as_the_values_and_their_errors() -> None:
    values = pd.Series({"a": 0.5, "b": -0.25})
    axis = draw_bars([Panel("t", "dB", values, pd.Series({"a": 0.1, "b": 0.2}))]).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    assert bars(axis) == {"a": 0.5, "b": -0.25}
    assert half_lengths(axis, along=0) == pytest.approx([0.1, 0.2])
    assert axis.get_ylim()[0] > axis.get_ylim()[1], "the first name is at the top"
    assert (axis.get_title(loc="left"), axis.get_xlabel()) == ("t", "dB")


def test_a_bar_that_is_not_certain_is_hollow() -> None:
    values, certain = pd.Series({"a": 0.5, "b": -0.25}), pd.Series({"b": True, "a": False})
    (container,) = draw_bars([Panel("t", "dB", values, certain=certain)]).axes[0].containers
    assert [to_hex(bar.get_facecolor()) == "#ffffff" for bar in container] == [True, False]


def test_points_are_where_the_seeds_are() -> None:
    seeds = pd.DataFrame({0: {"a": 0.4, "b": -0.2}, 1: {"a": 0.6, "b": -0.3}})
    axis = draw_bars([Panel("t", "dB", pd.Series({"b": -0.25, "a": 0.5}), seeds=seeds)]).axes[0]
    points = [line for line in axis.lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in points] == [[-0.2, 0.4], [-0.3, 0.6]]


def test_a_curve_passes_through_its_values_in_the_order_of_their_numbers() -> None:
    values = pd.Series({25: 0.2, 15: -0.1, 20: 0.0})
    axis = draw_curves([Panel("t", "dB", values, pd.Series({15: 0.03, 20: 0.0, 25: 0.01}))]).axes[0]
    line = axis.lines[0]
    assert line.get_xdata().tolist() == [15, 20, 25] and line.get_ydata().tolist() == [-0.1, 0.0, 0.2]
    assert half_lengths(axis, along=1) == pytest.approx([0.03, 0.0, 0.01])


def test_parts_are_stacked_to_the_total_that_is_written_beside_them() -> None:
    table = pd.DataFrame({"U-Net": {"x": 3.0, "y": 10.0}, "RKR": {"x": 1.5, "y": 0.0}})
    figure = draw_parts(table, title="t", unit="G")
    axis = figure.axes[0]
    stacked = [[(bar.get_x(), bar.get_width()) for bar in container] for container in axis.containers]
    assert stacked == [[(0, 3), (0, 10)], [(3, 1.5), (10, 0)]]
    assert [text.get_text().strip() for text in axis.texts] == ["4.5", "10"]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["U-Net", "RKR"]


def paper(table: str, full: str) -> dict[str, float]:
    psnr = {s.method: s.psnr for s in SCORES if s.table == table}
    return {name: value - psnr[full] for name, value in psnr.items() if name != full}


def test_the_papers_differences_stand_beside_ours_with_twice_the_standard_error() -> None:
    found = made_up("Original", "2Scales", "4Scales")
    figure = draw_ablations(found, "4")
    assert isinstance(figure, Figure) and len(figure.axes) == 3
    assert bars(figure.axes[0]) == pytest.approx(paper("4", "Original"))
    names = list(paper("4", "Original"))
    for axis, measure in zip(figure.axes[1:], ("known_radius_gain_db", "gain_db"), strict=True):
        drawn = dict(zip(names, (bar.get_width() for bar in axis.containers[0]), strict=True))
        lengths = dict(zip(names, half_lengths(axis, along=0), strict=True))
        for variant in ("2Scales", "4Scales"):
            expected = found.difference(variant, measure=measure)
            assert drawn[variant] == pytest.approx(expected.mean)
            assert lengths[variant] == pytest.approx(ERRORS * expected.error)
        assert np.isnan(drawn["FullExp"]), "what was not trained has no bar"


def test_atom_numbers_are_a_curve_whose_zero_is_at_20() -> None:
    found = made_up("Original", "J15", "J25")
    paper_axis, known, network = draw_atom_numbers(found).axes
    assert paper_axis.lines[0].get_xdata().tolist() == [15, 18, 20, 22, 25]
    for axis, measure in ((known, "known_radius_gain_db"), (network, "gain_db")):
        line = axis.lines[0]
        assert line.get_xdata().tolist() == [15, 20, 25]
        expected = [found.difference("J15", measure=measure).mean, 0, found.difference("J25", measure=measure).mean]
        assert line.get_ydata().tolist() == pytest.approx(expected)
