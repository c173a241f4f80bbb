"""The basis of the coefficients: responses in it are equally strong and unrelated, and a few of them suffice."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks import seeded
from skimage import data
from torch import Tensor

from nrknet.atoms import ATOM_BANKS, reflect_pad
from nrknet.basis import IMAGE_VARIANCE, NOISE_VARIANCE, coefficient_basis
from nrknet.config import MAX_ATOMS, NRKNetConfig

BANKS: dict[str, dict[str, Any]] = {
    "recursive": {},
    "symmetric": {"taps": "symmetric"},
    "nonrecursive": {"atoms": "nonrecursive"},
    "nonseparable": {"atoms": "nonseparable"},
    "gaussian": {"atoms": "gaussian"},
    "per channel": {"shared_atoms": False},
}
COUNT = 5


def atoms(name: str = "recursive", num_atoms: int = 10) -> Tensor:
    """(K,sets,S,S) kernels of an untrained bank."""
    torch.manual_seed(0)
    config = NRKNetConfig(num_atoms=num_atoms, **BANKS[name])
    return ATOM_BANKS[config.atoms](config).kernels().detach()


def natural_images(count: int, *, size: int = 192) -> Tensor:
    """(count,1,size,size) periodic float64 noise of the spectrum 1/f^2 and the variance of photos."""
    f = torch.fft.fftfreq(size, dtype=torch.float64)
    amplitude = (f[:, None] ** 2 + f[None] ** 2 + 128**-2).rsqrt()
    white = torch.randn(count, 1, size, size, dtype=torch.float64, generator=seeded())
    images = torch.fft.ifft2(torch.fft.fft2(white) * amplitude).real
    return images * (IMAGE_VARIANCE * size**2 / amplitude.square().sum()).sqrt()


def responses(x: Tensor, kernels: Tensor) -> Tensor:
    """What the atoms after the delta change: (B,1,H,W), (K,1,S,S) -> (B,J,H,W) x * A_j - x, borders periodic."""
    pad = kernels.shape[-1] // 2
    return F.conv2d(F.pad(x, (pad,) * 4, mode="circular"), (kernels[1:] - kernels[:1]).double())


# ----------------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("name", BANKS)
def test_responses_of_natural_images_have_unit_variance_and_are_uncorrelated(name: str) -> None:
    kernels = atoms(name).mean(dim=1, keepdim=True)  # coefficients are shared by the colours, and so is the basis
    basis = coefficient_basis(atoms(name), COUNT)
    assert basis.shape == (COUNT, 10) and basis.dtype == torch.float32 and not basis.requires_grad
    found = torch.einsum("pj,bjhw->pbhw", basis.double(), responses(natural_images(2), kernels)).flatten(1)
    covariance = found @ found.T / found.shape[1]
    torch.testing.assert_close(covariance, torch.eye(COUNT, dtype=torch.float64), atol=0.06, rtol=0)


@pytest.mark.parametrize("name", BANKS)
def test_the_strongest_response_comes_first(name: str) -> None:
    basis = coefficient_basis(atoms(name), 10)
    strength = 1 / basis.double().square().sum(1)  # response variance of a unit vector of coefficients
    assert bool((strength[1:] <= strength[:-1] * 1.01).all())
    assert strength[0] > 100 * strength[3]
    # no unit vector of coefficients can beat the first: a lone atom is one
    alone = responses(natural_images(1), atoms(name).mean(dim=1, keepdim=True)).square().mean((0, 2, 3))
    assert float(alone.max()) < 1.1 * float(strength[0])


@pytest.mark.parametrize("name", BANKS)
def test_more_coordinates_contain_fewer(name: str) -> None:
    kernels = atoms(name)
    longest = coefficient_basis(kernels, 10)
    for count in (1, 4, 9):
        assert torch.equal(coefficient_basis(kernels, count), longest[:count])


def test_all_coordinates_span_all_coefficients() -> None:
    basis = F.normalize(coefficient_basis(atoms(), 10).double(), dim=1)
    torch.testing.assert_close(basis @ basis.T, torch.eye(10, dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", BANKS)
def test_signs_are_the_same_for_every_copy_and_layout_of_the_atoms(name: str) -> None:
    kernels = atoms(name)
    basis = coefficient_basis(kernels, COUNT)
    assert bool((basis.sum(1) >= 0).all())
    assert torch.equal(coefficient_basis(kernels.clone(), COUNT), basis)
    padded = coefficient_basis(F.pad(kernels, (3, 3, 3, 3)), COUNT)
    flipped = coefficient_basis(kernels.flip(-1).flip(-2), COUNT)  # correlation or convolution: the same statistics
    for other in (padded, flipped):
        torch.testing.assert_close(other, basis, atol=1e-3, rtol=1e-3)


# --------------------------------------------------------------------------------------------------------------- enough


def best_deblur(blurred: Tensor, sharp: Tensor, changes: Tensor) -> float:
    """PSNR of Y - sum_i c_i changes_i with the c that suit this image best."""
    columns = changes.flatten(1).T
    wanted = (blurred - sharp).flatten()[:, None]
    found = torch.linalg.lstsq(columns, wanted, driver="gelsd").solution
    return float(-10 * (wanted - columns @ found).square().mean().log10())


def test_eight_coordinates_deblur_a_noisy_disc_nearly_as_well_as_all_coefficients() -> None:
    """Without noise all twenty gain a decibel or two more: what the basis leaves out is weaker than the noise."""
    kernels = atoms(num_atoms=20)
    sharp = torch.from_numpy(data.coffee()[100:196, 200:296].mean(-1)).double()[None, None] / 255
    axis = torch.arange(-3.0, 4.0, dtype=torch.float64)
    disc = (2.5 - (axis[:, None] ** 2 + axis[None] ** 2).sqrt()).clamp(0, 1)
    blurred = F.conv2d(reflect_pad(sharp, 3), (disc / disc.sum())[None, None])
    blurred += NOISE_VARIANCE**0.5 * torch.randn(blurred.shape, dtype=torch.float64, generator=seeded())
    changes = F.conv2d(reflect_pad(blurred, 20), (kernels[1:] - kernels[:1]).double())[0]
    scores = {}
    for count in (2, 8):
        basis = coefficient_basis(kernels, count).double()
        scores[count] = best_deblur(blurred, sharp, torch.einsum("pj,jhw->phw", basis, changes))
    before = float(-10 * (blurred - sharp).square().mean().log10())
    everything = best_deblur(blurred, sharp, changes)
    assert everything - 0.5 < scores[8] <= everything + 1e-6
    assert before + 1 < scores[2] < scores[8] - 0.5


def test_the_most_atoms_a_configuration_allows_have_a_basis() -> None:
    basis = coefficient_basis(atoms(num_atoms=MAX_ATOMS), COUNT)
    assert basis.shape == (COUNT, MAX_ATOMS) and bool(basis.isfinite().all())
