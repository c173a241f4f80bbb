"""How good a network is while it trains: scores and pictures of crops of photos that it is not trained on."""

import torch
from torch import Tensor

from nrknet.model import NRKNet
from nrknet.stream import Crops

SOFT_DB = 35.0
"""Gains are averaged over crops whose input scores less; above it a crop is sharp but for noise."""
NUM_PICTURES = 4


def psnr(image: Tensor, sharp: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each image of a batch after clipping to [0,1]: (B,)."""
    error = (image.clamp(0, 1) - sharp).square().flatten(1).mean(dim=1)
    return -10 * error.clamp(min=1e-10).log10()


@torch.no_grad()
def validate(model: NRKNet, crops: Crops) -> dict[str, float]:
    """Mean PSNR, gain over the input, and error of the radius map where the crops say the true radius.

    Args:
        model: put into evaluation mode and back.
        crops: uint8 pool of a stream's `make_pool`.

    Returns:
        psnr of the output over all crops; gain_db over crops whose input scores under 35 dB (over all where none
        does); sharp_db: PSNR of the output on the other crops, where there are any; with a radius head and a true
        radius also radius_error px and radius_correlation, the latter where both maps vary.
    """
    before, after, radii, truths = [], [], [], []
    for i in range(len(crops.blurred)):
        one = crops.each(lambda x, i=i: x[i : i + 1]).floats()  # type: ignore[misc]
        image, radius = _restore(model, one.blurred)
        before.append(psnr(one.blurred, one.sharp))
        after.append(psnr(image, one.sharp))
        if radius is not None and one.radius is not None:
            radii.append(radius.flatten())
            truths.append(one.radius.flatten())
    start, end = torch.cat(before), torch.cat(after)
    soft = start < SOFT_DB
    scores = {"psnr": end.mean(), "gain_db": (end - start)[soft if bool(soft.any()) else ~soft].mean()}
    if not bool(soft.all()):
        scores["sharp_db"] = end[~soft].mean()
    if radii:
        found, truth = torch.cat(radii), torch.cat(truths)
        scores["radius_error"] = (found - truth).abs().mean()
        if found.std() > 0 and truth.std() > 0:
            scores["radius_correlation"] = torch.corrcoef(torch.stack([found, truth]))[0, 1]
    return {name: round(float(value), 4) for name, value in scores.items()}


@torch.no_grad()
def pictures(model: NRKNet, crops: Crops) -> list[Tensor]:
    """What the network makes of the first crops.

    Args:
        model: put into evaluation mode and back.
        crops: as for `validate`.

    Returns:
        At most four rows (3,S,nS) in [0,1], from left to right: blurred, restored, sharp, and where there are any the
        defocus map found and the true one, white at the largest radius that the network knows.
    """
    rows = []
    for i in range(min(NUM_PICTURES, len(crops.blurred))):
        one = crops.each(lambda x, i=i: x[i : i + 1]).floats()  # type: ignore[misc]
        image, radius = _restore(model, one.blurred)
        maps = [] if radius is None else [m for m in (radius, one.radius) if m is not None]
        white = model.config.radii[-1] if model.config.radii else 1.0
        panels = [one.blurred, image, one.sharp, *((m / white).expand(-1, 3, -1, -1) for m in maps)]
        rows.append(torch.cat(panels, dim=-1)[0].clamp(0, 1).cpu())
    return rows


def _restore(model: NRKNet, blurred: Tensor) -> tuple[Tensor, Tensor | None]:
    """Output (B,3,S,S) RGB and full-size radius (B,1,S,S), of RGB input, in evaluation mode."""
    training = model.training
    model.eval()
    flip = model.config.channel_order == "bgr"
    output = model(blurred.flip(1) if flip else blurred)
    model.train(training)
    return output.image.flip(1) if flip else output.image, output.scales[-1].radius
