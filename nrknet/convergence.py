"""How a truncated Neumann series converges: at each frequency for one kernel, and for any blur operator."""

from collections.abc import Callable

import torch
from torch import Tensor

from nrknet.kernels import radial_mean, transfer_function

Operator = Callable[[Tensor], Tensor]


def truncated_inverse(transfer: Tensor, power: int) -> Tensor:
    """What the series up to a power does to each frequency: sum_{k=0}^{power} (1 - H)^k (Eq. 8 for uniform blur).

    Args:
        transfer: (...) real or complex H, the blur's transfer function.
        power: highest k, >= 0.

    Returns:
        (...) that times H is 1 - (1 - H)^(power + 1): what is left of each frequency after blurring and restoring.

    Raises:
        ValueError: a negative power.
    """
    if power < 0:
        raise ValueError(f"power must be 0 or more, got {power}")
    rest = 1 - transfer
    total = torch.ones_like(rest)
    for _ in range(power):
        total = 1 + rest * total
    return total


def radial_responses(kernel: Tensor, power: int, *, size: int = 128) -> tuple[Tensor, Tensor, Tensor]:
    """What uniform blur by a kernel, and that blur undone by the series, leave of each frequency.

    Args:
        kernel: (..., S, S), S odd and at most `size`.
        power: highest k of the series, >= 0.
        size: side n of the grid of frequencies, even.

    Returns:
        frequencies (n/2,) in cycles per pixel; the real part of the transfer function H (..., n/2), and that of
        H times the truncated inverse (..., n/2), both averaged over directions. 1 leaves a frequency as it is.

    Raises:
        ValueError: a negative power, or a kernel of even or too large a side.
    """
    transfer = transfer_function(kernel, size)
    frequencies, blurred = radial_mean(transfer.real)
    return frequencies, blurred, radial_mean((transfer * truncated_inverse(transfer, power)).real)[1]


def residual_norm(operator: Operator, like: Tensor, *, steps: int = 30, generator: torch.Generator) -> float:
    """Spectral norm of I - D, the largest factor by which it makes an image larger: rho(I - D) of Sec. 3.2.

    The series converges for every image where it is below 1. By power iteration on (I - D)^T (I - D), so that it is
    right for blur that varies over the image; from below, and the closer the more steps.

    Args:
        operator: D, linear and differentiable.
        like: (B,3,h,w): the iteration runs on images of this size; its values do not count.
        steps: of the iteration.
        generator: for its first image.
    """
    x = torch.randn(like.shape, generator=generator).to(like)
    norm = 0.0
    for _ in range(steps):
        x = (x / x.norm()).requires_grad_()
        with torch.enable_grad():
            y = x - operator(x)
        (back,) = torch.autograd.grad(y, x, y.detach())
        norm, x = float(y.detach().norm()), back.detach()
        if not float(x.norm()) > 0:  # D is the identity
            break
    return norm
