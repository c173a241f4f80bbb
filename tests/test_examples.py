"""Photos that are put out of focus, for the app and the notebooks."""

import numpy as np
import pytest
import torch
from skimage import data

from demo.examples import defocused
from nrknet.defocus import render_defocus


def test_a_radius_for_each_row_is_that_radius_for_each_pixel() -> None:
    sharp = data.coffee()[:48, :64]
    rows = np.linspace(0, 4, 48)[:, None]
    found = defocused(sharp, rows)
    assert found.shape == sharp.shape and found.dtype == np.uint8
    assert np.array_equal(found, defocused(sharp, np.repeat(rows, 64, axis=1)))
    images = torch.from_numpy(sharp / np.float32(255)).permute(2, 0, 1)[None]
    rendered = render_defocus(images, torch.from_numpy(rows).float().expand(1, 1, 48, 64))[0].permute(1, 2, 0)
    assert np.abs(found - 255 * rendered.numpy()).max() <= 0.5 + 1e-3


def test_a_radius_of_zero_leaves_the_photo_and_a_larger_one_takes_detail() -> None:
    sharp = data.chelsea()[100:164, 100:164]
    assert np.array_equal(defocused(sharp, np.zeros((64, 64))), sharp)
    detail = [np.abs(np.diff(defocused(sharp, np.full((64, 64), r)).astype(int), axis=1)).mean() for r in (0, 2, 5)]
    assert detail[0] > detail[1] > detail[2]


def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        defocused(data.coffee()[:48, :64], np.zeros((48, 63)))
