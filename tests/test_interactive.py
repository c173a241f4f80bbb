"""The figures hold the numbers that they are given."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("plotly", reason="the figures to point at are plotly's")

from demo.interactive import (
    MAP_SIDE,
    TALLEST,
    amplified,
    bars,
    colour_table,
    curves,
    defocus_figure,
    flip_figure,
    histogram,
    kernel_map,
    picture,
    value_map,
)
from demo.pictures import palette


def decoded(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",", 1)[1]))))


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_a_picture_has_exactly_the_pixels_of_a_small_photo() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    assert np.array_equal(decoded(picture(photo)), photo)


def test_a_16_bit_photo_is_shown_at_8_bits() -> None:
    photo = np.full((4, 5, 3), 32896, np.uint16)
    assert (decoded(picture(photo)) == 128).all()


def test_a_large_photo_is_reduced_and_packed() -> None:
    photo = np.zeros((1200, 2400, 3), np.uint8)
    address = picture(photo)
    assert address.startswith("data:image/jpeg") and decoded(address).shape == (1024, 2048, 3)


def test_flipping_shows_one_picture_at_a_time() -> None:
    first, second = (np.full((20, 30, 3), value, np.uint8) for value in (10, 200))
    figure = flip_figure({"a": first, "b": second})
    for trace, pixels in zip(figure.data, (first, second), strict=True):
        assert np.array_equal(decoded(trace.source), pixels)
    assert [trace.visible for trace in figure.data] == [True, False]
    (menu,) = figure.layout.updatemenus
    assert [(b.label, b.args[1]) for b in menu.buttons] == [("a", (True, False)), ("b", (False, True))]
    assert tuple(figure.layout.xaxis.range) == (-0.5, 29.5) and tuple(figure.layout.yaxis.range) == (19.5, -0.5)


def test_a_single_picture_has_no_buttons() -> None:
    assert not flip_figure({"a": np.zeros((4, 4, 3), np.uint8)}).layout.updatemenus


def test_the_pixels_of_a_reduced_picture_lie_where_those_of_the_photo_do() -> None:
    (trace,) = flip_figure({"a": np.zeros((2048, 4096, 3), np.uint8)}).data
    assert (trace.dx, trace.x0) == (2.0, 0.5)


def test_amplified_differences_lie_around_middle_grey() -> None:
    image = np.array([[[0.0, 0.05, -0.1]]], np.float32)
    assert amplified(image, 4).tolist() == [[[128, 178, 25]]]


@pytest.mark.parametrize("signed", [False, True])
def test_a_map_holds_its_values(signed: bool) -> None:
    values = random(12, 20)
    (trace,) = value_map(values, label="x", signed=signed).data
    assert np.array_equal(trace.z, values)
    assert (trace.zmin, trace.zmax) == pytest.approx((-abs(values).max() if signed else 0, abs(values).max()))


def test_a_large_map_is_reduced_and_still_counts_the_photos_pixels() -> None:
    values = np.repeat(np.arange(4, dtype=np.float32), 4 * MAP_SIDE // 4)[None].repeat(64, axis=0)
    (trace,) = value_map(values, label="x").data
    assert trace.z.shape == (16, MAP_SIDE) and (trace.dx, trace.x0) == (4.0, 1.5)
    assert np.allclose(trace.z[0, :: MAP_SIDE // 4], [0, 1, 2, 3])


def test_a_map_of_a_coarse_scale_covers_the_photo() -> None:
    figure = value_map(random(5, 10), label="x", size=(20, 40))
    (trace,) = figure.data
    assert (trace.dx, trace.x0) == (4.0, 1.5) and tuple(figure.layout.xaxis.range) == (-0.5, 39.5)


def test_a_tall_photo_is_not_higher_than_the_screen() -> None:
    assert value_map(random(300, 30), label="x").layout.height == TALLEST


def test_a_defocus_map_is_in_the_projects_colours() -> None:
    (trace,) = defocus_figure(np.full((4, 4), 3.0, np.float32)).data
    assert trace.zmax == 4 and np.array_equal(colour_table(trace.colorscale)[[0, -1]], palette()[[0, -1]])


@pytest.mark.parametrize("compress", [False, True])
def test_a_kernel_says_its_weights_whatever_its_colours(compress: bool) -> None:
    kernel = np.zeros((5, 5), np.float32)
    kernel[2, 2], kernel[1, 3] = 0.81, 0.04
    (trace,) = kernel_map(kernel, compress=compress).data
    assert np.array_equal(trace.customdata, kernel) and list(trace.x) == [-2, -1, 0, 1, 2]
    assert trace.z[1][3] == pytest.approx(0.2 if compress else 0.04) and trace.zmin == 0


def test_a_kernel_with_negative_weights_has_zero_in_the_middle_of_the_colours() -> None:
    kernel = np.zeros((3, 3), np.float32)
    kernel[0, 0], kernel[1, 1] = -0.25, 1.25
    (trace,) = kernel_map(kernel, compress=True).data
    assert trace.zmin == -trace.zmax and trace.z[0][0] == pytest.approx(-0.5)
    assert trace.colorbar.tickvals[2] == 0 and trace.colorbar.ticktext[-1] == "1.2"


def test_curves_and_bars_hold_their_numbers_and_name_their_axes() -> None:
    x, y = np.arange(4), np.array([1.0, 3.0, 2.0, 5.0])
    figure = curves({"a": (x, y), "b": (x, 2 * y)}, x="atom", y="radius, px", log=True)
    assert np.array_equal(figure.data[1].y, 2 * y) and figure.layout.yaxis.type == "log"
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("atom", "radius, px")
    drawn = bars(["t = 1", "t = 2"], {"ours": [0.5, 0.7]}, x="scale", y="dB")
    assert list(drawn.data[0].y) == [0.5, 0.7] and drawn.layout.xaxis.title.text == "scale"


def test_a_histogram_adds_up_to_the_whole_photo() -> None:
    (trace,) = histogram(random(50, 40), label="x", unit="px").data
    assert sum(trace.y) == pytest.approx(100)
