"""Widths and spectra of kernels against what is known in closed form."""

import math

import pytest
import torch
from networks import noise, seeded
from torch.nn.functional import conv2d

from nrknet.defocus import defocus_kernel
from nrknet.kernels import effective_radius, fit, power_spectrum, radial_mean, transfer_function, variances


@pytest.mark.parametrize("softness", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("radius", [1.5, 3.0, 7.25])
def test_the_effective_radius_is_the_disc_of_the_same_second_moment(radius: float, softness: float) -> None:
    kernel = defocus_kernel(radius, softness=softness)
    assert float(effective_radius(kernel[None])) == pytest.approx(radius, rel=0.02)


def test_variance_is_that_of_either_axis_on_average_over_axes_and_colours() -> None:
    kernels = torch.zeros(1, 2, 5, 5)
    kernels[0, 0, 2, [0, 4]] = 0.5  # 4 along x, 0 along y
    kernels[0, 1, 2, 2] = 1
    assert variances(kernels).tolist() == [1.0]


def test_variances_of_kernels_convolved_add_up() -> None:
    a, b = defocus_kernel(2.0, size=9), defocus_kernel(3.0, size=9)
    both = conv2d(a[None, None], b.flip(0, 1)[None, None], padding=8)[0]
    assert float(variances(both)) == pytest.approx(float(variances(a[None]) + variances(b[None])), rel=1e-4)


def test_blurring_a_periodic_image_multiplies_its_transform_by_the_transfer_function() -> None:
    kernel = torch.rand(5, 5, generator=seeded())  # no symmetry
    image = noise(16, 16)
    blurred = conv2d(torch.nn.functional.pad(image[None, None], (2,) * 4, mode="circular"), kernel[None, None])[0, 0]
    expected = torch.fft.ifft2(torch.fft.fft2(image) * transfer_function(kernel, 16)).real
    torch.testing.assert_close(blurred, expected)


def test_a_symmetric_kernel_has_a_real_transfer_function_and_unit_sum_keeps_the_mean() -> None:
    transfer = transfer_function(defocus_kernel(3.0), 32)
    assert float(transfer.imag.abs().max()) < 1e-6 and float(transfer[0, 0].real) == pytest.approx(1)


def test_a_disc_turns_contrast_round_and_a_gaussian_does_not() -> None:
    # a disc's transfer function is 2 J1(x) / x, x = 2 pi f r: first zero at x = 3.8317, lowest value -0.1323
    frequencies, disc = radial_mean(transfer_function(defocus_kernel(6.0, softness=0.0), 128).real)
    _, gaussian = radial_mean(transfer_function(defocus_kernel(6.0, softness=1.0), 128).real)
    assert float(disc.min()) == pytest.approx(-0.132, abs=0.02)
    zero = float(frequencies[int((disc < 0).nonzero()[0])])
    assert zero == pytest.approx(3.8317 / (2 * math.pi * 6), abs=1 / 128)
    assert float(gaussian.min()) > -0.01


@pytest.mark.parametrize("kernel", [torch.ones(4, 4), torch.ones(9, 9)])
def test_a_kernel_of_even_side_or_larger_than_the_grid_is_refused(kernel: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="odd side of at most 8 pixels, got"):
        transfer_function(kernel, 8)


def test_white_noise_has_its_variance_at_every_frequency() -> None:
    image = 0.1 * torch.randn(3, 300, 256, generator=seeded())
    frequencies, power = power_spectrum(image)
    assert frequencies.shape == power.shape == (128,)
    assert power[4:].tolist() == pytest.approx([0.01] * 124, rel=0.5)
    assert float(power[4:].mean()) == pytest.approx(0.01, rel=0.05)


def test_a_grating_has_its_power_at_its_own_frequency() -> None:
    wave = torch.sin(2 * math.pi * 0.125 * torch.arange(64.0)).expand(3, 64, 64)
    frequencies, power = power_spectrum(wave)
    assert float(frequencies[int(power.argmax())]) == 0.125


def test_a_combination_of_atoms_is_found_again() -> None:
    kernels = torch.stack([defocus_kernel(float(r), size=15, softness=1.0) for r in (0, 2, 4)])
    wanted = torch.tensor([0.5, -0.2, 0.7])
    coefficients, left = fit(kernels, torch.einsum("k,kxy->xy", wanted, kernels))
    torch.testing.assert_close(coefficients, wanted, atol=1e-4, rtol=0)
    assert left < 1e-6


def test_what_atoms_cannot_make_is_left_and_more_atoms_leave_less() -> None:
    disc = defocus_kernel(4.0, size=15, softness=0.0)
    kernels = torch.stack([defocus_kernel(float(r), size=15, softness=1.0) for r in (0, 2, 3, 4, 5)])
    errors = [fit(kernels[:count], disc)[1] for count in range(1, 6)]
    assert all(later <= earlier + 1e-9 for earlier, later in zip(errors, errors[1:], strict=False))
    assert 0.01 < errors[-1] < 0.5 and errors[0] > 0.9


def test_a_kernel_of_another_size_than_the_atoms_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match=r"must have the atoms' size \(5, 5\), got \(7, 7\)"):
        fit(torch.ones(2, 5, 5), torch.ones(7, 7))
