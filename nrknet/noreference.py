"""What restoring did to a photo without a sharp version: sharper where it was blurred, unchanged where it was sharp."""

import math

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2gray
from skimage.filters import sobel_h, sobel_v

from nrknet.metrics import Image8, check_images, psnr_of

Mask = NDArray[np.bool_]


def changes(restored: Image8, blurred: Image8, mask: Mask | None = None) -> dict[str, float]:
    """Measure how a restored photo differs from its input, inside and outside the blurred part.

    Args:
        restored: (H,W,3) the output.
        blurred: (H,W,3) the input.
        mask: (H,W), true where the input is blurred; None if that is not known.

    Returns:
        In dB: `sharpening` over the whole photo; with a mask also `sharpening_blurred` and `sharpening_sharp`, and
        `unchanged_sharp`, the PSNR of the output against the input outside the mask. A region that is empty, or that is
        flat in one of the photos, has nan.

    Raises:
        ValueError: the images are not uint8, or the sizes differ.
    """
    check_images(restored, blurred)
    energies = gradient_energy(restored), gradient_energy(blurred)
    whole = np.ones(blurred.shape[:2], np.bool_)
    result = {"sharpening": _gain(*energies, whole)}
    if mask is None:
        return result
    if mask.shape != whole.shape:
        raise ValueError(f"the mask must have the photo's size {whole.shape}, got {mask.shape}")
    result["sharpening_blurred"] = _gain(*energies, mask)
    result["sharpening_sharp"] = _gain(*energies, ~mask)
    result["unchanged_sharp"] = math.nan if mask.all() else psnr_of(restored[~mask], blurred[~mask])
    return result


def gradient_energy(image: Image8) -> NDArray[np.float64]:
    """(H,W,3) -> (H,W) squared length of the brightness gradient (Sobel, 3x3), for brightness in [0,1]."""
    grey = rgb2gray(image)
    return sobel_h(grey) ** 2 + sobel_v(grey) ** 2


def _gain(after: NDArray[np.float64], before: NDArray[np.float64], region: Mask) -> float:
    """Ratio of the mean energies over a region in dB: 10 log10(mean after / mean before)."""
    sums = float(after[region].sum()), float(before[region].sum())
    return 10 * math.log10(sums[0] / sums[1]) if min(sums) > 0 else math.nan
