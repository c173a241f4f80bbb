"""The loss: zero for a perfect output, each term as its equation says, each weight where it belongs."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks import narrow, noise, one_line, random_network
from torch import Tensor

from nrknet.config import PRESETS, VARIANTS, NRKNetConfig
from nrknet.layers import radius_weights
from nrknet.losses import (
    TYPICAL_ERROR,
    LossConfig,
    crop_weights,
    fdr,
    mse,
    radius_cross_entropy,
    reblur,
    ssim_loss,
    total_loss,
)
from nrknet.metrics import ssim_gaussian
from nrknet.model import NRKNetOutput, ScaleOutput
from nrknet.neumann import pyramid

GRID = torch.tensor([0.0, 1, 2, 4, 8])
PAPER = narrow(PRESETS["paper"])


def output_for(
    images: dict[int, Tensor], blurred: Tensor, operator: Any = lambda x: x, logits: dict[int, Tensor] | None = None
) -> NRKNetOutput:
    """An output with the given images: 0 is the fused one, t the one of scale t."""
    count = max(images)
    levels = pyramid(blurred, count, mode="antialias")
    scales = [
        ScaleOutput(t, (level,), level, operator, images[t], None, logits[t] if logits else None)
        for t, level in zip(range(count, 0, -1), levels, strict=True)
    ]
    return NRKNetOutput(images[0], images[0], tuple(scales))


def perfect(sharp: Tensor, count: int = 3) -> dict[int, Tensor]:
    levels = pyramid(sharp, count, mode="antialias")
    return {0: sharp, **{t: levels[-t] for t in range(1, count + 1)}}


# ------------------------------------------------------------------------------------------------------------- terms


@pytest.mark.parametrize("norm", ["backward", "ortho"])
def test_every_term_is_zero_for_a_perfect_output(norm: str) -> None:
    sharp = noise(2, 3, 32, 48)
    output = output_for(perfect(sharp), sharp)  # nothing was blurred, so the identity reblurs it perfectly
    loss, terms = total_loss(output, sharp, config=PAPER, weights=LossConfig(fdr_norm=norm))
    assert loss == 0 and set(terms) == {"mse", "fdr", "reblur"} and all(value == 0 for value in terms.values())


def test_any_error_makes_every_term_that_sees_it_positive() -> None:
    sharp = noise(2, 3, 32, 48)
    for place in range(4):
        images = perfect(sharp)
        images[place] = images[place] + 0.01
        _, terms = total_loss(output_for(images, sharp), sharp, config=PAPER, weights=LossConfig())
        assert terms["mse"] > 0 and terms["fdr"] > 0 and terms["reblur"] == 0
    _, terms = total_loss(
        output_for(perfect(sharp), sharp, lambda x: 0.9 * x), sharp, config=PAPER, weights=LossConfig()
    )
    assert terms["mse"] == 0 and terms["reblur"] > 0


def test_the_frequency_term_of_a_shift_in_brightness_is_its_zero_frequency() -> None:
    h, w = 8, 12
    sharp = noise(1, 3, h, w)
    frequencies = h * (w // 2 + 1) * 2  # real and imaginary parts of the half spectrum
    assert fdr(sharp + 0.1, sharp).item() == pytest.approx(0.1 * h * w / frequencies, rel=1e-4)


def test_the_frequency_term_of_one_pixel_is_flat_and_its_ortho_form_keeps_energy() -> None:
    h, w = 8, 12
    sharp = torch.zeros(1, 1, h, w)
    changed = sharp.clone()
    changed[..., 0, 0] = 0.5
    assert fdr(changed, sharp).item() == pytest.approx(0.25)  # every real part 0.5, every imaginary part 0
    assert fdr(changed, sharp, norm="ortho").item() == pytest.approx(0.25 / math.sqrt(h * w))


def test_ortho_is_backward_over_the_root_of_the_pixels_and_parseval_bounds_it() -> None:
    a, b = noise(2, 3, 16, 24), noise(2, 3, 16, 24, seed=1)
    assert fdr(a, b, norm="ortho").item() == pytest.approx(fdr(a, b).item() / math.sqrt(16 * 24), rel=1e-5)
    spectrum = torch.fft.fft2(a - b, norm="ortho")
    assert spectrum.abs().square().mean().item() == pytest.approx(mse(a, b).item(), rel=1e-5)
    full = torch.view_as_real(spectrum).abs().mean().item()  # all frequencies instead of half of them
    assert fdr(a, b, norm="ortho").item() == pytest.approx(full, rel=0.1)
    assert full <= math.sqrt(mse(a, b).item() / 2)  # mean |.| <= root mean square, Parseval for the latter


@pytest.mark.parametrize("t", [1, 2, 3])
def test_reblurring_compares_with_the_blurred_image_of_its_scale(t: int) -> None:
    sharp, blurred = noise(2, 3, 32, 48), noise(2, 3, 32, 48, seed=1)
    output = output_for(perfect(sharp), blurred, lambda x: 0.5 * x)
    sharps = pyramid(sharp, 3, mode="antialias")
    expected = (0.5 * sharps[-t] - pyramid(blurred, 3, mode="antialias")[-t]).square().mean()
    torch.testing.assert_close(reblur(output, sharps, t), expected)


# ----------------------------------------------------------------------------------------------------------- weights


def test_the_total_is_eq_12_written_out() -> None:
    sharp, blurred = noise(2, 3, 32, 48), noise(2, 3, 32, 48, seed=1)
    images = {t: image + 0.1 * noise(*image.shape, seed=t) for t, image in perfect(sharp).items()}
    output = output_for(images, blurred, lambda x: 0.7 * x)
    weights = LossConfig(scale_weights=(1.0, 0.7, 0.4, 0.2), fdr=0.3, reblur=0.6)
    sharps = pyramid(sharp, 3, mode="antialias")
    expected = torch.zeros(())
    for t, weight in enumerate(weights.scale_weights):
        target = sharp if t == 0 else sharps[-t]
        expected += weight * (mse(images[t], target) + 0.3 * fdr(images[t], target))
        if t:
            expected += 0.6 * weight * reblur(output, sharps, t)
    loss, terms = total_loss(output, sharp, config=PAPER, weights=weights)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(loss, terms["mse"] + 0.3 * terms["fdr"] + 0.6 * terms["reblur"])


def test_a_relative_loss_weighs_a_small_error_of_a_soft_photo_like_a_large_one_of_a_blurred_photo() -> None:
    sharp, error, found = noise(1, 3, 32, 32), noise(1, 3, 32, 32, seed=1) - 0.5, noise(1, 3, 32, 32, seed=2) - 0.5

    def loss_terms(size: float, weights: LossConfig) -> dict[str, Tensor]:
        images = {t: x + size * F.interpolate(found, x.shape[-2:]) for t, x in perfect(sharp).items()}
        output = output_for(images, sharp + size * error)
        return total_loss(output, sharp, config=PAPER, weights=weights)[1]

    relative, absolute = LossConfig(relative=1e-12), LossConfig()
    for name, ratio in (("mse", 100), ("fdr", 10)):
        large, small = loss_terms(1.0, relative)[name], loss_terms(0.1, relative)[name]
        torch.testing.assert_close(large, small, rtol=1e-3, atol=0)
        large, small = loss_terms(1.0, absolute)[name], loss_terms(0.1, absolute)[name]
        torch.testing.assert_close(large, ratio * small, rtol=1e-3, atol=0)


def test_crop_weights_follow_the_error_of_each_input_and_stop_at_the_floor() -> None:
    sharp = noise(3, 3, 16, 16).clamp(0.2, 0.8)
    blurred = sharp + torch.tensor([0.0, 0.01, 0.1])[:, None, None, None]
    floor = 2e-4
    expected = torch.tensor([TYPICAL_ERROR / floor, TYPICAL_ERROR / (1e-4 + floor), TYPICAL_ERROR / (1e-2 + floor)])
    torch.testing.assert_close(crop_weights(blurred, sharp, floor), expected, rtol=1e-3, atol=0)


def test_weights_of_crops_of_one_change_nothing_and_of_zero_leave_a_crop_out() -> None:
    a, b = noise(2, 3, 16, 16), noise(2, 3, 16, 16, seed=1)
    for term, weight in ((mse, 2.0), (fdr, 4.0)):  # fdr is not squared and takes the root
        torch.testing.assert_close(term(a, b, crops=torch.ones(2)), term(a, b))
        torch.testing.assert_close(term(a, b, crops=torch.tensor([0.0, weight])), term(a[1:], b[1:]))


def test_the_ssim_loss_is_one_minus_the_gaussian_ssim_that_is_scored() -> None:
    a = (noise(1, 3, 40, 56) * 255).round()
    b = (a * 0.8 + 20 * noise(1, 3, 40, 56, seed=1)).round()
    pixels = [x[0].permute(1, 2, 0).byte().numpy() for x in (a, b)]
    assert 1 - ssim_loss(a / 255, b / 255).item() == pytest.approx(ssim_gaussian(*pixels), abs=1e-4)
    assert ssim_loss(a, a) == pytest.approx(0, abs=1e-6)
    assert ssim_loss(noise(1, 3, 5, 7), noise(1, 3, 5, 7, seed=1)) > 0, "images smaller than the window have one too"


def test_a_phase_of_ssim_alone_counts_nothing_else_and_no_term_at_all_is_refused() -> None:
    sharp = noise(1, 3, 32, 48)
    output = output_for({t: image + 0.1 * noise(*image.shape, seed=1) for t, image in perfect(sharp).items()}, sharp)
    weights = LossConfig(mse=0, fdr=0, reblur=0, ssim=1)
    loss, terms = total_loss(output, sharp, config=PAPER, weights=weights)
    assert set(terms) == {"ssim"} and loss == terms["ssim"] > 0
    with pytest.raises(ValueError, match="every term of the loss has weight 0"):
        total_loss(output, sharp, config=PAPER, weights=LossConfig(mse=0, fdr=0, reblur=0))


@pytest.mark.parametrize("place", range(4))
def test_a_scale_with_weight_zero_does_not_count(place: int) -> None:
    sharp = noise(1, 3, 32, 48)
    images = perfect(sharp)
    images[place] = images[place] + 1
    scale_weights = tuple(0.0 if t == place else 1.0 for t in range(4))
    loss, _ = total_loss(
        output_for(images, sharp), sharp, config=PAPER, weights=LossConfig(scale_weights=scale_weights)
    )
    assert loss == 0


def test_terms_with_weight_zero_are_left_out() -> None:
    sharp = noise(1, 3, 32, 48)
    output = output_for({t: image + 0.1 for t, image in perfect(sharp).items()}, sharp)
    loss, terms = total_loss(output, sharp, config=PAPER, weights=LossConfig(fdr=0, reblur=0))
    assert "reblur" not in terms and "radius" not in terms
    torch.testing.assert_close(loss, terms["mse"])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_more_scales_than_weights_repeat_the_last_weight(count: int) -> None:
    sharp = noise(1, 3, 64, 64)
    images = {t: image + 0.1 for t, image in perfect(sharp, count).items()}
    config = NRKNetConfig(num_scales=count)
    weights = LossConfig(scale_weights=(1.0, 0.5), fdr=0, reblur=0)
    loss, _ = total_loss(output_for(images, sharp), sharp, config=config, weights=weights)
    assert loss.item() == pytest.approx(0.01 * (1 + 0.5 * count), rel=1e-4)


@pytest.mark.parametrize("name", ["paper", "released", "lite", "FullExp", "4Scales", "w/o ConvLSTM"])
def test_the_loss_of_a_network_is_finite_and_gives_gradients(name: str) -> None:
    config = {**PRESETS, **VARIANTS}[name]
    model = random_network(config)
    sharp, blurred = noise(1, 3, 64, 64), noise(1, 3, 64, 64, seed=1)
    radius = 5 * noise(1, 1, 64, 64)
    radii = torch.tensor(config.radii) if config.radii else None
    loss, terms = total_loss(
        model(blurred), sharp, config=config, weights=LossConfig(radius=0.2), radius=radius, radii=radii
    )
    loss.backward()
    assert bool(loss.isfinite()) and ("radius" in terms) == bool(config.radii)
    assert all(not value.requires_grad for value in terms.values())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize(
    "bad",
    [
        {"fdr_norm": "forward"},
        {"fdr": -0.1},
        {"reblur": -1.0},
        {"radius": -1.0},
        {"radius": math.nan},
        {"image": -1.0},
        {"fdr": math.inf},
        {"scale_weights": ()},
        {"scale_weights": (1.0, -0.5)},
    ],
    ids=str,
)
def test_bad_weights_are_refused_in_one_sentence(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as caught:
        LossConfig(**bad)
    assert next(iter(bad)) in one_line(caught.value)


def test_the_corrected_image_has_terms_of_its_own() -> None:
    sharp = noise(1, 3, 32, 32)
    output = output_for(perfect(sharp), sharp)
    corrected = replace(output, image=sharp + 0.1)
    weights = LossConfig(fdr=0, reblur=0, image=2.0)
    loss, terms = total_loss(corrected, sharp, config=PAPER, weights=weights)
    assert set(terms) == {"mse", "image_mse"} and float(terms["mse"]) == pytest.approx(0, abs=1e-9)
    assert float(terms["image_mse"]) == pytest.approx(0.02, rel=1e-4) and float(loss) == pytest.approx(0.02, rel=1e-4)
    assert "image_mse" not in total_loss(output, sharp, config=PAPER, weights=weights)[1]


# ------------------------------------------------------------------------------------------------------------ radius


def entropy_of(logits: Tensor, radius: Tensor, t: int = 1) -> Tensor:
    blurred = noise(radius.shape[0], 3, *radius.shape[-2:])
    output = output_for(perfect(blurred), blurred, logits=dict.fromkeys((1, 2, 3), logits))
    return radius_cross_entropy(output, radius, GRID, t)


def test_the_radius_term_is_smallest_at_the_true_posterior() -> None:
    radius = 8 * noise(2, 1, 8, 12)
    truth = radius_weights(radius, GRID)
    best = entropy_of(truth.clamp_min(1e-12).log(), radius)
    entropy = -(truth * truth.clamp_min(1e-12).log()).sum(1).mean()
    torch.testing.assert_close(best, entropy)
    for seed in range(5):
        other = truth.clamp_min(1e-12).log() + 0.5 * torch.randn(truth.shape, generator=torch.manual_seed(seed))
        assert entropy_of(other, radius) > best
    logits = truth.clamp_min(1e-12).log().requires_grad_()
    (gradient,) = torch.autograd.grad(entropy_of(logits, radius), logits)
    assert float(gradient.abs().max()) < 1e-6


def test_a_certain_right_radius_costs_nothing_and_a_certain_wrong_one_much() -> None:
    radius = torch.full((1, 1, 4, 4), 2.0)
    certain = torch.full((1, 5, 4, 4), -30.0)
    right, wrong = certain.clone(), certain.clone()
    right[:, 2] = 30
    wrong[:, 4] = 30
    assert entropy_of(right, radius).item() == pytest.approx(0, abs=1e-6)
    assert entropy_of(wrong, radius).item() == pytest.approx(60, rel=1e-4)


@pytest.mark.parametrize(("t", "stem"), [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2)])
def test_radii_are_counted_in_pixels_of_the_scale_at_the_features_resolution(t: int, stem: int) -> None:
    stride = stem * 2 ** (t - 1)
    radius = torch.full((1, 1, 32, 48), 8.0)
    expected_node = {1: 4, 2: 3, 3: 2}[t]  # 8 px at full size is 8, 4, 2 px of the scales
    logits = torch.full((1, 5, 32 // stride, 48 // stride), -30.0)
    logits[:, expected_node] = 30
    assert entropy_of(logits, radius, t).item() == pytest.approx(0, abs=1e-6)
