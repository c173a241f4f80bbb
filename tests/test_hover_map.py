"""The quick maps: colours and the scale above them."""

import numpy as np
import pytest

pytest.importorskip("streamlit", reason="the analysis app needs streamlit")
pytest.importorskip("plotly", reason="the colours are those of the plotly figures")

from demo.hover_map import TABLES, levels, ticks


def test_zero_is_dark_and_the_top_is_bright_without_signs() -> None:
    values = np.array([[0.0, 2.0, 4.0, 9.0]], np.float32)
    assert levels(values, top=4, signed=False).tolist() == [[0, 128, 255, 255]]


def test_zero_is_in_the_middle_with_signs() -> None:
    values = np.array([[-4.0, 0.0, 4.0]], np.float32)
    assert levels(values, top=4, signed=True).tolist() == [[0, 128, 255]]
    blue, middle, red = TABLES[True][[0, 128, 255]].astype(int)
    assert blue[2] > blue[0] and red[0] > red[2] and middle.min() > 240


def test_the_square_root_brings_small_values_up() -> None:
    values = np.array([[0.04, -0.04]], np.float32)
    assert levels(values, top=4, signed=True, compress=True).tolist() == [[140, 115]]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("compress", [False, True])
def test_each_number_on_the_scale_stands_at_its_colour(signed: bool, compress: bool) -> None:
    for place, text in ticks(8.0, signed=signed, compress=compress):
        level = levels(np.array([[float(text)]], np.float32), top=8.0, signed=signed, compress=compress)
        assert level.item() == pytest.approx(255 * place, abs=1)
