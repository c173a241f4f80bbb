"""The blur operator D_t (Eq. 4, 11), its truncated Neumann series (Eq. 8, 9) and the cross-scale fusion (Eq. 10)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrknet.atoms import AtomBank
from nrknet.config import powers_taken


class LearnedFusion(nn.Module):
    """Sum over j as the released code learns it: a 1x1 convolution from the 3K weighted responses to 3 channels."""

    def __init__(self, num_coefficients: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3 * num_coefficients, 3, 1)

    def forward(self, weighted: Tensor) -> Tensor:
        """(B,K,3,H,W) responses times coefficients -> (B,3,H,W)."""
        return self.conv(weighted.flatten(1, 2))


class BlurOperator:
    """D_t x = sum_j Gamma_{j,t} . (x * A_j): spatially varying blur at one scale (Eq. 4, 11).

    Args:
        bank: the atoms A_j, shared by all scales.
        coefficients: (B,K,h,w) the maps Gamma_{j,t}, the delta's first.
        fusion: None for the plain sum over j, or a module that replaces it.
    """

    def __init__(self, bank: AtomBank, coefficients: Tensor, fusion: LearnedFusion | None = None) -> None:
        self.bank = bank
        self.coefficients = coefficients
        self.fusion = fusion

    def __call__(self, x: Tensor, *, responses: Tensor | None = None) -> Tensor:
        """Blur x.

        Args:
            x: (B,3,h,w), the size of the coefficients.
            responses: (B,K,3,h,w) the bank's output for x where it is known already.

        Returns:
            (B,3,h,w) D x.

        Raises:
            ValueError: x has another size than the coefficients.
        """
        if x.shape[-2:] != self.coefficients.shape[-2:]:
            raise ValueError(f"x must be {tuple(self.coefficients.shape[-2:])} pixels, got {tuple(x.shape[-2:])}")
        if self.fusion is None and responses is None and not torch.is_grad_enabled():
            return self._streamed(x)
        if responses is None:
            responses = self.bank(x)
        weighted = responses * self.coefficients.unsqueeze(2)
        return weighted.sum(dim=1) if self.fusion is None else self.fusion(weighted)

    def _streamed(self, x: Tensor) -> Tensor:
        """The sum with one running blurred image, never the whole K x 3 stack (inference only)."""
        total = torch.zeros_like(x)
        for j, blurred in enumerate(self.bank.chain(x)):
            total.addcmul_(blurred, self.coefficients[:, j : j + 1])
        return total


def neumann_terms(
    operator: BlurOperator, blurred: Tensor, power: int, *, responses: Tensor | None = None
) -> list[Tensor]:
    """The terms (I - D)^k Y for k = 0..power, each from the last (Eq. 7): t_0 = Y, t_{k+1} = t_k - D t_k.

    Args:
        operator: D.
        blurred: (B,3,h,w) Y.
        power: highest k.
        responses: the bank's output for Y where it is known already.

    Returns:
        power + 1 tensors (B,3,h,w); their sum approximates D^-1 Y, and D applied to the first `power` of them
        adds up to Y minus the last.
    """
    terms = [blurred]
    for _ in range(power):
        terms.append(terms[-1] - operator(terms[-1], responses=responses))
        responses = None
    return terms


def contributions(
    terms: Sequence[Sequence[Tensor]], *, expansion: str, highest: int | None = None
) -> list[Tensor]:
    """What each scale adds to Y_1 in Z_0 (Eq. 10), brought to full size.

    Args:
        terms: per scale, coarse -> fine, the terms of `neumann_terms`; the last entry is full size.
        expansion, highest: as for `powers_taken`; a scale of which no power is taken adds zeros.

    Returns:
        per scale, coarse -> fine, (B,3,H,W).
    """
    size, parts = terms[-1][0].shape[-2:], []
    for scale_terms in terms:
        taken = [scale_terms[k] for k in powers_taken(len(scale_terms) - 1, expansion=expansion, highest=highest)]
        part = torch.zeros_like(scale_terms[0]) if not taken else taken[0]
        for term in taken[1:]:
            part = part + term
        if part.shape[-2:] != size:
            part = F.interpolate(part, size=size, mode="bilinear", align_corners=False)
        parts.append(part)
    return parts


def fuse_scales(
    terms: Sequence[Sequence[Tensor]], *, expansion: str, highest: int | None = None
) -> Tensor:
    """Z_0 = Y_1 + sum_t upsampled contributions of the scales (Eq. 10): (B,3,H,W).

    Args:
        terms, expansion, highest: as for `contributions`.
    """
    image = terms[-1][0]
    for part in contributions(terms, expansion=expansion, highest=highest):
        image = image + part
    return image


def downsample(x: Tensor, *, mode: str) -> Tensor:
    """Halve height and width: "nearest" (released code) or "antialias" (bilinear with antialiasing)."""
    if mode == "nearest":
        return F.interpolate(x, scale_factor=0.5, mode="nearest")
    size = (x.shape[-2] // 2, x.shape[-1] // 2)
    return F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)


def pyramid(x: Tensor, num_scales: int, *, mode: str) -> list[Tensor]:
    """Y_t, coarse -> fine: x downsampled by 2^(t-1) for t = num_scales..1; sides must divide by 2^(num_scales-1)."""
    levels = [x]
    for _ in range(num_scales - 1):
        levels.insert(0, downsample(levels[0], mode=mode))
    return levels
