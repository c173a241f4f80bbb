"""The thin-lens renderer: defocused images, with their true blur radius, made from sharp ones.

A scene is a list of layers from back to front. Each has a colour, a coverage (alpha) and an inverse depth; a lens
focused at inverse depth f images a point at inverse depth d as a circle of confusion of radius

    r = scale * |d - f|                                                                   (thin lens, pixels)

and the layers are blurred in linear light and composed back to front, the blurred coverage of each hiding what lies
behind it, so that a blurred foreground bleeds over a sharp background and a sharp foreground keeps a crisp edge.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nrknet.lens import (
    NO_BLUR,
    Aperture,
    blur,
    check_images,
    defocus_kernel,
    linear_to_srgb,
    render_defocus,
    srgb_to_linear,
)
from nrknet.scenes import Dice, draw_geometry

__all__ = ["DefocusConfig", "Defocused", "defocus_kernel", "render_defocus", "render_scene"]

Range = tuple[float, float]


@dataclass(frozen=True)
class DefocusConfig:
    """What random scenes look like; ranges are (low, high), chances are in [0, 1], radii are in pixels.

    Args:
        max_radius: no circle of confusion is larger.
        median_radius, radius_spread: the largest radius of a scene is log-normal, with this median and this standard
            deviation of its logarithm, cut at `max_radius`.
        sharp_fraction: chance that a scene is sharp everywhere.
        plane, tilted, field, layers: relative weights of the kinds of scene: one plane facing the camera (blurred
            everywhere), one tilted plane, one smooth random relief, hard-edged layers that hide each other.
        max_layers: most layers in a scene, the background included.
        content_outline: chance that a layer's outline follows the image (a range of its colours), not a random shape.
        other_content: chance that a layer shows another image of the batch and not another cut of the same one.
        softness, rim, aspect: kernel shape, see `defocus_kernel`.
        polygon_chance: chance of an aperture of 5 to 8 blades and not a round one.
        highlight_chance, highlight_threshold, highlight_gain: linear values above the threshold are brightened by up
            to the gain before blurring and clip after it.
        dark_chance, dark_stops: chance of low light, and how many stops darker it is.
        gamma: tone curve x^gamma applied to the encoded image.
        response_chance, response: chance that light and pixel values are related by light = value^response instead
            of sRGB's curve: cameras' and editors' curves differ, and a network trained on one counts on it.
        clean_chance, read_noise, shot_noise: chance of no noise; otherwise its variance at an encoded value x is
            read^2 + shot^2 x.
        grain_chance: chance that the noise is correlated over neighbouring pixels, as cameras' processing leaves it.

    Raises:
        ValueError: a value is outside its range.
    """

    max_radius: float = 25.0
    median_radius: float = 5.0
    radius_spread: float = 0.75
    sharp_fraction: float = 0.08
    plane: float = 0.08
    tilted: float = 0.24
    field: float = 0.18
    layers: float = 0.5
    max_layers: int = 4
    content_outline: float = 0.35
    other_content: float = 0.3
    softness: Range = (0.0, 0.6)
    rim: Range = (-0.3, 0.4)
    aspect: Range = (0.75, 1.0)
    polygon_chance: float = 0.3
    highlight_chance: float = 0.35
    highlight_threshold: Range = (0.65, 0.95)
    highlight_gain: Range = (1.5, 8.0)
    dark_chance: float = 0.3
    dark_stops: Range = (0.5, 3.0)
    gamma: Range = (0.85, 1.2)
    response_chance: float = 0.6
    response: Range = (1.0, 2.6)
    clean_chance: float = 0.4
    read_noise: Range = (0.0, 0.006)
    shot_noise: Range = (0.0, 0.010)
    grain_chance: float = 0.4

    def __post_init__(self) -> None:
        if not self.max_radius >= self.median_radius > 0:
            got = f"{self.median_radius} and {self.max_radius}"
            raise ValueError(f"expected 0 < median_radius <= max_radius, got {got}")
        if self.radius_spread < 0 or self.max_layers < 2:
            got = f"{self.radius_spread} and {self.max_layers}"
            raise ValueError(f"expected radius_spread >= 0 and max_layers >= 2, got {got}")
        if min(self.kind_weights) < 0 or sum(self.kind_weights) <= 0:
            raise ValueError(f"expected weights of scenes >= 0 and not all 0, got {self.kind_weights}")
        for name in _CHANCES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a chance in [0, 1], got {getattr(self, name)}")
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if len(value) != 2 or not low <= value[0] <= value[1] <= high:
                raise ValueError(f"{name} must be (low, high) within [{low}, {high}], got {value}")

    @property
    def kind_weights(self) -> tuple[float, float, float, float]:
        """Weights of the kinds of scene, in the order plane, tilted, field, layers."""
        return self.plane, self.tilted, self.field, self.layers


_CHANCES = (
    "sharp_fraction", "content_outline", "other_content", "polygon_chance", "highlight_chance", "dark_chance",
    "clean_chance", "grain_chance", "response_chance",
)  # fmt: skip
_BOUNDS: dict[str, Range] = {
    "softness": (0, 1), "rim": (-1, 1), "aspect": (0.3, 1), "highlight_threshold": (0, 1), "highlight_gain": (1, 100),
    "dark_stops": (0, 8), "gamma": (0.3, 3), "response": (0.5, 4), "read_noise": (0, 1), "shot_noise": (0, 1),
}  # fmt: skip


@dataclass(frozen=True)
class Defocused:
    """Rendered scenes.

    Attributes:
        blurred: (B,3,H,W) in [0,1], encoded by each scene's camera curve, noisy, at 8-bit levels.
        sharp: (B,3,H,W) in [0,1], the all-in-focus truth under the same exposure, without noise.
        radius: (B,1,H,W) circle of confusion, in pixels, of the surface visible at each pixel.
    """

    blurred: Tensor
    sharp: Tensor
    radius: Tensor


class _Response(NamedTuple):
    """A camera's curve between light and pixel values: light = value^exponent, or sRGB's where there is none."""

    exponent: float | None

    def to_light(self, encoded: Tensor) -> Tensor:
        return srgb_to_linear(encoded) if self.exponent is None else encoded.clamp(min=0) ** self.exponent

    def from_light(self, light: Tensor) -> Tensor:
        return linear_to_srgb(light) if self.exponent is None else light.clamp(0, 1) ** (1 / self.exponent)


class _Layer(NamedTuple):
    colour: Tensor  # (3,H,W) linear light
    alpha: Tensor  # (1,H,W) coverage
    radius: Tensor  # (1,H,W) pixels


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
    aperture = _draw_aperture(config, dice)
    depths, alphas, focus = draw_geometry(
        dice,
        batch[index],
        kind_weights=config.kind_weights,
        max_layers=config.max_layers,
        content_outline=config.content_outline,
    )
    radii = _radii(depths, alphas, focus, _draw_largest_radius(config, dice))
    response = _draw_response(config, dice)
    expose = _draw_exposure(config, dice, response)
    base = expose(batch[index])
    layers = [_Layer(_without_foreground(base, alphas[1:], radii), alphas[0], radii[0])]
    for alpha, radius in zip(alphas[1:], radii[1:], strict=True):
        colour = expose(_other_content(batch, index, dice)) if dice.chance(config.other_content) else base
        layers.append(_Layer(colour, alpha, radius))
    blurred, truth, radius = _compose(layers, aperture)
    return _sensor(response.from_light(blurred), config, dice), response.from_light(truth), radius


def _compose(layers: list[_Layer], aperture: Aperture) -> tuple[Tensor, Tensor, Tensor]:
    """Layers from back to front as seen by the lens, by a pinhole, and the radius of the visible surface.

    out <- k * (alpha colour) + (1 - k * alpha) out, with k the kernel of the layer added (a delta for the pinhole)
    """
    truth, radius = layers[0].colour, layers[0].radius
    out = blur(truth, radius, aperture)
    for layer in layers[1:]:
        premultiplied = torch.cat([layer.alpha * layer.colour, layer.alpha])
        truth = premultiplied[:3] + (1 - layer.alpha) * truth
        radius = torch.where(layer.alpha >= 0.5, layer.radius, radius)
        seen = blur(premultiplied, layer.radius, aperture)
        out = seen[:3] + (1 - seen[3:].clamp(0, 1)) * out
    return out, truth, radius


def _draw_aperture(config: DefocusConfig, dice: Dice) -> Aperture:
    blades = dice.integer(5, 8) if dice.chance(config.polygon_chance) else 0
    angle = dice.uniform(0, math.pi)
    return Aperture(dice.uniform(*config.softness), dice.uniform(*config.rim), blades,
                     dice.uniform(*config.aspect), angle)  # fmt: skip


def _draw_largest_radius(config: DefocusConfig, dice: Dice) -> float:
    if dice.chance(config.sharp_fraction):
        return 0.0
    return min(config.median_radius * math.exp(config.radius_spread * dice.normal()), config.max_radius)


def _radii(depths: list[Tensor], alphas: list[Tensor], focus: float, largest: float) -> list[Tensor]:
    """Circles of confusion |d - f|, scaled so that the largest visible one is `largest` pixels."""
    defocus = []
    for depth, alpha in zip(depths, alphas, strict=True):
        distance = (depth - focus).abs()
        # What a layer's plane does outside its outline is not seen, and would only widen the bank of kernels.
        inside = distance[alpha > 0] if bool((alpha > 0).any()) else distance.new_zeros(1)
        defocus.append(distance.clamp(inside.min(), inside.max()))
    peak = torch.stack([part.amax() for part in defocus]).amax()
    return [part * (largest / peak.clamp(min=1e-6)) for part in defocus]


def _without_foreground(colour: Tensor, fronts: list[Tensor], radii: list[Tensor]) -> Tensor:
    """The background with what hides it replaced by its surroundings: blur((1 - alpha) colour) / blur(1 - alpha).

    Else a sharp subject leaves a halo of its colours in a blurred background, and a blurred one shows itself sharp
    through its translucent edge.
    """
    reach = max(float(radius.amax()) for radius in radii)
    if not fronts or reach < NO_BLUR:
        return colour
    free = torch.stack([1 - alpha for alpha in fronts]).prod(0)
    around = blur(torch.cat([free * colour, free]), torch.full_like(free, reach), Aperture(1.0))
    weight = around[3:].clamp(min=0)
    fill = (around[:3].clamp(min=0) + 1e-3 * colour) / (weight + 1e-3)
    return free * colour + (1 - free) * fill


def _other_content(batch: Tensor, index: int, dice: Dice) -> Tensor:
    """Another image of the batch; of a batch of one, the same image mirrored."""
    if len(batch) == 1:
        return batch[0].flip(-1)
    return batch[(index + dice.integer(1, len(batch) - 1)) % len(batch)]


# --------------------------------------------------------------------------------------------------------- photometry


def _draw_response(config: DefocusConfig, dice: Dice) -> _Response:
    return _Response(dice.uniform(*config.response) if dice.chance(config.response_chance) else None)


def _draw_exposure(config: DefocusConfig, dice: Dice, response: _Response) -> Callable[[Tensor], Tensor]:
    """A function from encoded images to the linear light of one scene: tone, bright lights, exposure."""
    gamma = dice.uniform(*config.gamma)
    threshold = dice.uniform(*config.highlight_threshold)
    gain = dice.uniform(*config.highlight_gain) if dice.chance(config.highlight_chance) else 1.0
    exposure = 2 ** -dice.uniform(*config.dark_stops) if dice.chance(config.dark_chance) else 1.0

    def expose(encoded: Tensor) -> Tensor:
        linear = response.to_light(encoded.clamp(0, 1) ** gamma)
        if gain > 1:
            excess = (linear.amax(-3, keepdim=True) - threshold).clamp(min=0) / max(1 - threshold, 1e-3)
            linear = linear * (1 + (gain - 1) * excess**2)  # squared: lamps and glints, not every white wall
        return linear * exposure

    return expose


def _sensor(encoded: Tensor, config: DefocusConfig, dice: Dice) -> Tensor:
    """Adds noise of variance read^2 + shot^2 x, clips, and rounds to 8 bits."""
    read, shot = dice.uniform(*config.read_noise), dice.uniform(*config.shot_noise)
    if not dice.chance(config.clean_chance):
        noise = dice.noise(encoded)
        if dice.chance(config.grain_chance):
            noise = _grainy(noise)
        encoded = encoded + noise * (read**2 + shot**2 * encoded).sqrt()
    return (encoded.clamp(0, 1) * 255).round() / 255


def _grainy(noise: Tensor) -> Tensor:
    """White unit-variance noise (C,H,W) smoothed by [1,2,1] both ways, at unit variance again."""
    taps = torch.tensor([1.0, 2.0, 1.0], device=noise.device) / math.sqrt(6)
    padded = F.pad(noise[:, None], (1, 1, 1, 1), mode="reflect")
    return F.conv2d(F.conv2d(padded, taps.view(1, 1, 3, 1)), taps.view(1, 1, 1, 3))[:, 0]
