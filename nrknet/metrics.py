"""Scores of restored photos against sharp ones: PSNR and both kinds of SSIM on 8-bit RGB; LPIPS is in perceptual.py."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

Image8 = NDArray[np.uint8]
Metric = Callable[[Image8, Image8], float]
"""Score of (image, truth); nan where it is not defined."""


def psnr(image: Image8, truth: Image8) -> float:
    """Peak signal-to-noise ratio in dB of 8-bit images: 10 log10(255^2 / mean squared error); inf when equal."""
    check_images(image, truth)
    return psnr_of(image, truth)


def psnr_of(image: NDArray[Any], truth: NDArray[Any]) -> float:
    """PSNR in dB of samples in 0-255, of any one shape that is not empty."""
    error = float(np.mean((image.astype(np.float64) - truth) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def psnr_affine(image: Image8, truth: Image8) -> float:
    """PSNR in dB after the best gain and offset per channel from the image to the truth (for exposure differences)."""
    check_images(image, truth)
    fitted = np.empty(image.shape, np.float64)
    for channel in range(image.shape[2]):
        x, y = image[..., channel].astype(np.float64), truth[..., channel].astype(np.float64)
        spread = x.var()
        gain = float(np.mean((x - x.mean()) * (y - y.mean())) / spread) if spread else 0.0
        fitted[..., channel] = gain * (x - x.mean()) + y.mean()
    return psnr_of(np.clip(fitted, 0, 255), truth)


def ssim_uniform(image: Image8, truth: Image8) -> float:
    """Structural similarity with scikit-image's default 7x7 uniform window, mean over channels; sides at least 7."""
    check_images(image, truth)
    return float(structural_similarity(image, truth, channel_axis=2, data_range=255))


def ssim_gaussian(image: Image8, truth: Image8) -> float:
    """Structural similarity with an 11x11 Gaussian window, sigma 1.5, as the NRKNet and GKMNet code scores it."""
    check_images(image, truth)
    return float(
        structural_similarity(
            image, truth, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )


def check_images(image: Image8, truth: Image8) -> None:
    """Refuse, with a ValueError, what scores are not taken on."""
    if image.dtype != np.uint8 or truth.dtype != np.uint8:
        raise ValueError(f"scores are taken on uint8 images, got {image.dtype} and {truth.dtype}")
    if image.shape != truth.shape or image.ndim != 3:
        raise ValueError(f"both images must be (H,W,3) of one size, got {image.shape} and {truth.shape}")


METRICS: dict[str, Metric] = {
    "psnr": psnr,
    "psnr_affine": psnr_affine,
    "ssim_uniform": ssim_uniform,
    "ssim_gaussian": ssim_gaussian,
}
"""What is always at hand; `Lpips.metrics` adds to it."""
