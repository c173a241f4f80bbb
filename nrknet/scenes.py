"""Where things are in a random scene: inverse depths, coverages of layers that hide each other, and the focus."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from nrknet.lens import gaussian_blur

Geometry = tuple[list[Tensor], list[Tensor], float]
"""Inverse depths and coverages (1,H,W) of the layers from back to front, and the inverse depth in focus."""


class Dice:
    """Random numbers from one generator: plain numbers from it, whole images from one it seeds on their device."""

    def __init__(self, generator: torch.Generator, device: torch.device) -> None:
        self._generator = generator
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        self._images = torch.Generator(device).manual_seed(seed)
        self.device = device

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        draw = torch.rand((), generator=self._generator, device=self._generator.device).item()
        return low + (high - low) * draw

    def normal(self) -> float:
        return torch.randn((), generator=self._generator, device=self._generator.device).item()

    def chance(self, probability: float) -> bool:
        return self.uniform() < probability

    def integer(self, low: int, high: int) -> int:
        """Between low and high, both included."""
        return min(int(self.uniform(low, high + 1)), high)

    def choose(self, weights: tuple[float, ...]) -> int:
        """An index, by weight."""
        point, last = self.uniform(0, sum(weights)), 0
        for index, weight in enumerate(weights):
            if weight > 0:
                last = index
                if point < weight:
                    break
            point -= weight
        return last

    def noise(self, like: Tensor) -> Tensor:
        """White noise of the shape of an image."""
        return torch.randn(like.shape, generator=self._images, device=self.device)

    def relief(self, size: tuple[int, int], cells: int) -> Tensor:
        """Smooth noise (1,H,W) of about unit variance, with `cells` bumps across."""
        coarse = torch.randn((1, 1, cells + 1, cells + 1), generator=self._images, device=self.device)
        return F.interpolate(coarse, size, mode="bicubic", align_corners=True)[0] * 1.3


def draw_geometry(
    dice: Dice, image: Tensor, *, kind_weights: tuple[float, ...], max_layers: int, content_outline: float
) -> Geometry:
    """Draws the geometry of one scene.

    Args:
        dice: the source of randomness.
        image: (3,H,W), what outlines may follow.
        kind_weights: of one plane facing the camera, a tilted plane, a smooth relief, layers.
        max_layers, content_outline: see `DefocusConfig`.
    """
    size = (image.shape[-2], image.shape[-1])
    kind = dice.choose(kind_weights)
    if kind == 3:
        return _draw_layers(dice, image, max_layers, content_outline)
    everywhere = torch.ones(1, *size, device=dice.device)
    if kind == 0:
        return [everywhere], [everywhere], 2.0 * dice.integer(0, 1)  # focused beyond it, or before it
    depth, focus = (_draw_tilted if kind == 1 else _draw_relief)(dice, size)
    return [depth], [everywhere], focus


def _grid(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Coordinates (H,1) and (1,W), 0 at the centre, the shorter side from -1 to 1."""
    unit = (min(size) - 1) / 2
    y, x = ((torch.arange(n, device=device) - (n - 1) / 2) / unit for n in size)
    return y[:, None], x[None, :]


def _ramp(dice: Dice, size: tuple[int, int], upright: bool = False) -> Tensor:
    """An affine map (1,H,W): the inverse depth of any plane is affine in image coordinates."""
    angle = math.pi / 2 + 0.4 * dice.normal() if upright else dice.uniform(0, 2 * math.pi)
    y, x = _grid(size, dice.device)
    return (math.cos(angle) * x + math.sin(angle) * y)[None]


def _draw_tilted(dice: Dice, size: tuple[int, int]) -> tuple[Tensor, float]:
    """A tilted plane, often a floor that ends at a wall, focused anywhere from beyond it to before it."""
    depth = _ramp(dice, size, upright=dice.chance(0.5))
    focus = dice.uniform(-1.1, 1.1)
    if dice.chance(0.6):
        wall = dice.uniform(-0.7, 0.5)
        depth = depth.clamp(min=wall)
        focus = wall if dice.chance(0.6) else focus
    return depth, focus


def _draw_relief(dice: Dice, size: tuple[int, int]) -> tuple[Tensor, float]:
    """Smooth random relief that rises from a flat ground; the ground is often in focus."""
    depth = dice.relief(size, dice.integer(1, 5)) + dice.uniform(0, 1) * _ramp(dice, size)
    ground = dice.uniform(-1.2, 0.4)
    depth = depth.clamp(min=ground)
    return depth, ground if dice.chance(0.7) else dice.uniform(-1.5, 1.5)


