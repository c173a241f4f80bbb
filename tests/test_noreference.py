"""Photos without a sharp version: what grew sharper, and what was left alone."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data
from skimage.filters import gaussian

from nrknet.noreference import changes, gradient_energy

IMAGE = NDArray[np.uint8]


@pytest.fixture(scope="module")
def sharp() -> IMAGE:
    return data.chelsea()[60:156, 60:188].copy()


@pytest.fixture(scope="module")
def soft(sharp: IMAGE) -> IMAGE:
    return np.rint(gaussian(sharp, 1.5, channel_axis=2, preserve_range=True)).astype(np.uint8)


@pytest.fixture(scope="module")
def left(sharp: IMAGE) -> NDArray[np.bool_]:
    mask = np.zeros(sharp.shape[:2], np.bool_)
    mask[:, :64] = True
    return mask


def test_a_photo_that_comes_back_as_it_was_is_unchanged(soft: IMAGE, left: NDArray[np.bool_]) -> None:
    assert changes(soft, soft, left) == {
        "sharpening": 0,
        "sharpening_blurred": 0,
        "sharpening_sharp": 0,
        "unchanged_sharp": math.inf,
    }


def test_each_number_sees_its_own_region(sharp: IMAGE, soft: IMAGE, left: NDArray[np.bool_]) -> None:
    half = np.where(left[..., None], sharp, soft)
    within = changes(half, soft, left)
    assert within["unchanged_sharp"] == math.inf and within["sharpening_blurred"] > 3
    assert abs(within["sharpening_sharp"]) < 0.3 * within["sharpening_blurred"], "the seam alone is seen from outside"
    outside = changes(half, soft, ~left)
    assert outside["unchanged_sharp"] < 40 and outside["sharpening_sharp"] > 3
    assert 0 < within["sharpening"] == outside["sharpening"]


def test_the_way_back_is_the_same_number_with_the_other_sign(
    sharp: IMAGE, soft: IMAGE, left: NDArray[np.bool_]
) -> None:
    there, back = changes(sharp, soft, left), changes(soft, sharp, left)
    for name in ("sharpening", "sharpening_blurred", "sharpening_sharp"):
        assert there[name] == pytest.approx(-back[name]) and there[name] > 3


def test_twice_the_contrast_is_six_decibels() -> None:
    """Energy is the square of the gradient: 10 log10(2^2) = 6.02."""
    ramp = np.repeat(np.arange(0, 100, dtype=np.uint8)[None, :, None], 20, axis=0).repeat(3, axis=2)
    assert changes(2 * ramp, ramp)["sharpening"] == pytest.approx(20 * math.log10(2), abs=1e-6)
    energy = gradient_energy(ramp)[1:-1, 1:-1]
    assert energy == pytest.approx(energy[0, 0]) and energy[0, 0] > 0


def test_without_a_mask_only_the_whole_photo_is_measured(sharp: IMAGE, soft: IMAGE) -> None:
    assert list(changes(sharp, soft)) == ["sharpening"]


def test_an_empty_region_and_a_flat_photo_have_no_number(sharp: IMAGE, soft: IMAGE) -> None:
    everywhere = np.ones(sharp.shape[:2], np.bool_)
    found = changes(sharp, soft, everywhere)
    assert found["sharpening_blurred"] == found["sharpening"]
    assert math.isnan(found["sharpening_sharp"]) and math.isnan(found["unchanged_sharp"])
    assert math.isnan(changes(sharp, np.full_like(sharp, 7))["sharpening"])


def test_other_types_and_unequal_sizes_are_refused(sharp: IMAGE, left: NDArray[np.bool_]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        changes(sharp.astype(np.float32), sharp)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one size"):
        changes(sharp[:-1], sharp)
    with pytest.raises(ValueError, match=r"the mask must have the photo's size \(96, 128\), got \(95, 128\)"):
        changes(sharp, sharp, left[:-1])
