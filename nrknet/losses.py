"""The training loss: Eq. 12 as a sum of named terms (Eq. 13, 14), and the radius term of our own presets."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nrknet.config import NRKNetConfig
from nrknet.layers import radius_weights
from nrknet.model import NRKNetOutput
from nrknet.neumann import pyramid


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss.

    Args:
        scale_weights: lambda_0..lambda_3 of Eq. 12: the fused image Z_0, then Z_1 (full size) to Z_3 (coarsest). For
            further scales, of which the paper does not speak, the last one is repeated.
        mse: of the mean squared error in Eq. 13, 1 there.
        fdr: beta of Eq. 13, the frequency-domain reconstruction term.
        fdr_norm: scaling of the FFT, "backward" (none, as in the released code) or "ortho" (energy-preserving).
        reblur: alpha of Eq. 12.
        ssim: weight of 1 - SSIM, which replaces Eq. 13 in phases of the released code.
        image: of the terms of Eq. 13 on the image head's result, for networks that have one.
        radius: weight of the cross-entropy between the radius posterior and the true circle of confusion.
        relative: 0 for Eq. 12 as it is, where the few crops of largest error decide; or a mean squared error, and
            each crop's terms are then divided by its input's error plus this (see `crop_weights`).
    """

    scale_weights: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25)
    mse: float = 1.0
    fdr: float = 0.1
    fdr_norm: str = "backward"
    reblur: float = 0.1
    ssim: float = 0.0
    image: float = 1.0
    radius: float = 0.0
    relative: float = 0.0

    def __post_init__(self) -> None:
        if self.fdr_norm not in ("backward", "ortho"):
            raise ValueError(f"fdr_norm must be 'backward' or 'ortho', got {self.fdr_norm!r}")
        weights = (*self.scale_weights, self.mse, self.fdr, self.reblur, self.ssim, self.image, self.radius)
        if not self.scale_weights or not all(0 <= weight < math.inf for weight in (*weights, self.relative)):
            raise ValueError(f"loss weights must be numbers from 0, and scale_weights not empty, got {self}")

    def scale_weight(self, t: int) -> float:
        """lambda_t of Eq. 12: 0 is the fused image, 1 the full size."""
        return self.scale_weights[min(t, len(self.scale_weights) - 1)]


TYPICAL_ERROR = 0.003
"""Mean squared error of a rendered crop of medium blur: relative losses are of the size of absolute ones there."""


def crop_weights(blurred: Tensor, sharp: Tensor, floor: float) -> Tensor:
    """Weights (B,) that make a gain in dB count alike in every crop: 0.003 / (MSE of the input + floor).

    Args:
        blurred, sharp: (B,3,H,W) in [0,1].
        floor: mean squared error, > 0, that keeps sharp crops from deciding alone.
    """
    return TYPICAL_ERROR / ((blurred - sharp).square().flatten(1).mean(dim=1) + floor)


def _mean(errors: Tensor, crops: Tensor | None) -> Tensor:
    """Mean of the errors (B,) of the images of a batch, weighted by `crops` (B,) where given."""
    return errors.mean() if crops is None else (crops * errors).mean()


def mse(predicted: Tensor, sharp: Tensor, *, crops: Tensor | None = None) -> Tensor:
    """Mean squared error, the first term of Eq. 13; `crops` (B,) weighs the images of the batch."""
    errors = (predicted - sharp).square().flatten(1).mean(dim=1)
    return _mean(errors, crops)


def fdr(predicted: Tensor, sharp: Tensor, *, norm: str = "backward", crops: Tensor | None = None) -> Tensor:
    """Frequency-domain reconstruction, |F(Z) - F(X)|_1: mean over real and imaginary parts (Eq. 13, second term).

    Not squared, so `crops` (B,), weights of squared errors, enter with their root.
    """
    difference = torch.fft.rfft2(predicted.float() - sharp.float(), norm=norm)
    errors = torch.view_as_real(difference).abs().flatten(1).mean(dim=1)
    return _mean(errors, None if crops is None else crops.sqrt())


