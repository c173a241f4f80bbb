"""A camera keeps the scene it is given, up to the noise, the sharpening and the rounding that it was told to add."""

from typing import Any

import pytest
import torch

from nrknet.camera import Camera, develop, draw_camera
from nrknet.defocus_config import DefocusConfig
from nrknet.scenes import Dice

QUIET: dict[str, Any] = {"clean_chance": 1.0, "sharpen_chance": 0.0}
NOISY: dict[str, Any] = {
    "clean_chance": 0.0, "sharpen_chance": 0.0, "grain_chance": 0.0, "reduction_chance": 0.0, "noise_gain": (1.0, 1.0),
    "noise_correlation": (0.0, 0.0), "read_noise": (0.02, 0.02), "shot_noise": (0.0, 0.0),
}  # fmt: skip


def dice(seed: int = 0) -> Dice:
    return Dice(torch.Generator().manual_seed(seed), torch.device("cpu"))


def noise_of(image: torch.Tensor, seed: int = 0, **values: Any) -> torch.Tensor:
    """What a camera adds to an image."""
    blurred, truth = develop(image, image, DefocusConfig(**(NOISY | values)), dice(seed))
    assert torch.equal(truth, image)
    return blurred - image


def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


@pytest.mark.parametrize("response", [None, 1.0, 2.2])
def test_what_is_exposed_and_encoded_unaltered_comes_back(response: float | None) -> None:
    values = torch.linspace(0, 1, 300).view(3, 10, 10)
    camera = Camera(response, gamma=1.0, threshold=0.8, gain=1.0, exposure=1.0)
    assert torch.allclose(camera.encode(camera.expose(values)), values, atol=1e-5)


def test_exposure_scales_light_and_gain_brightens_highlights_alone() -> None:
    values = torch.linspace(0, 1, 300).expand(3, 1, 300)
    plain = Camera(2.2, 1.0, 0.5, 1.0, 1.0)
    assert torch.allclose(plain._replace(exposure=0.25).expose(values), plain.expose(values) / 4)
    lit = plain._replace(gain=4.0).expose(values)
    dark = plain.expose(values) < 0.5
    assert torch.equal(lit[dark], plain.expose(values)[dark])
    assert lit.max().item() == pytest.approx(4)


def test_every_tone_curve_rises() -> None:
    values = torch.linspace(0, 1, 256).expand(3, 1, 256)
    for seed in range(20):
        camera = draw_camera(DefocusConfig(), dice(seed))
        light = camera.expose(values)
        assert bool((light.diff(dim=-1) >= 0).all()) and bool((camera.encode(light).diff(dim=-1) >= 0).all())


def test_a_quiet_camera_only_rounds_to_8_bits() -> None:
    image = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(1))
    blurred, truth = develop(image, image, DefocusConfig(**QUIET), dice())
    assert torch.equal(truth, image)
    assert torch.equal(blurred, (image * 255).round() / 255)


def test_noise_has_the_size_it_was_given_and_no_mean() -> None:
    noise = noise_of(torch.full((3, 200, 200), 0.5))
    assert noise.std().item() == pytest.approx(0.02, rel=0.05) and abs(noise.mean().item()) < 5e-4
    levels = torch.full((3, 200, 200), 0.2)
    levels[..., 100:] = 0.8
    shot = noise_of(levels, read_noise=(0.0, 0.0), shot_noise=(0.03, 0.03))
    assert (shot[..., 100:].std() / shot[..., :100].std()).item() == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("common", [0.0, 0.5, 1.0])
def test_the_channels_noise_is_as_correlated_as_asked(common: float) -> None:
    noise = noise_of(torch.full((3, 200, 200), 0.5), noise_correlation=(common, common))
    assert correlation(noise[0], noise[1]) == pytest.approx(common, abs=0.03)
    assert correlation(noise[2], noise[1]) == pytest.approx(common, abs=0.03)


def test_white_balance_makes_red_and_blue_noisier() -> None:
    noise = noise_of(torch.full((3, 200, 200), 0.5), noise_gain=(2.0, 2.0)).std((1, 2))
    assert (noise[0] / noise[1]).item() == pytest.approx(2, rel=0.05) == (noise[2] / noise[1]).item()


def test_grain_correlates_neighbours_and_keeps_the_size() -> None:
    white, grainy = (noise_of(torch.full((3, 200, 200), 0.5), grain_chance=chance) for chance in (0.0, 1.0))
    assert abs(correlation(white[1, :, 1:], white[1, :, :-1])) < 0.03
    assert correlation(grainy[1, :, 1:], grainy[1, :, :-1]) > 0.15
    assert grainy.std().item() == pytest.approx(0.02, rel=0.1)


def test_noise_reduction_leaves_noise_on_detail_alone() -> None:
    image = torch.full((3, 100, 200), 0.5)
    image[..., 100:] += 0.3 * (torch.arange(100) // 2 % 2) - 0.15
    noise = noise_of(image, reduction_chance=1.0, reduction=(0.9, 0.9))
    assert noise[..., :90].std() < 0.25 * noise[..., 110:].std()
    assert noise[..., 110:].std().item() == pytest.approx(0.02, rel=0.1)


def test_sharpening_steepens_edges_of_both_images_alike_and_leaves_flat_areas() -> None:
    image = torch.full((3, 32, 64), 0.3)
    image[..., 32:] = 0.6
    blurred, truth = develop(image, image, DefocusConfig(clean_chance=1.0, sharpen_chance=1.0), dice())
    assert (blurred - truth).abs().max() <= 0.5 / 255 + 1e-6
    assert truth[0, 16, 32] > 0.61 and truth[0, 16, 31] < 0.29
    assert torch.allclose(truth[..., :24], image[..., :24], atol=1e-6)


def test_values_stay_within_range_and_follow_the_seed() -> None:
    image = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(1))
    config = DefocusConfig(clean_chance=0.0, sharpen_chance=1.0, sharpen=(2.0, 2.0), read_noise=(0.1, 0.1))
    first, again, other = (develop(image, image, config, dice(seed)) for seed in (3, 3, 4))
    assert torch.equal(first[0], again[0]) and not torch.equal(first[0], other[0])
    for part in first:
        assert part.min() >= 0 and part.max() <= 1