def _draw_layers(dice: Dice, image: Tensor, max_layers: int, content_outline: float) -> Geometry:
    """A background and 1 to max_layers - 1 hard-edged layers before it, the front one often in focus."""
    size = (image.shape[-2], image.shape[-1])
    count = 2 if dice.chance(0.5) else dice.integer(2, max_layers)
    offsets = sorted(dice.uniform() for _ in range(count))
    focus = dice.uniform(-0.3, 1.3)
    if dice.chance(0.8):
        focus = offsets[-1] if dice.chance(0.5) else offsets[dice.integer(0, count - 1)]
    depths, alphas = [], []
    for place, offset in enumerate(offsets):
        depth = torch.full((1, *size), offset, device=dice.device)
        if dice.chance(0.3) and offset != focus:
            depth = depth + dice.uniform(0.05, 0.4) * _ramp(dice, size)
        depths.append(depth)
        if place == 0:
            alphas.append(torch.ones_like(depth))
        else:
            alphas.append(_content_mask(dice, image) if dice.chance(content_outline) else _draw_mask(dice, size))
    return depths, alphas, focus


def _content_mask(dice: Dice, image: Tensor) -> Tensor:
    """Coverage (1,H,W) of the brighter part of a random mix of the channels: edges of depth lie on edges of things."""
    mix = torch.tensor([dice.normal() for _ in range(3)], device=image.device)
    level = gaussian_blur((image * mix[:, None, None]).sum(0, keepdim=True), dice.uniform(1.5, 4))
    order = level[:, ::3, ::3].flatten().sort().values
    part = (level > order[int(dice.uniform(0.3, 0.8) * (len(order) - 1))]).float()
    # A step smoothed with a standard deviation of 2 pixels rises by 0.2 a pixel; x4 makes an edge of 1.2 pixels.
    return (0.5 + 4 * (gaussian_blur(part, 2.0) - 0.5)).clamp(0, 1)


def _draw_mask(dice: Dice, size: tuple[int, int]) -> Tensor:
    """Coverage (1,H,W) of a random blob, ellipse, bar, polygon or half plane, its edge one to two pixels wide."""
    y, x = _grid(size, dice.device)
    y, x = y - dice.uniform(-0.8, 0.8), x - dice.uniform(-0.8, 0.8)
    angle = dice.uniform(0, 2 * math.pi)
    u, v = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
    inside = _SHAPES[dice.integer(0, len(_SHAPES) - 1)](dice, u, v)
    pixels = inside * (min(size) - 1) / 2
    return (0.5 + pixels / dice.uniform(1.0, 2.0)).clamp(0, 1)[None]


def _ellipse(dice: Dice, u: Tensor, v: Tensor) -> Tensor:
    a, b = dice.uniform(0.2, 0.9), dice.uniform(0.2, 0.9)
    return (1 - ((u / a) ** 2 + (v / b) ** 2).sqrt()) * min(a, b)


def _bars(dice: Dice, u: Tensor, v: Tensor) -> Tensor:
    """One bar or several: stems, posts, fences."""
    width = dice.uniform(0.015, 0.15)
    period = width * dice.uniform(4, 10) if dice.chance(0.4) else 8.0
    bend = dice.uniform(-0.3, 0.3) * v**2
    return width - (torch.remainder(u + bend + period / 2, period) - period / 2).abs()


def _polygon(dice: Dice, u: Tensor, v: Tensor) -> Tensor:
    """Convex, with 3 to 7 sides at random distances."""
    sides = dice.integer(3, 7)
    inside = torch.full_like(u, 9.0)
    for side in range(sides):
        bearing = 2 * math.pi * (side + dice.uniform(-0.3, 0.3)) / sides
        inside = torch.minimum(inside, dice.uniform(0.2, 0.8) - math.cos(bearing) * u - math.sin(bearing) * v)
    return inside


def _half_plane(dice: Dice, u: Tensor, v: Tensor) -> Tensor:
    return u + dice.uniform(-0.3, 0.3) + dice.uniform(-0.4, 0.4) * v**2


def _blob(dice: Dice, u: Tensor, v: Tensor) -> Tensor:
    """Where smooth noise is above a threshold: foliage when it is fine, a body when it is coarse."""
    cells = dice.integer(2, 12)
    relief = dice.relief((u.shape[0], u.shape[1]), cells)[0]
    return (relief - dice.uniform(-0.3, 0.9)) / cells


_SHAPES: tuple[Callable[[Dice, Tensor, Tensor], Tensor], ...] = (_blob, _ellipse, _polygon, _half_plane, _bars)
