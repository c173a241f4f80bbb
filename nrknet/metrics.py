"""Scores of restored photos: PSNR and both kinds of SSIM on 8-bit RGB."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

Image8 = NDArray[np.uint8]


def psnr(image: Image8, truth: Image8) -> float:
    """Peak signal-to-noise ratio in dB of 8-bit images: 10 log10(255^2 / mean squared error); inf when equal."""
    _same(image, truth)
    return _psnr(image.astype(np.float64), truth)


def _psnr(image: NDArray[np.floating[Any]], truth: Image8) -> float:
    error = float(np.mean((image - truth.astype(np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def psnr_affine(image: Image8, truth: Image8) -> float:
    """PSNR in dB after the best gain and offset per channel from the image to the truth (for exposure differences)."""
    _same(image, truth)
    fitted = np.empty(image.shape, np.float64)
    for channel in range(image.shape[2]):
        x, y = image[..., channel].astype(np.float64), truth[..., channel].astype(np.float64)
        spread = x.var()
        gain = float(np.mean((x - x.mean()) * (y - y.mean())) / spread) if spread else 0.0
        fitted[..., channel] = gain * (x - x.mean()) + y.mean()
    return _psnr(np.clip(fitted, 0, 255), truth)


def ssim_uniform(image: Image8, truth: Image8) -> float:
    """Structural similarity with scikit-image's default 7x7 uniform window, mean over channels; sides at least 7."""
    _same(image, truth)
    return float(structural_similarity(image, truth, channel_axis=2, data_range=255))


def ssim_gaussian(image: Image8, truth: Image8) -> float:
    """Structural similarity with an 11x11 Gaussian window, sigma 1.5, as the NRKNet and GKMNet code scores it."""
    _same(image, truth)
    return float(
        structural_similarity(
            image, truth, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )


def _same(image: Image8, truth: Image8) -> None:
    if image.dtype != np.uint8 or truth.dtype != np.uint8:
        raise ValueError(f"scores are taken on uint8 images, got {image.dtype} and {truth.dtype}")
    if image.shape != truth.shape or image.ndim != 3:
        raise ValueError(f"both images must be (H,W,3) of one size, got {image.shape} and {truth.shape}")


METRICS = {
    "psnr": psnr,
    "psnr_affine": psnr_affine,
    "ssim_uniform": ssim_uniform,
    "ssim_gaussian": ssim_gaussian,
}
"""Name -> score of (image, truth)."""
