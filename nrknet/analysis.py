"""What the network saw in a photo: defocus map, coefficients, terms, and the kernel at each pixel."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nrknet.arrays import Floats, Pixels
from nrknet.atoms import AtomBank, RecursiveAtoms
from nrknet.config import NRKNetConfig
from nrknet.kernels import variances
from nrknet.model import NRKNet, ScaleOutput
from nrknet.neumann import BlurOperator, contributions

_NO_DETAILS = "this analysis holds no {}: it was made without details, or of a large photo"


class ScaleDetails(NamedTuple):
    """What the network saw in a photo at one scale t; sizes (h,w) are those of the padded photo over 2^(t-1).

    Attributes:
        terms: (I - D_t)^k Y_t for k = 0..power, each (1,3,h,w).
        coefficients: (1,K,h,w) Gamma_{j,t}.
        operator: D_t.
    """

    terms: tuple[Tensor, ...]
    coefficients: Tensor
    operator: BlurOperator


@dataclass(frozen=True)
class Analysis:
    """A deblurred photo and what the network saw in it.

    Attributes:
        image: (H,W,3) the restored photo, equal to what the Deblurrer returns.
        defocus_map: (H,W) float32 blur radius in pixels.
        coefficients: per scale, coarse -> fine, (K,h,w) float32 maps Gamma_{j,t}; None for photos over 4 megapixels.
        terms: per scale, coarse -> fine, tuples of (h,w,3) float32 terms (I - D_t)^k Y_t, k = 0..power; None likewise.
        atoms: (K,1 or 3,S,S) float32 the atom kernels A_j, the delta first; one set for all colours, or R, G, B.
        contributions: per scale, coarse -> fine, (H,W,3) float32 what it adds to the photo in Eq. 10; None likewise.
        series: (H,W,3) float32 Z_0, the photo with all of these added, not clipped: `image` less what an image head
            corrects; None likewise.
        reblurred: (H,W,3) float32 D_1 Z_0, to be compared with the photo (Eq. 14); None likewise.
    """

    image: Pixels
    defocus_map: Floats
    coefficients: tuple[Floats, ...] | None
    terms: tuple[tuple[Floats, ...], ...] | None
    atoms: Floats
    contributions: tuple[Floats, ...] | None = None
    series: Floats | None = None
    reblurred: Floats | None = None

    def kernel_at(self, row: int, column: int, *, scale: int = 1) -> Floats:
        """The defocus kernel K_{h,w} = sum_j Gamma_{j,t}[h,w] A_j that the network sees at a pixel (Eq. 1).

        Args:
            row, column: of a pixel of the photo.
            scale: t, 1 is the full size; at others the pixel of that scale which covers this one.

        Returns:
            (1 or 3,S,S): the weights with which the pixels around it make up the pixel; they sum to about 1, and are
            learned, so that some can be negative. A learned sum over j (`fusion`) comes on top of it.

        Raises:
            ValueError: an analysis without coefficients, a pixel outside the photo, or an unknown scale.
        """
        if self.coefficients is None:
            raise ValueError(_NO_DETAILS.format("coefficients"))
        height, width = self.defocus_map.shape
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(f"the pixel must lie in the photo of {height}x{width}, got row {row}, column {column}")
        here = self.coefficients_at(scale)[:, row >> (scale - 1), column >> (scale - 1)]
        return np.einsum("k,kcxy->cxy", here, self.atoms)

    def coefficients_at(self, scale: int) -> Floats:
        """(K,h,w) the maps Gamma_{j,t} of a scale without the network's padding; 1 is the full size.

        Raises:
            ValueError: an analysis without coefficients, or an unknown scale.
        """
        if self.coefficients is None:
            raise ValueError(_NO_DETAILS.format("coefficients"))
        height, width = self._size_at(scale, len(self.coefficients))
        return self.coefficients[-scale][:, :height, :width]

    def terms_at(self, scale: int) -> tuple[Floats, ...]:
        """The (h,w,3) terms (I - D_t)^k Y_t of a scale, k = 0..power, without the network's padding.

        Raises:
            ValueError: an analysis without terms, or an unknown scale.
        """
        if self.terms is None:
            raise ValueError(_NO_DETAILS.format("terms"))
        height, width = self._size_at(scale, len(self.terms))
        return tuple(term[:height, :width] for term in self.terms[-scale])

    def _size_at(self, scale: int, num_scales: int) -> tuple[int, int]:
        """Height and width at a scale of what covers the photo."""
        if not 1 <= scale <= num_scales:
            raise ValueError(f"scale must be from 1 (full size) to {num_scales}, got {scale}")
        height, width = (-(-n // 2 ** (scale - 1)) for n in self.defocus_map.shape)
        return height, width

    def running_sums(self) -> tuple[Floats, ...]:
        """The photo, and after it what Eq. 10 has added up to with each scale: (H,W,3) float32; the last is `series`.

        Raises:
            ValueError: an analysis without terms.
        """
        sums = [self.terms_at(1)[0]]
        assert self.contributions is not None  # made together with the terms
        for part in self.contributions:
            sums.append(sums[-1] + part)
        return tuple(sums)

    def residual(self) -> Floats:
        """(H,W,3) D_1 Z_0 - Y: what the photo restored and blurred again has too much, or too little where negative.

        Raises:
            ValueError: an analysis without terms.
        """
        photo = self.running_sums()[0]
        assert self.reblurred is not None  # made together with the terms
        return self.reblurred - photo

    def with_details(self, scales: Sequence[ScaleDetails], config: NRKNetConfig) -> "Analysis":
        """The same with coefficients, terms and what follows from them.

        Args:
            scales: what the network saw in the whole photo, coarse -> fine.
            config: the network's configuration.
        """
        height, width = self.defocus_map.shape
        added = contributions([scale.terms for scale in scales], expansion=config.expansion)
        padded = scales[-1].terms[0] + torch.stack(added).sum(0)

        def cut(image: Tensor) -> Floats:
            return _to_array(to_rgb(image, config))[:height, :width]

        return replace(
            self,
            coefficients=tuple(scale.coefficients[0].float().cpu().numpy() for scale in scales),
            terms=tuple(tuple(_to_array(to_rgb(t, config)) for t in scale.terms) for scale in scales),
            contributions=tuple(map(cut, added)),
            series=cut(padded),
            reblurred=cut(scales[-1].operator(padded)),
        )


def to_rgb(image: Tensor, config: NRKNetConfig) -> Tensor:
    """(B,3,...) or (K,1,...) in the network's order of colours -> RGB, or back: BGR is turned round, RGB is not."""
    return image.flip(1) if config.channel_order == "bgr" else image


