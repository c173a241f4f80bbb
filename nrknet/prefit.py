"""Pre-fitting of the radius head: its table and the atoms alone, the true radius given."""

import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nrknet.basis import coefficient_basis
from nrknet.config import NRKNetConfig
from nrknet.data import RenderedCrops
from nrknet.layers import RadiusHead, radius_weights, unit_sum
from nrknet.losses import LossConfig, crop_weights, fdr, mse
from nrknet.model import NRKNet
from nrknet.neumann import BlurOperator, fuse_scales, neumann_terms, pyramid
from nrknet.stream import Batch

log = logging.getLogger(__name__)

LookUp = Callable[[Tensor, int], Tensor]


def prefit_table(model: NRKNet, crops: RenderedCrops, *, steps: int, weights: LossConfig, rate: float = 0.02) -> None:
    """Fit the atoms and the radius table alone, the true radius given: one coefficient vector per radius and scale.

    The first third of the steps fits the atoms, with a table of plain coefficients that is then thrown away; the rest
    fits the head's table in the well-conditioned basis of those atoms.

    Args:
        model: a network with a radius head; its atoms, basis and table are changed.
        crops: source of rendered crops; processes that share it fit one table.
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


def restore_by_radius(model: NRKNet, blurred: Tensor, radius: Tensor, look_up: LookUp | None = None) -> list[Tensor]:
    """What the series gives when the true blur is known: coefficients from the table, and no network (Eq. 10).

    Args:
        model: a network with a radius head.
        blurred: (B,3,H,W) in [0,1]; H and W divide by 2^(num_scales - 1).
        radius: (B,1,H,W) true circle-of-confusion radius in pixels.
        look_up: coefficients (B,K,h,w) of a radius (B,1,h,w) in pixels of the scale t; the head's own by default.

    Returns:
        Z_0, then the images Z_1 (full size) to Z_T of the single scales.

    Raises:
        ValueError: the network has no radius head.
    """
    head, config = model.head, model.config
    if not isinstance(head, RadiusHead):
        raise ValueError(f"only a network with head='radius' has a table of coefficients; this has {config.head!r}")
    look_up = look_up or head.lookup
    terms, images = [], []
    for t, level in zip(_coarse_to_fine(config), pyramid(blurred, config.num_scales, mode=config.pyramid), strict=True):
        known = F.avg_pool2d(radius, 2 ** (t - 1)) / 2 ** (t - 1)
        terms.append(neumann_terms(BlurOperator(model.atoms, look_up(known, t)), level, config.powers(t)))
        images.append(torch.stack(terms[-1][config.scale_images_from :]).sum(0))
    return [fuse_scales(terms, expansion=config.expansion), *reversed(images)]


def _coarse_to_fine(config: NRKNetConfig) -> range:
    return range(config.num_scales, 0, -1)


def _fit(
    model: NRKNet,
    crops: RenderedCrops,
    parameters: list[Tensor],
    look_up: LookUp,
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
        sharps = pyramid(batch.sharp, config.num_scales, mode=config.pyramid)
        shares = crop_weights(batch.blurred, batch.sharp, weights.relative) if weights.relative else None
        images = restore_by_radius(model, batch.blurred, batch.radius, look_up)
        loss = torch.zeros((), device=batch.blurred.device)
        for t, (image, sharp) in enumerate(zip(images, [sharps[-1], *reversed(sharps)], strict=True)):
            loss = loss + weights.scale_weight(t) * _prediction(image, sharp, weights, shares)
        optimiser.zero_grad()
        loss.backward()
        for parameter in parameters:
            if parameter.grad is not None:  # independent atoms may have no part in a step
                parameter.grad.copy_(crops.processes.mean(parameter.grad))
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            log.info("prefit %d: loss %.5f", step, crops.processes.mean(loss.detach()).item())
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
