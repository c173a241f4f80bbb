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
        scale_weights: lambda_0..lambda_3 of Eq. 12: the fused image Z_0, then Z_1 (full size) to Z_3 (coarsest).
        fdr: beta of Eq. 13, the frequency-domain reconstruction term.
        fdr_norm: scaling of the FFT, "backward" (none, as in the released code) or "ortho" (energy-preserving).
        reblur: alpha of Eq. 12.
        radius: weight of the cross-entropy between the radius posterior and the true circle of confusion.
    """

    scale_weights: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25)
    fdr: float = 0.1
    fdr_norm: str = "backward"
    reblur: float = 0.1
    radius: float = 0.0

    def __post_init__(self) -> None:
        if self.fdr_norm not in ("backward", "ortho"):
            raise ValueError(f"fdr_norm must be 'backward' or 'ortho', got {self.fdr_norm!r}")
        weights = (*self.scale_weights, self.fdr, self.reblur, self.radius)
        if not self.scale_weights or not all(0 <= weight < math.inf for weight in weights):
            raise ValueError(f"loss weights must be numbers from 0, and scale_weights not empty, got {self}")


def mse(predicted: Tensor, sharp: Tensor) -> Tensor:
    """Mean squared error, the first term of Eq. 13."""
    return F.mse_loss(predicted, sharp)


def fdr(predicted: Tensor, sharp: Tensor, *, norm: str = "backward") -> Tensor:
    """Frequency-domain reconstruction, |F(Z) - F(X)|_1: mean over real and imaginary parts (Eq. 13, second term)."""
    difference = torch.fft.rfft2(predicted.float() - sharp.float(), norm=norm)
    return torch.view_as_real(difference).abs().mean()


def reblur(output: NRKNetOutput, sharps: list[Tensor], t: int) -> Tensor:
    """|D_t(X_t) - Y_t|^2, mean over pixels (Eq. 14)."""
    scale = output.scales[-t]
    return F.mse_loss(scale.operator(sharps[-t]), scale.terms[0])


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
    """
    sharps = pyramid(sharp, config.num_scales, mode=config.pyramid)
    lambdas = [weights.scale_weights[min(i, len(weights.scale_weights) - 1)] for i in range(config.num_scales + 1)]
    terms = {
        "mse": lambdas[0] * mse(output.image, sharp),
        "fdr": lambdas[0] * fdr(output.image, sharp, norm=weights.fdr_norm),
    }
    factors = {"mse": 1.0, "fdr": weights.fdr, "reblur": weights.reblur, "radius": weights.radius}
    for t in range(1, config.num_scales + 1):
        image, target = output.scales[-t].image, sharps[-t]
        terms["mse"] = terms["mse"] + lambdas[t] * mse(image, target)
        terms["fdr"] = terms["fdr"] + lambdas[t] * fdr(image, target, norm=weights.fdr_norm)
        if weights.reblur:
            terms["reblur"] = terms.get("reblur", 0.0) + lambdas[t] * reblur(output, sharps, t)
        if weights.radius and radius is not None and radii is not None:
            entropy = radius_cross_entropy(output, radius, radii, t)
            terms["radius"] = terms.get("radius", 0.0) + lambdas[t] * entropy
    loss = torch.stack([factors[name] * value for name, value in terms.items()]).sum()
    return loss, {name: value.detach() for name, value in terms.items()}
