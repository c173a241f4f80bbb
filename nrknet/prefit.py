"""Pre-fitting of the radius head: its table and the atoms alone, the true radius given."""

import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nrknet.basis import coefficient_basis
from nrknet.data import Batch, RenderedCrops
from nrknet.layers import RadiusHead, radius_weights, unit_sum
from nrknet.losses import LossConfig, crop_weights, fdr, mse
from nrknet.model import NRKNet
from nrknet.neumann import BlurOperator, fuse_scales, neumann_terms, pyramid

log = logging.getLogger(__name__)


def prefit_table(model: NRKNet, crops: RenderedCrops, *, steps: int, weights: LossConfig, rate: float = 0.02) -> None:
    """Fit the atoms and the radius table alone, the true radius given: one coefficient vector per radius and scale.

    The first third of the steps fits the atoms, with a table of plain coefficients that is then thrown away; the rest
    fits the head's table in the well-conditioned basis of those atoms.

    Args:
        model: a network with a radius head; its atoms, basis and table are changed.
        crops: source of rendered crops.
        steps: Adam steps.
        weights: uses the scale weights and the FDR term.
        rate: Adam's learning rate, cosine decay to 0.
    """
    head, config = model.head, model.config
    assert isinstance(head, RadiusHead)
    plain = head.table.new_zeros(*head.table.shape[:2], config.num_coefficients).requires_grad_()

    def look_up_plain(radius: Tensor, t: int) -> Tensor:
        shares = radius_weights(radius, head.radii)[:, 1:]
        return unit_sum(torch.einsum("brhw,rk->bkhw", shares, plain[t - 1]))

    atoms = [plain, *model.atoms.requires_grad_().parameters()]
    _fit(model, crops, atoms, look_up_plain, range(0, steps // 3), weights, rate)
    model.atoms.requires_grad_(False)
    if config.num_coordinates:
        head.basis.copy_(coefficient_basis(model.atoms.kernels(), config.num_coordinates))
    _fit(model, crops, [head.table], head.lookup, range(steps // 3, steps), weights, rate)


def _fit(
    model: NRKNet,
    crops: RenderedCrops,
    parameters: list[Tensor],
    look_up: Callable[[Tensor, int], Tensor],
    steps: range,
    weights: LossConfig,
    rate: float,
) -> None:
    """Adam on the multi-scale prediction loss, coefficients looked up by the true radius."""
    config = model.config
    optimiser = torch.optim.Adam(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(len(steps), 1))
    for step in steps:
        batch = _half_size(crops, step)
        blurred, sharp = (pyramid(x, config.num_scales, mode=config.pyramid) for x in (batch.blurred, batch.sharp))
        shares = crop_weights(batch.blurred, batch.sharp, weights.relative) if weights.relative else None
        terms, loss = [], torch.zeros((), device=batch.blurred.device)
        for i, t in enumerate(range(config.num_scales, 0, -1)):
            radius = F.avg_pool2d(batch.radius, 2 ** (t - 1)) / 2 ** (t - 1)
            operator = BlurOperator(model.atoms, look_up(radius, t))
            terms.append(neumann_terms(operator, blurred[i], config.powers(t)))
            image = torch.stack(terms[-1][config.scale_images_from :]).sum(0)
            loss = loss + weights.scale_weights[t] * _prediction(image, sharp[i], weights, shares)
        image = fuse_scales(terms, expansion=config.expansion)
        loss = loss + weights.scale_weights[0] * _prediction(image, sharp[-1], weights, shares)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            log.info("prefit %d: loss %.5f", step, loss.item())
    optimiser.zero_grad()


def _prediction(image: Tensor, sharp: Tensor, weights: LossConfig, crops: Tensor | None) -> Tensor:
    """Eq. 13."""
    return mse(image, sharp, crops=crops) + weights.fdr * fdr(image, sharp, norm=weights.fdr_norm, crops=crops)


def _half_size(crops: RenderedCrops, step: int) -> Batch:
    """A batch cut to half size: the table needs many radii, not large pictures."""
    size = crops.options.size
    side = max(size // 2, min(size, 64))
    first = (step % 2) * (size - side)
    cut = slice(first, first + side)
    batch = crops.at(step)
    return Batch(*(x[..., cut, cut].contiguous() for x in (batch.blurred, batch.sharp, batch.radius)))