def atom_taps(model: NRKNet) -> Floats | None:
    """(J, 1 or 3, 3) the taps a_j of Eq. 3, for colours R, G, B; None for a network whose atoms are not recursive."""
    if not isinstance(model.atoms, RecursiveAtoms):
        return None
    return to_rgb(model.atoms.taps().detach().float().cpu(), model.config).numpy()


def rms(image: Floats) -> float:
    """Root of the mean square over all pixels and colours."""
    return float(np.sqrt(np.mean(np.square(image, dtype=np.float64))))


def _to_array(image: Tensor) -> Floats:
    """(1,3,h,w) RGB -> (h,w,3)."""
    return image[0].permute(1, 2, 0).float().cpu().numpy()


def blur_radius(scale: ScaleOutput) -> Tensor:
    """(B,1,h,w) blur radius in pixels of the scale: the radius head's, else that of the disc as wide as K_{h,w}."""
    return disc_radius(scale.coefficients, scale.operator.bank) if scale.radius is None else scale.radius


def disc_radius(coefficients: Tensor, bank: AtomBank) -> Tensor:
    """(B,K,h,w) coefficients -> (B,1,h,w) radius of the disc that is as wide as the kernel K_{h,w}.

    A disc of radius r has standard deviation r / 2 along each axis, so r = 2 sqrt(sum_j Gamma_j var(A_j)).
    """
    spread = torch.einsum("bkhw,k->bhw", coefficients, variances(bank.kernels()))[:, None]
    total = coefficients.sum(dim=1, keepdim=True)
    safe = torch.where(total.abs() < 1e-3, torch.ones_like(total), total)
    return 2 * (spread / safe).clamp(min=0).sqrt()
