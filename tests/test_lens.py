"""Blur by signed defocus, fringes of colour and smoothing: each does what the optics it stands for does."""

import pytest
import torch

from nrknet.aperture import Aperture, kernel_of
from nrknet.lens import blur, displace_colours, gaussian_blur

ODD = Aperture(0.1, rim=0.4, blades=5, angle=0.4, eye=0.7, eye_angle=0.3, flips=True)
"""A kernel that looks different beyond the plane in focus."""


def point(size: int = 61) -> torch.Tensor:
    image = torch.zeros(1, size, size)
    image[0, size // 2, size // 2] = 1
    return image


def texture(channels: int = 3, size: int = 96) -> torch.Tensor:
    return torch.rand(channels, size, size, generator=torch.Generator().manual_seed(3))


def test_beyond_focus_a_point_is_seen_through_the_aperture_upside_down() -> None:
    near, far = (blur(point(), torch.full((1, 61, 61), s), ODD._replace(flips=False)) for s in (8.0, -8.0))
    assert torch.allclose(far, near.flip(-1).flip(-2), atol=1e-5)
    assert not torch.allclose(far, near, atol=1e-3)


def test_spherical_aberration_swaps_bright_rim_and_bright_centre_at_focus() -> None:
    ring = Aperture(0.0, rim=0.5, flips=True)
    near, far = (blur(point(), torch.full((1, 61, 61), s), ring) for s in (10.0, -10.0))
    assert far[0, 30, 30] > 2 * near[0, 30, 30]
    expected = kernel_of(10.0, Aperture(0.0, rim=-0.5), 30, torch.device("cpu"))
    assert (far[0] - expected).abs().max() < 0.02 * expected.max()


def test_a_map_through_focus_looks_at_each_pixel_like_the_constant_one() -> None:
    image = gaussian_blur(texture(), 1.0)
    ramp = torch.linspace(-9, 9, 96).expand(1, 96, 96)
    varying = blur(image, ramp, ODD)
    for column in (8, 30, 46, 49, 70, 90):
        same = blur(image, torch.full_like(ramp, ramp[0, 0, column].item()), ODD)
        assert (varying[..., column] - same[..., column]).abs().max() < 0.01


@pytest.mark.parametrize("ends", [(-9.0, 12.0), (-0.05, 7.0), (-7.0, 0.05), (-3.0, -2.0), (0.0, 0.5)])
def test_a_flat_image_stays_flat_whatever_side_of_focus(ends: tuple[float, float]) -> None:
    flat = torch.full((3, 40, 50), 0.4)
    assert torch.allclose(blur(flat, torch.linspace(*ends, 50).expand(1, 40, 50), ODD), flat, atol=1e-4)


def test_a_span_that_is_given_is_the_one_that_is_found() -> None:
    image, ramp = texture(), torch.linspace(-4, 9, 96).expand(1, 96, 96)
    assert torch.equal(blur(image, ramp, ODD, (-4.0, 9.0)), blur(image, ramp, ODD))


def test_channels_of_their_own_defocus_are_blurred_like_images_of_their_own() -> None:
    image = gaussian_blur(texture(), 0.7)
    maps = torch.tensor([2.0, 4.0, 8.0])[:, None, None].expand(3, 96, 96)
    together = blur(image, maps, Aperture(0.5))
    for channel in range(3):
        alone = blur(image[channel : channel + 1], maps[channel : channel + 1], Aperture(0.5))
        assert (together[channel] - alone[0]).abs().max() < 0.01


def test_more_defocus_leaves_less_detail() -> None:
    image = texture()
    left = [blur(image, torch.full((1, 96, 96), r), Aperture(0.3)).std().item() for r in (0.0, 0.4, 0.8, 1.5, 3.0, 6.0)]
    assert left == sorted(left, reverse=True) and left[-1] < 0.3 * left[0]


# -------------------------------------------------------------------------------------------------------------- colour


def test_colours_are_magnified_about_the_axis_and_green_is_not() -> None:
    y, x = torch.meshgrid(torch.arange(101.0) - 50, torch.arange(101.0) - 50, indexing="ij")
    image = torch.stack([x, x + y, y])
    moved = displace_colours(image, 0.01, -0.02, (-20.0, 30.0))
    inner = (slice(4, -4), slice(4, -4))
    assert torch.equal(moved[1], image[1])
    # grid_sample's cubic reproduces a ramp to about 0.05 of its step
    assert torch.allclose(moved[0][inner], (x - 0.01 * (x - 30))[inner], atol=0.06)
    assert torch.allclose(moved[2][inner], (y + 0.02 * (y + 20))[inner], atol=0.06)


def test_no_growth_moves_nothing() -> None:
    image = texture()
    assert torch.allclose(displace_colours(image, 0.0, 0.0, (10.0, 900.0)), image, atol=1e-4)


# ------------------------------------------------------------------------------------------------------------ gaussian


@pytest.mark.parametrize("sigma", [1.0, 2.5, 5.0, 12.0])
def test_a_gaussian_keeps_the_sum_and_has_its_variance(sigma: float) -> None:
    size = 161
    out = gaussian_blur(point(size), sigma)[0]
    axis = torch.arange(size) - size // 2
    assert out.sum().item() == pytest.approx(1, abs=0.02)  # reduced sizes that do not divide weigh pixels unevenly
    assert (out.sum(0) @ axis.float() ** 2).item() == pytest.approx(sigma**2, rel=0.15)


@pytest.mark.parametrize("size", [(2, 2), (16, 16), (17, 90)])
def test_a_gaussian_leaves_flat_images_of_any_size_flat(size: tuple[int, int]) -> None:
    flat = torch.full((2, *size), 0.7)
    for sigma in (0.6, 4.0, 13.0):
        assert torch.allclose(gaussian_blur(flat, sigma), flat, atol=1e-5)
