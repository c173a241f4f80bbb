"""The thin-lens renderer: defocused images, with their true blur radius, made from sharp ones.

A scene is a list of layers from back to front. Each has a colour, a coverage (alpha) and an inverse depth; a lens
focused at inverse depth f images a point at inverse depth d as a circle of confusion of signed radius

    s = scale * (d - f)                                                                   (thin lens, pixels)

and the layers are blurred in linear light and composed back to front, the blurred coverage of each hiding what lies
behind it, so that a blurred foreground bleeds over a sharp background and a sharp foreground keeps a crisp edge.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nrknet.aperture import Aperture, defocus_kernel
from nrknet.camera import Camera, develop, draw_camera
from nrknet.defocus_config import DefocusConfig
from nrknet.lens import NO_BLUR, Span, blur, check_images, displace_colours, gaussian_blur, render_defocus
from nrknet.scenes import Dice, draw_geometry

__all__ = ["DefocusConfig", "Defocused", "defocus_kernel", "render_defocus", "render_scene"]


@dataclass(frozen=True)
class Defocused:
    """Rendered scenes.

    Attributes:
        blurred: (B,3,H,W) in [0,1], encoded by each scene's camera curve, noisy, at 8-bit levels.
        sharp: (B,3,H,W) in [0,1], the all-in-focus truth under the same exposure, without noise and fringes.
        radius: (B,1,H,W) green's circle of confusion, in pixels, of the surface visible at each pixel.
    """

    blurred: Tensor
    sharp: Tensor
    radius: Tensor


class _Layer(NamedTuple):
    colour: Tensor  # (3,H,W) linear light
    alpha: Tensor  # (1,H,W) coverage; of the first layer 1
    defocus: Tensor  # (1,H,W) signed pixels
    span: Span  # of the defocus


class _Lens(NamedTuple):
    """The lens of one photo, as it is where the crop lies in the photo.

    Args:
        aperture: as seen from there.
        fringes: defocus of red and of blue less that of green, in pixels.
        growth: magnification of red and of blue less that of green.
        axis: (y, x) of the photo's middle, pixels from the crop's.
    """

    aperture: Aperture
    fringes: tuple[float, float] = (0.0, 0.0)
    growth: tuple[float, float] = (0.0, 0.0)
    axis: tuple[float, float] = (0.0, 0.0)


@torch.no_grad()
def render_scene(sharp: Tensor, config: DefocusConfig, generator: torch.Generator) -> Defocused:
    """Draws one random scene for each image of a batch and renders it through a thin lens.

    Borders are reflected; a caller that wants none of that hands over larger images and crops `max_radius` away.

    Args:
        sharp: (B,3,H,W) in [0,1], sRGB-encoded, in focus.
        config: what scenes look like.
        generator: the only source of randomness; best on the CPU, whatever the device of the images.

    Returns:
        The rendered batch, on the device of `sharp`.

    Raises:
        ValueError: `sharp` has another shape or type.
    """
    check_images(sharp)
    dice = Dice(generator, sharp.device)
    sharp = sharp.float()
    scenes = [_render_one(sharp, index, config, dice) for index in range(len(sharp))]
    blurred, truth, radius = (torch.stack(part) for part in zip(*scenes, strict=True))
    return Defocused(blurred, truth, radius)


def _render_one(batch: Tensor, index: int, config: DefocusConfig, dice: Dice) -> tuple[Tensor, Tensor, Tensor]:
    depths, alphas, focus = draw_geometry(
        dice,
        batch[index],
        kind_weights=config.kind_weights,
        max_layers=config.max_layers,
        content_outline=config.content_outline,
    )
    largest = _draw_largest_radius(config, dice)
    maps, spans = _defocus(depths, alphas, focus, largest)
    lens, camera = _draw_lens(config, dice, largest), draw_camera(config, dice)
    simple = dice.chance(config.simple_chance)
    base = camera.expose(batch[index])
    back = base if simple else _without_foreground(base, alphas[1:], spans)
    layers = [_Layer(back, alphas[0], maps[0], spans[0])]
    for alpha, defocus, span in zip(alphas[1:], maps[1:], spans[1:], strict=True):
        other = dice.chance(config.other_content)
        colour = camera.expose(_other_content(batch, index, dice)) if other else base
        layers.append(_Layer(colour, alpha, defocus, span))
    if simple:
        blurred, truth, radius = _render_simply(layers, camera, dice)
    else:
        blurred, truth, radius = _compose(layers, lens)
        blurred, truth = camera.encode(blurred), camera.encode(truth)
    return *develop(blurred, truth, config, dice), radius


# ---------------------------------------------------------------------------------------------------------------- blur


def _compose(layers: list[_Layer], lens: _Lens) -> tuple[Tensor, Tensor, Tensor]:
    """Layers from back to front as seen by the lens, by a pinhole, and the radius of the visible surface.

    out <- k * (alpha colour) + (1 - k * alpha) out, with k the kernel of the layer added (a delta for the pinhole)
    """
    truth, radius = layers[0].colour, layers[0].defocus.abs()
    out = _seen(truth[None], layers[0], lens)[0]
    for layer in layers[1:]:
        colour = layer.alpha * layer.colour
        truth = colour + (1 - layer.alpha) * truth
        radius = torch.where(layer.alpha >= 0.5, layer.defocus.abs(), radius)
        colour, hidden = _seen(torch.stack([colour, layer.alpha.expand_as(colour)]), layer, lens)
        out = colour + (1 - hidden.clamp(0, 1)) * out
    return displace_colours(out, *lens.growth, lens.axis) if any(lens.growth) else out, truth, radius


def _seen(image: Tensor, layer: _Layer, lens: _Lens) -> Tensor:
    """Images (N,3,H,W) of a layer, blurred; each colour has its own defocus where the lens leaves fringes."""
    red, blue = lens.fringes
    defocus = layer.defocus
    if red or blue:
        defocus = torch.cat([defocus + red, defocus, defocus + blue])
    return blur(image, defocus, lens.aperture, (layer.span[0] + min(red, blue, 0), layer.span[1] + max(red, blue, 0)))


def _render_simply(layers: list[_Layer], camera: Camera, dice: Dice) -> tuple[Tensor, Tensor, Tensor]:
    """What programs make that know nothing of light and of hiding: stored values under kernels of varying radius."""
    truth, defocus = camera.encode(layers[0].colour), layers[0].defocus
    for layer in layers[1:]:
        truth = layer.alpha * camera.encode(layer.colour) + (1 - layer.alpha) * truth
        defocus = torch.where(layer.alpha >= 0.5, layer.defocus, defocus)
    radius, largest = defocus.abs(), max(max(-low, high) for low, high in (layer.span for layer in layers))
    manner = dice.integer(0, 2)
    if manner == 1 and largest > 0:
        step = largest / dice.integer(2, 8)
        radius = (radius / step).round() * step
    if manner == 2 and len(layers) > 1:
        radius = gaussian_blur(radius, dice.uniform(2, 10))
    return blur(truth, radius, Aperture(float(dice.integer(0, 1))), (0.0, largest)), truth, radius


# ---------------------------------------------------------------------------------------------------------------- lens


def _draw_lens(config: DefocusConfig, dice: Dice, largest: float) -> _Lens:
    """A random lens, and a random place in its photo. Fringes grow with the radius as the aperture opens."""
    place = dice.uniform(-0.83, 0.83), dice.uniform(-0.55, 0.55)  # (x, y) of a 3:2 photo, its half diagonal being 1
    aperture = _draw_aperture(config, dice, place)
    fringe = largest * dice.uniform(*config.colour_defocus) if dice.chance(config.colour_chance) else 0.0
    lateral = dice.uniform(*config.lateral) if dice.chance(config.lateral_chance) and largest > 0 else 0.0
    red_blue = [(dice.uniform(-1, 1) * most, dice.uniform(-1, 1) * most) for most in (fringe, lateral)]
    half_diagonal = dice.uniform(600, 3500)
    growth = red_blue[1][0] / half_diagonal, red_blue[1][1] / half_diagonal
    return _Lens(aperture, red_blue[0], growth, (-place[1] * half_diagonal, -place[0] * half_diagonal))


def _draw_aperture(config: DefocusConfig, dice: Dice, place: tuple[float, float]) -> Aperture:
    if dice.chance(config.plain_chance):
        return Aperture(float(dice.integer(0, 1)))
    return Aperture(
        dice.uniform(*config.softness),
        dice.uniform(*config.rim),
        dice.integer(5, 8) if dice.chance(config.polygon_chance) else 0,
        dice.uniform(*config.aspect),
        dice.uniform(0, math.pi),
        math.hypot(*place) * dice.uniform(*config.eye) if dice.chance(config.eye_chance) else 0.0,
        math.atan2(place[1], place[0]),
        dice.chance(config.rim_flip_chance),
    )


def _draw_largest_radius(config: DefocusConfig, dice: Dice) -> float:
    if dice.chance(config.sharp_fraction):
        return 0.0
    return min(config.median_radius * math.exp(config.radius_spread * dice.normal()), config.max_radius)


def _defocus(
    depths: list[Tensor], alphas: list[Tensor], focus: float, largest: float
) -> tuple[list[Tensor], list[Span]]:
    """Maps of d - f, scaled so that the largest radius inside an outline is `largest` pixels, and their spans."""
    maps, ends = [], []
    for depth, alpha in zip(depths, alphas, strict=True):
        # What a layer's plane does outside its outline is not seen, and would only widen the bank of kernels.
        low = torch.where(alpha > 0, depth, math.inf).amin()
        high = torch.where(alpha > 0, depth, -math.inf).amax()
        maps.append(depth.clamp(low, high) - focus)
        ends.append(torch.stack([low, high]) - focus)
    spans: list[Span] = [(low, high) if low <= high else (0.0, 0.0) for low, high in torch.stack(ends).tolist()]
    factor = largest / max(1e-6, *(max(-low, high) for low, high in spans))
    return (
        [(part * factor).nan_to_num(0.0, 0.0, 0.0) for part in maps],
        [(low * factor, high * factor) for low, high in spans],
    )


def _without_foreground(colour: Tensor, fronts: list[Tensor], spans: list[Span]) -> Tensor:
    """The background with what hides it replaced by its surroundings: blur((1 - alpha) colour) / blur(1 - alpha).

    Else a sharp subject leaves a halo of its colours in a blurred background, and a blurred one shows itself sharp
    through its translucent edge.
    """
    reach = max(max(-low, high) for low, high in spans)
    if not fronts or reach < NO_BLUR:
        return colour
    free = torch.stack([1 - alpha for alpha in fronts]).prod(0)
    around = gaussian_blur(torch.cat([free * colour, free]), max(reach, 1.0) / 2)
    fill = (around[:3] + 1e-3 * colour) / (around[3:] + 1e-3)
    return free * colour + (1 - free) * fill


def _other_content(batch: Tensor, index: int, dice: Dice) -> Tensor:
    """Another image of the batch; of a batch of one, the same image mirrored."""
    if len(batch) == 1:
        return batch[0].flip(-1)
    return batch[(index + dice.integer(1, len(batch) - 1)) % len(batch)]
