"""Numbers that describe kernels: how wide they are, and what they do to each spatial frequency."""

import torch
from torch import Tensor


def variances(kernels: Tensor) -> Tensor:
    """Variance along one axis in square pixels, the mean of both axes and of the colours.

    Args:
        kernels: (..., sets, S, S) of unit sum, S odd, e.g. an atom bank's `kernels()`; taken about the middle pixel.

    Returns:
        (...).
    """
    offsets = torch.arange(kernels.shape[-1], device=kernels.device, dtype=kernels.dtype) - kernels.shape[-1] // 2
    squares = (offsets[:, None] ** 2 + offsets**2) / 2
    return (kernels * squares).sum(dim=(-2, -1)).mean(dim=-1)


def effective_radius(kernels: Tensor) -> Tensor:
    """Radius in pixels of the disc that is as wide as each kernel: r = 2 sqrt(variance along one axis).

    Args:
        kernels: (..., sets, S, S) of unit sum, S odd; kernels with negative values can have radius 0.

    Returns:
        (...).
    """
    return 2 * variances(kernels).clamp(min=0).sqrt()


def transfer_function(kernel: Tensor, size: int) -> Tensor:
    """What a kernel does to each spatial frequency: its Fourier transform about the middle pixel.

    Args:
        kernel: (..., S, S), S odd and at most `size`; correlated with the image, as F.conv2d does.
        size: side n of the grid of frequencies.

    Returns:
        (..., n, n) complex, frequency 0 first as in torch.fft; real for symmetric kernels, 1 at frequency 0 for unit
        sum.

    Raises:
        ValueError: the kernel is larger than the grid, or has an even side.
    """
    side = kernel.shape[-1]
    if side % 2 == 0 or side > size:
        raise ValueError(f"the kernel must have an odd side of at most {size} pixels, got {side}")
    padded = kernel.new_zeros(*kernel.shape[:-2], size, size)
    padded[..., :side, :side] = kernel
    centred = torch.roll(padded, (-(side // 2), -(side // 2)), dims=(-2, -1))
    return torch.fft.fft2(centred).conj()


def radial_mean(spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """A spectrum averaged over all directions.

    Args:
        spectrum: (..., n, n) real, frequency 0 first as in torch.fft, n even.

    Returns:
        frequencies (n/2,) in cycles per pixel from 0 to below 0.5, and means (..., n/2) over rings of width 1/n.
    """
    size = spectrum.shape[-1]
    f = torch.fft.fftfreq(size, device=spectrum.device)
    ring = (torch.hypot(f[:, None], f) * size).round().long().flatten()
    inside = ring < size // 2
    ring, values = ring[inside], spectrum.flatten(-2)[..., inside]
    sums = values.new_zeros(*values.shape[:-1], size // 2).index_add_(-1, ring, values)
    counts = torch.bincount(ring, minlength=size // 2).to(values.dtype)
    return torch.arange(size // 2) / size, sums / counts


def power_spectrum(image: Tensor) -> tuple[Tensor, Tensor]:
    """Power of an image at each spatial frequency, averaged over colours and directions.

    The largest middle square is taken, its mean removed, under a Hann window, so that borders do not count.

    Args:
        image: (3,H,W), at least 4 pixels a side.

    Returns:
        frequencies (n/2,) in cycles per pixel and power (n/2,), scaled so that white noise has its variance everywhere.
    """
    size = min(image.shape[-2:]) // 2 * 2
    top, left = ((n - size) // 2 for n in image.shape[-2:])
    square = image[..., top : top + size, left : left + size].float()
    window = torch.hann_window(size, periodic=False, device=image.device)
    window = window[:, None] * window
    spectrum = torch.fft.fft2((square - square.mean(dim=(-2, -1), keepdim=True)) * window).abs().square()
    return radial_mean(spectrum.mean(dim=0) / window.square().sum())


def fit(kernels: Tensor, target: Tensor) -> tuple[Tensor, float]:
    """The combination of atoms nearest to a kernel, Eq. 1 for one pixel, by least squares.

    Args:
        kernels: (K,S,S) atoms.
        target: (S,S).

    Returns:
        coefficients (K,), signs free, and the error left, as a share of the kernel: ||K - sum_j gamma_j A_j|| / ||K||.

    Raises:
        ValueError: the target has another size than the atoms.
    """
    if target.shape != kernels.shape[-2:]:
        raise ValueError(f"the kernel must have the atoms' size {tuple(kernels.shape[-2:])}, got {tuple(target.shape)}")
    columns, wanted = kernels.flatten(1).t().double(), target.flatten().double()
    coefficients = torch.linalg.lstsq(columns, wanted, driver="gelsd").solution
    left = (wanted - columns @ coefficients).norm() / wanted.norm()
    return coefficients.to(target), float(left)
