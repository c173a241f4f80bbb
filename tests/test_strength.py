"""A mixture of a photo and its restored version lies between them, and ends where they are."""

from typing import Any

import numpy as np
import pytest
from networks import one_line, random_network

from nrknet.config import PRESETS
from nrknet.inference import Deblurrer
from nrknet.strength import blend

Array = np.ndarray[Any, np.dtype[Any]]


def pair(dtype: Any, seed: int = 0) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    one, other = (random.integers(0, int(np.iinfo(dtype).max) + 1, (150, 31, 3)).astype(dtype) for _ in range(2))
    return one, other


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("strength", [0, 0.25, 0.5, 0.7, 1])
def test_a_mixture_is_the_rounded_mean_by_weight(dtype: Any, strength: float) -> None:
    photo, restored = pair(dtype)
    before = photo.copy()
    mixed = blend(photo, restored, strength)
    exact = photo + strength * (restored.astype(np.float64) - photo)
    assert mixed.dtype == dtype and np.abs(mixed - exact).max() <= 0.51
    assert np.array_equal(photo, before)


def test_the_ends_are_the_photo_and_its_restored_version() -> None:
    photo, restored = pair(np.uint8)
    assert np.array_equal(blend(photo, restored, 0), photo) and np.array_equal(blend(photo, restored, 1), restored)


def test_a_deblurrer_mixes_what_it_restores() -> None:
    deblurrer, photo = Deblurrer(random_network(PRESETS["lite"]), device="cpu"), pair(np.uint8)[0]
    assert np.array_equal(deblurrer(photo, strength=0.4), blend(photo, deblurrer(photo), 0.4))


@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan"), float("inf"), "1"])
def test_a_strength_out_of_range_is_refused_before_any_work(strength: Any) -> None:
    photo, restored = pair(np.uint8)
    with pytest.raises(ValueError, match="strength must be a number from 0") as caught:
        blend(photo, restored, strength)
    one_line(caught.value)


def test_images_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="must have one shape and dtype"):
        blend(pair(np.uint8)[0], pair(np.uint16)[1], 0.5)
