"""A well-conditioned basis for the coefficients: neighbouring atoms are nearly equal, their differences tell."""

import math

import torch
from torch import Tensor

IMAGE_VARIANCE = 0.05
NOISE_VARIANCE = 1e-5
_GRID = 256  # above the largest support, 129
_LOWEST = 1 / 128  # cycles per pixel below which the spectrum is flat


def coefficient_basis(kernels: Tensor, count: int) -> Tensor:
    """The `count` combinations of atoms whose responses matter most in photos, scaled to unit response.

    The responses x * A_j - x of neighbouring atoms are so alike that their covariance has a condition number of 1e12;
    gradient descent on the coefficients then finds only the strongest few combinations. In this basis, the principal
    components of that covariance under the 1/f^2 spectrum of photos plus white noise, all coordinates count alike.

    Args:
        kernels: (K,sets,S,S) atoms, the delta first; sets are averaged.
        count: P, at most J = K - 1.

    Returns:
        (P,J): coordinates q (P,) stand for coefficients Gamma_j = sum_p q_p basis[p,j] of the atoms after the delta.
    """
    transfer = torch.fft.fft2(kernels.detach().double().mean(dim=1).cpu(), s=(_GRID, _GRID))
    centre = kernels.shape[-1] // 2
    f = torch.fft.fftfreq(_GRID, dtype=torch.float64)
    transfer = transfer * torch.exp(2j * math.pi * centre * (f[:, None] + f[None]))
    change = transfer[1:] - 1
    spectrum = 1 / (f[:, None] ** 2 + f[None] ** 2 + _LOWEST**2)
    spectrum = IMAGE_VARIANCE * spectrum / spectrum.sum() + NOISE_VARIANCE / _GRID**2
    covariance = torch.einsum("ixy,jxy->ij", change * spectrum, change.conj()).real
    variances, directions = torch.linalg.eigh(covariance)
    variances, directions = variances.flip(0)[:count], directions.flip(1)[:, :count]
    signs = torch.where(directions.sum(dim=0) < 0, -1.0, 1.0)
    return (directions * signs / variances.clamp(min=1e-14).sqrt()).t().float().contiguous()
