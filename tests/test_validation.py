"""Validation scores the network that is averaged, in RGB, whatever the crops, and leaves it as it was."""

import math
from typing import Any

import pytest
import torch

from nrknet.config import NRKNetConfig
from nrknet.model import NRKNet
from nrknet.stream import Batch, Crops
from nrknet.validation import pictures, psnr, validate

TINY: dict[str, Any] = {"num_atoms": 3, "widths": (4, 8), "num_blocks": (1, 1)}
TINY_RADIUS: dict[str, Any] = {
    "coefficients": "unit_sum", "head": "radius", "radii": (0, 2, 5), "num_coordinates": 2, "memory_channels": 4,
}  # fmt: skip


def flat_batch(blurred: float, sharp: float, count: int = 3) -> Batch:
    """A pool of flat uint8 crops."""
    shape = (count, 3, 32, 32)
    levels = (torch.full(shape, round(255 * value), dtype=torch.uint8) for value in (blurred, sharp))
    return Batch(*levels, torch.zeros(count, 1, 32, 32).half())



def test_validation_of_the_identity_gains_nothing_and_leaves_the_network_as_it_was() -> None:
    model = NRKNet(NRKNetConfig(**TINY, **TINY_RADIUS)).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    scores = validate(model, flat_batch(0.5, 0.6))
    assert scores["psnr"] == pytest.approx(20, abs=0.3) and scores["gain_db"] == pytest.approx(0, abs=1e-3)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("sharp", [0.5, 0.6], ids=["all sharp", "none sharp"])
@pytest.mark.parametrize("head", [{}, TINY_RADIUS], ids=["gated", "radius"])
def test_validation_scores_are_numbers_whatever_the_crops(head: dict[str, Any], sharp: float) -> None:
    scores = validate(NRKNet(NRKNetConfig(**TINY, **head)), flat_batch(0.5, sharp))
    assert all(math.isfinite(value) for value in scores.values())
    assert ("sharp_db" in scores) == (sharp == 0.5)
    assert ("radius_error" in scores) == bool(head)


def test_validation_of_a_bgr_network_sees_bgr_and_scores_rgb() -> None:
    torch.manual_seed(0)
    rgb = NRKNet(NRKNetConfig(**TINY, shared_atoms=False))
    bgr = NRKNet(NRKNetConfig(**TINY, shared_atoms=False, channel_order="bgr"))
    bgr.load_state_dict(rgb.state_dict())
    generator = torch.Generator().manual_seed(0)
    blurred, sharp = (torch.randint(0, 256, (2, 3, 32, 32), generator=generator).byte() for _ in range(2))
    radius = torch.zeros(2, 1, 32, 32).half()
    ours = validate(bgr, Batch(blurred, sharp, radius))
    theirs = validate(rgb, Batch(blurred.flip(1), sharp.flip(1), radius))
    assert ours["psnr"] == pytest.approx(theirs["psnr"], abs=2e-4)


def test_psnr_is_taken_per_image_after_clipping() -> None:
    sharp = torch.stack([torch.ones(3, 8, 8), torch.zeros(3, 8, 8), torch.full((3, 8, 8), 0.5)])
    image = torch.stack([torch.full((3, 8, 8), 1.7), torch.full((3, 8, 8), 0.1), torch.full((3, 8, 8), 0.4)])
    assert psnr(image, sharp).tolist() == pytest.approx([100, 20, 20], abs=1e-3)


def test_crops_without_a_true_radius_are_scored_without_it() -> None:
    batch = flat_batch(0.5, 0.6)
    scores = validate(NRKNet(NRKNetConfig(**TINY, **TINY_RADIUS)), Crops(batch.blurred, batch.sharp, None))
    assert scores.keys() == {"psnr", "gain_db"}


@pytest.mark.parametrize(
    ("head", "has_radius", "panels"), [({}, True, 3), (TINY_RADIUS, False, 4), (TINY_RADIUS, True, 5)]
)
def test_pictures_show_blurred_restored_sharp_and_the_maps_there_are(
    head: dict[str, Any], has_radius: bool, panels: int
) -> None:
    batch = flat_batch(0.2, 0.6, count=6)
    radius = torch.full((6, 1, 32, 32), 2.5).half()
    model = NRKNet(NRKNetConfig(**TINY, **head)).train()
    rows = pictures(model, Crops(batch.blurred, batch.sharp, radius if has_radius else None))
    assert len(rows) == 4 and model.training
    for row in rows:
        assert row.shape == (3, 32, 32 * panels) and 0 <= row.min() and row.max() <= 1
        assert torch.equal(row[..., :32], torch.full((3, 32, 32), 51 / 255))
        assert torch.equal(row[..., 64:96], torch.full((3, 32, 32), 153 / 255))
    if panels == 5:
        assert torch.equal(rows[0][..., 128:], torch.full((3, 32, 32), 0.5)), "2.5 of 5 pixels"