def ssim_loss(predicted: Tensor, sharp: Tensor, *, crops: Tensor | None = None) -> Tensor:
    """1 - SSIM with an 11x11 Gaussian window of sigma 1.5, mean over pixels and channels; `crops` (B,) weighs images.

    The window is cut to the image where a scale is smaller than 11 pixels.
    """
    side = min(11, *predicted.shape[-2:])
    axis = torch.arange(side, device=predicted.device, dtype=torch.float32) - (side - 1) / 2
    taps = torch.exp(-0.5 * (axis / 1.5) ** 2)
    taps = taps / taps.sum()

    def mean(x: Tensor) -> Tensor:
        rows = F.conv2d(x.flatten(0, 1)[:, None], taps.view(1, 1, -1, 1))
        return F.conv2d(rows, taps.view(1, 1, 1, -1)).unflatten(0, x.shape[:2])[:, :, 0]

    x, y = predicted.float(), sharp.float()
    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity = similarity / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return _mean(1 - similarity.flatten(1).mean(dim=1), crops)


def reblur(output: NRKNetOutput, sharps: list[Tensor], t: int, *, crops: Tensor | None = None) -> Tensor:
    """|D_t(X_t) - Y_t|^2, mean over pixels (Eq. 14); `crops` (B,) weighs the images of the batch."""
    scale = output.scales[-t]
    return mse(scale.operator(sharps[-t]), scale.terms[0], crops=crops)


def radius_cross_entropy(output: NRKNetOutput, radius: Tensor, radii: Tensor, t: int) -> Tensor:
    """Cross-entropy of the radius posterior at scale t against the true radius, linearly split over two grid points.

    Args:
        radius: (B,1,H,W) true circle-of-confusion radius in full-size pixels.
        radii: (R,) the head's grid.
    """
    logits = output.scales[-t].radius_logits
    assert logits is not None
    stride = radius.shape[-1] // logits.shape[-1]
    target = radius_weights(F.avg_pool2d(radius, stride) / 2 ** (t - 1), radii)
    return -(target * logits.float().log_softmax(dim=1)).sum(dim=1).mean()


def total_loss(
    output: NRKNetOutput,
    sharp: Tensor,
    *,
    config: NRKNetConfig,
    weights: LossConfig,
    radius: Tensor | None = None,
    radii: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """L = sum_t lambda_t L_predict(Z_t, X_t) + alpha sum_t lambda_t L_reblur(Y_t, X_t) (+ radius term).

    Args:
        output: the network's output for the blurred batch.
        sharp: (B,3,H,W) X; H and W divide by the network's size multiple and are at least twice as large.
        config: the network's configuration (pyramid and number of scales).
        weights: the weights of the terms.
        radius: (B,1,H,W) true radius in pixels, for the radius term.
        radii: the radius head's grid.

    Returns:
        The loss, and each term before its own weight, summed over the scales with lambda_t, detached.

    Raises:
        ValueError: every weight is 0.
    """
    sharps = pyramid(sharp, config.num_scales, mode=config.pyramid)
    crops = crop_weights(output.scales[-1].terms[0], sharp, weights.relative) if weights.relative else None
    lambdas = [weights.scale_weight(t) for t in range(config.num_scales + 1)]
    factors = {name: getattr(weights, name) for name in ("mse", "fdr", "ssim", "reblur", "radius")}
    factors.update({f"image_{name}": factors[name] for name in ("mse", "fdr", "ssim")})
    terms: dict[str, Tensor] = {}

    def add(name: str, value: Tensor) -> None:
        terms[name] = terms[name] + value if name in terms else value

    def predict(image: Tensor, target: Tensor, share: float, prefix: str = "") -> None:
        """Eq. 13, or what replaces it."""
        if weights.mse:
            add(f"{prefix}mse", share * mse(image, target, crops=crops))
        if weights.fdr:
            add(f"{prefix}fdr", share * fdr(image, target, norm=weights.fdr_norm, crops=crops))
        if weights.ssim:
            add(f"{prefix}ssim", share * ssim_loss(image, target, crops=crops))

    outputs = [output.series, *(output.scales[-t].image for t in range(1, config.num_scales + 1))]
    for image, target, share in zip(outputs, [sharp, *reversed(sharps)], lambdas, strict=True):
        predict(image, target, share)
    if output.image is not output.series and weights.image:
        predict(output.image, sharp, weights.image, prefix="image_")
    for t in range(1, config.num_scales + 1):
        if weights.reblur:
            add("reblur", lambdas[t] * reblur(output, sharps, t, crops=crops))
        if weights.radius and radius is not None and radii is not None:
            add("radius", lambdas[t] * radius_cross_entropy(output, radius, radii, t))
    if not terms:
        raise ValueError(f"every term of the loss has weight 0: {weights}")
    loss = torch.stack([factors[name] * value for name, value in terms.items()]).sum()
    return loss, {name: value.detach() for name, value in terms.items()}
