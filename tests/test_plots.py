"""The figures hold what they are given."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the notebooks' figures need matplotlib")

from demo import plots


def images(axis: object) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for image in axis.images]  # type: ignore[attr-defined]


def test_photos_are_shown_under_their_titles_clipped_and_not_changed() -> None:
    dark, bright = np.full((4, 6, 3), 7, np.uint8), np.full((4, 6, 3), 1.5, np.float32)
    figure = plots.photos({"dark": dark, "bright": bright}, columns=2)
    assert [axis.get_title() for axis in figure.axes] == ["dark", "bright"]
    assert np.array_equal(images(figure.axes[0])[0], dark) and images(figure.axes[1])[0].max() == 1


def test_maps_share_one_scale_that_says_its_unit() -> None:
    figure = plots.maps({"a": np.zeros((3, 3)), "b": np.ones((3, 3))}, unit="px", limits=(0, 4))
    *shown, bar = figure.axes
    assert [axis.images[0].get_clim() for axis in shown] == [(0, 4), (0, 4)]
    assert bar.get_ylabel() == "px"


def test_atoms_are_drawn_in_the_four_rows_of_the_paper() -> None:
    taps = np.array([[0.2, 0.5, 0.3], [0.1, 0.8, 0.1]])
    kernels = np.random.default_rng(0).random((3, 5, 5))
    rows = np.array(plots.atoms(taps, kernels).axes).reshape(4, 2)
    for j in range(2):
        first, second, third, fourth = (images(axis)[0] for axis in rows[:, j])
        assert np.array_equal(first[0], taps[j]) and np.allclose(second, np.outer(taps[j], taps[j]))
        half = j + 1
        assert np.array_equal(third, kernels[j + 1][2 - half : 3 + half, 2 - half : 3 + half])
        assert np.array_equal(fourth, kernels[j + 1])


def test_kernels_have_white_at_zero() -> None:
    axis = plots.kernels({"k": np.array([[0.5, -0.2], [0, 0]])}).axes[0]
    assert axis.images[0].get_clim() == (-0.5, 0.5)


def test_curves_are_the_numbers_given_in_panels_with_legends() -> None:
    x, y = np.arange(3), np.array([1.0, 4.0, 9.0])
    figure = plots.curves({"left": {"squares": (x, y)}, "right": {"same": (x, x)}}, x="n", y="n^2", lines=(0,))
    left, right = figure.axes
    assert np.array_equal(left.lines[0].get_xydata(), np.stack([x, y], axis=1))
    assert (left.get_xlabel(), left.get_ylabel(), right.get_title()) == ("n", "n^2", "right")
    legend = left.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["squares"]
