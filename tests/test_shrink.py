"""Means over boxes of pixels."""

import numpy as np
import pytest

from demo.shrink import fit_pixels, shrink


def test_a_whole_factor_gives_the_means_of_blocks() -> None:
    values = np.arange(48, dtype=np.float32).reshape(6, 8)
    assert np.allclose(shrink(values, 4), values.reshape(3, 2, 4, 2).mean(axis=(1, 3)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_type_and_channels_stay(dtype: type) -> None:
    top = 1 if dtype is np.float32 else np.iinfo(dtype).max
    image = np.full((30, 50, 3), top, dtype)
    image[:, :, 1] = 0
    small = shrink(image, 25)
    assert small.shape == (15, 25, 3) and small.dtype == dtype
    assert (small == np.array([top, 0, top])).all()


def test_what_is_small_enough_is_left_alone() -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    assert shrink(image, 5) is image and fit_pixels(image, 20) is image


@pytest.mark.parametrize(("shape", "most"), [((100, 150), 5000), ((3000, 7), 1000), ((101, 103), 10402)])
def test_a_photo_is_reduced_to_at_most_so_many_pixels(shape: tuple[int, int], most: int) -> None:
    small = fit_pixels(np.zeros((*shape, 3), np.uint8), most)
    assert 0.6 * most < small.shape[0] * small.shape[1] <= most
