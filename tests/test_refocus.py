"""A photo refocused is sharp where the focus went, blurred by the moved radius elsewhere, and keeps its light."""

from typing import Any

import numpy as np
import pytest
import torch
from networks import one_line
from skimage import data

from nrknet.defocus import render_defocus
from nrknet.refocus import LARGEST_RADIUS, TILE, moved_defocus, refocus

Array = np.ndarray[Any, np.dtype[Any]]


def checkerboard(height: int, width: int, side: int = 4) -> Array:
    rows, columns = np.indices((height, width)) // side
    return np.repeat((40 + 160 * ((rows + columns) % 2)).astype(np.uint8)[..., None], 3, axis=2)


def psnr(one: Array, other: Array) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((one.astype(float) - other) ** 2), 1e-9)))


def two_planes(height: int = 120, width: int = 160) -> Array:
    """Sharp at the left, blurred by 5 pixels at the right."""
    radius = np.zeros((height, width), np.float32)
    radius[:, width // 2 :] = 5
    return radius


def test_focus_on_what_was_in_focus_blurs_the_rest_as_it_was() -> None:
    sharp, radius = np.ascontiguousarray(data.astronaut()[:200, :240]), np.full((200, 240), 3.0, np.float32)
    radius[:40] = 0
    seen = refocus(sharp, radius, 10, 100)
    images, map_ = torch.from_numpy(sharp / np.float32(255)).permute(2, 0, 1)[None], torch.full((1, 1, 200, 240), 3.0)
    truth = (render_defocus(images, map_)[0].permute(1, 2, 0) * 255).round().numpy()
    inside = slice(60, None)  # away from the edge between both planes
    assert psnr(seen[inside], truth[inside]) > 45
    assert psnr(seen[inside], sharp[inside]) < 30
    assert psnr(seen[:30], sharp[:30]) > 45  # what lies behind stays away from what is in focus


def test_focus_moves_to_the_pixel() -> None:
    sharp, radius = checkerboard(120, 160), two_planes()
    left, right = np.s_[:, :60], np.s_[:, 100:]
    near, far = refocus(sharp, radius, 60, 20), refocus(sharp, radius, 60, 140)
    assert np.array_equal(near[left], sharp[left]) and np.ptp(near[right].astype(int)) < 60
    assert psnr(far[right], sharp[right]) > 45 and np.ptp(far[10:-10, 10:50].astype(int)) < 60


def test_a_blurred_front_bleeds_over_a_sharp_back_and_a_sharp_front_keeps_its_edge() -> None:
    sharp = np.full((120, 160, 3), 30, np.uint8)
    sharp[:, :80] = 220  # the front is bright: its radius is the smaller one
    radius = two_planes()
    behind = refocus(sharp, radius, 60, 20)  # focus on the front
    assert np.array_equal(behind[:, :79], sharp[:, :79])
    in_front = refocus(sharp, radius, 60, 140)  # focus on the back
    assert in_front[60, 83, 0] > 60 and in_front[60, 76, 0] < 220


def test_a_closed_aperture_keeps_everything_sharp_and_a_wider_one_blurs_more() -> None:
    sharp, radius = np.ascontiguousarray(data.astronaut()[:120, :160]), two_planes()
    assert np.array_equal(refocus(sharp, radius, 60, 20, aperture=0), sharp)
    right = np.s_[:, 100:]
    blurred = [psnr(refocus(sharp, radius, 60, 20, aperture=a)[right], sharp[right]) for a in (0.5, 1, 2)]
    assert blurred[0] > blurred[1] > blurred[2]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_flat_photos_stay_flat(dtype: Any) -> None:
    value = int(np.iinfo(dtype).max * 0.4)
    flat = np.full((70, 90, 3), value, dtype)
    radius = np.random.default_rng(0).uniform(0, 9, (70, 90)).astype(np.float32)
    seen = refocus(flat, radius, 35, 45)
    assert seen.dtype == dtype and seen.shape == flat.shape
    assert np.abs(seen.astype(int) - value).max() <= np.iinfo(dtype).max // 1000


def test_tiles_leave_no_seams() -> None:
    sharp = checkerboard(64, TILE + 100, side=7)
    radius = np.repeat(np.linspace(0, 6, sharp.shape[1], dtype=np.float32)[None], 64, axis=0)
    whole = refocus(sharp, radius, 30, 5).astype(int)
    shifted = refocus(sharp[:, 60:], radius[:, 60:] - 0, 30, 0)  # other seams, about the same focus
    assert np.abs(np.diff(whole[:, TILE - 20 : TILE + 20], axis=1)).max() < 60
    assert shifted.shape == sharp[:, 60:].shape


def test_the_moved_radius_is_the_difference_to_the_picked_one() -> None:
    radius = two_planes()
    moved = moved_defocus(radius, 60, 140, aperture=2)
    assert moved[60, 140] == 0 and moved[60, 20] == -10
    assert moved_defocus(radius * 100, 60, 20)[60, 140] == LARGEST_RADIUS
    radius[60, 20] = 9  # one odd pixel of the map moves no focus
    assert moved_defocus(radius, 60, 20)[60, 25] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"row": -1}, "pixel must lie"), ({"column": 160}, "pixel must lie"), ({"aperture": -1}, "aperture must be"),
        ({"aperture": float("nan")}, "aperture must be"), ({"defocus_map": np.zeros((9, 9), np.float32)}, "120x160"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_one_line(options: dict[str, Any], words: str) -> None:
    given = {"restored": checkerboard(120, 160), "defocus_map": two_planes(), "row": 0, "column": 0, **options}
    with pytest.raises(ValueError, match=words) as caught:
        refocus(**given)
    one_line(caught.value)
