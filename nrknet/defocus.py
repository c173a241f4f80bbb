"""The thin-lens renderer: defocused images, with their true blur radius, made from sharp ones.

A scene is a list of layers from back to front. Each has a colour, a coverage (alpha) and an inverse depth; a lens
focused at inverse depth f images a point at inverse depth d as a circle of confusion of radius

    r = scale * |d - f|                                                                   (thin lens, pixels)

and the layers are blurred in linear light and composed back to front, the blurred coverage of each hiding what lies
behind it, so that a blurred foreground bleeds over a sharp background and a sharp foreground keeps a crisp edge.

The radius of every kernel here, whatever its shape, is that of the uniform disc with the same second moment.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_LEVEL_RATIO = 1.35  # neighbouring radii of the bank: mixing discs 35 % apart still looks like the disc between them
_SMALLEST_DISC = 1.0  # below this radius, in pixels, a kernel is this disc mixed with the delta
_NO_BLUR = 0.1  # pixels: a kernel whose share beside the delta is below 1 % is left out

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
        clean_chance, read_noise, shot_noise: chance of no noise; otherwise its variance at an encoded value x is
            read^2 + shot^2 x.

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
    softness: Range = (0.05, 0.6)
    rim: Range = (-0.3, 0.4)
    aspect: Range = (0.75, 1.0)
    polygon_chance: float = 0.3
    highlight_chance: float = 0.35
    highlight_threshold: Range = (0.65, 0.95)
    highlight_gain: Range = (1.5, 8.0)
    dark_chance: float = 0.3
    dark_stops: Range = (0.5, 3.0)
    gamma: Range = (0.85, 1.2)
    clean_chance: float = 0.25
    read_noise: Range = (0.0, 0.006)
    shot_noise: Range = (0.0, 0.010)

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
    "clean_chance",
)  # fmt: skip
_BOUNDS: dict[str, Range] = {
    "softness": (0, 1), "rim": (-1, 1), "aspect": (0.3, 1), "highlight_threshold": (0, 1), "highlight_gain": (1, 100),
    "dark_stops": (0, 8), "gamma": (0.3, 3), "read_noise": (0, 1), "shot_noise": (0, 1),
}  # fmt: skip


@dataclass(frozen=True)
class Defocused:
    """Rendered scenes.

    Attributes:
        blurred: (B,3,H,W) in [0,1], sRGB-encoded, noisy, at 8-bit levels.
        sharp: (B,3,H,W) in [0,1], the all-in-focus truth under the same exposure, without noise.
        radius: (B,1,H,W) circle of confusion, in pixels, of the surface visible at each pixel.
    """

    blurred: Tensor
    sharp: Tensor
    radius: Tensor


class _Aperture(NamedTuple):
    softness: float
    rim: float = 0.0
    blades: int = 0
    aspect: float = 1.0
    angle: float = 0.0

    @property
    def reach(self) -> float:
        """Half width of the kernel of radius 1: widest outline, and 3 standard deviations of its Gaussian."""
        outline = math.sqrt(2 / (1 + self.aspect**2)) * (1.15 if self.blades else 1.0) / math.sqrt(1 + self.rim / 3)
        return outline * math.sqrt(1 - self.softness**2) + 1.5 * self.softness


class _Layer(NamedTuple):
    colour: Tensor  # (3,H,W) linear light
    alpha: Tensor  # (1,H,W) coverage
    radius: Tensor  # (1,H,W) pixels


# ---------------------------------------------------------------------------------------------------- kernel and blur


def defocus_kernel(
    radius: float,
    *,
    softness: float = 0.2,
    size: int | None = None,
    rim: float = 0.0,
    blades: int = 0,
    aspect: float = 1.0,
    angle: float = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The image of a point of light: a disc-like kernel whose second moment is that of a disc of this radius.

    It is an outline of radius r sqrt(1 - softness^2), antialiased, convolved with a Gaussian of standard deviation
    softness r/2, so E|p|^2 = r^2/2 at every softness. Below one pixel it is (1 - r^2) delta + r^2 kernel(1).

    Args:
        radius: pixels, >= 0.
        softness: 0 (hard disc) to 1 (Gaussian of equal standard deviation).
        size: odd side of the result; by default all of the kernel fits.
        rim: -1 (bright centre) to 1 (bright edge).
        blades: 0 (round), or the number of sides of a regular polygon, >= 3.
        aspect: short over long axis, in (0, 1].
        angle: rotation, radians.
        device: where the result lies.

    Returns:
        (size, size), unit sum, >= 0.

    Raises:
        ValueError: an argument is outside its range.
    """
    aperture = _checked_aperture(softness, rim, blades, aspect, angle)
    if not 0 <= radius < math.inf:
        raise ValueError(f"radius must be >= 0 pixels, got {radius}")
    size = 2 * _half_size(radius, aperture) + 1 if size is None else size
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size must be a positive odd number, got {size}")
    return _kernel(radius, aperture, size // 2, torch.device(device))


def _checked_aperture(softness: float, rim: float, blades: int, aspect: float, angle: float) -> _Aperture:
    if not 0 <= softness <= 1:
        raise ValueError(f"softness must be in [0, 1], got {softness}")
    if not -1 <= rim <= 1:
        raise ValueError(f"rim must be in [-1, 1], got {rim}")
    if blades != 0 and blades < 3:
        raise ValueError(f"blades must be 0 (round) or at least 3, got {blades}")
    if not 0 < aspect <= 1:
        raise ValueError(f"aspect must be in (0, 1], got {aspect}")
    return _Aperture(softness, rim, blades, aspect, angle)


def _half_size(radius: float, aperture: _Aperture) -> int:
    return math.ceil(max(radius, _SMALLEST_DISC) * aperture.reach + 0.5)


def _kernel(radius: float, aperture: _Aperture, half: int, device: torch.device) -> Tensor:
    drawn = max(radius, _SMALLEST_DISC)
    axis = torch.arange(-half, half + 1, device=device, dtype=torch.float32)
    apart = (axis[:, None] - axis[None, :]).abs()
    # An antialiased edge adds about 1/12 to the variance r^2/4 of each axis. Twice that is taken off beforehand, and
    # what is then missing, which depends on how the outline meets the pixel grid, is added by the filter (a, 1-2a, a).
    kernel = _outline(axis, math.sqrt(max(drawn**2 * (1 - aperture.softness**2) - 2 / 3, 0.04)), aperture)
    sigma = aperture.softness * drawn / 2
    if sigma > 0.2:
        gaussian = torch.exp(-0.5 * (apart / sigma) ** 2)
        kernel = gaussian @ kernel @ gaussian
    kernel = kernel / kernel.sum()
    moment = (kernel.sum(0) + kernel.sum(1)) @ axis**2
    a = ((drawn**2 / 2 - moment) / 4).clamp(0, 0.25)
    tridiagonal = (1 - 2 * a) * (apart == 0) + a * (apart == 1)
    kernel = tridiagonal @ kernel @ tridiagonal
    kernel = kernel * (min(radius / _SMALLEST_DISC, 1.0) ** 2 / kernel.sum())
    kernel[half, half] += 1 - kernel.sum()
    return kernel


def _outline(axis: Tensor, radius: float, aperture: _Aperture) -> Tensor:
    """The aperture's image before softening, scaled so that its second moment is that of a disc of this radius."""
    y, x = axis[:, None], axis[None, :]
    cos, sin = math.cos(aperture.angle), math.sin(aperture.angle)
    radius = radius / math.sqrt(1 + aperture.rim / 3)
    long_axis = math.sqrt(2 / (1 + aperture.aspect**2))
    u = (cos * x + sin * y) / long_axis
    v = (cos * y - sin * x) / (long_axis * aperture.aspect)
    distance = (u**2 + v**2).sqrt()
    if aperture.blades:
        sector = 2 * math.pi / aperture.blades
        radius = radius * math.sqrt(3 / (2 + math.cos(sector))) * math.cos(sector / 2)  # inradius of equal moment
        bearing = torch.remainder(torch.atan2(v, u), sector) - sector / 2
        distance = distance * torch.cos(bearing)
    edge = (0.5 + (radius - distance) * long_axis * math.sqrt(aperture.aspect)).clamp(0, 1)
    return edge * (1 + aperture.rim * (2 * (distance / radius).clamp(max=1) ** 2 - 1))


def render_defocus(
    sharp: Tensor,
    radius: Tensor,
    *,
    softness: float = 0.2,
    rim: float = 0.0,
    blades: int = 0,
    aspect: float = 1.0,
    angle: float = 0.0,
) -> Tensor:
    """Blurs images in linear light by a smooth map of the circle of confusion, without noise or rounding.

    Each pixel mixes the two nearest kernels of a bank, linearly in r^2, so its second moment is exact.

    Args:
        sharp: (B,3,H,W) in [0,1], sRGB-encoded.
        radius: (B,1,H,W) pixels, >= 0.
        softness, rim, blades, aspect, angle: see `defocus_kernel`.

    Returns:
        (B,3,H,W) in [0,1], sRGB-encoded.

    Raises:
        ValueError: shapes or ranges are wrong.
    """
    aperture = _checked_aperture(softness, rim, blades, aspect, angle)
    _check_images(sharp)
    expected = (sharp.shape[0], 1, *sharp.shape[2:])
    if tuple(radius.shape) != expected:
        raise ValueError(f"radius must have shape {expected}, got {tuple(radius.shape)}")
    if not bool((radius >= 0).all()):
        raise ValueError(f"radius must be >= 0 pixels everywhere, got a minimum of {radius.min().item()}")
    linear = srgb_to_linear(sharp)
    return linear_to_srgb(torch.stack([_blur(x, r, aperture) for x, r in zip(linear, radius, strict=True)]))


def _check_images(sharp: Tensor) -> None:
    if sharp.ndim != 4 or sharp.shape[1] != 3 or min(sharp.shape[2:]) < 2 or not sharp.is_floating_point():
        raise ValueError(f"images must be float of shape (B,3,H,W), got {sharp.dtype} of shape {tuple(sharp.shape)}")


def srgb_to_linear(encoded: Tensor) -> Tensor:
    """Linear light of sRGB-encoded values in [0,1] (IEC 61966-2-1)."""
    return torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """sRGB encoding of linear light, clipped to [0,1] (IEC 61966-2-1)."""
    linear = linear.clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-6) ** (1 / 2.4) - 0.055)


def _levels(low: float, high: float) -> list[float]:
    """Radii of the bank that covers [low, high]: log-uniform from one pixel up, and 0 where the map goes below it."""
    if high - low < 0.02 * high:
        return [(low + high) / 2]
    start, stop = max(low, _SMALLEST_DISC), max(high, _SMALLEST_DISC)
    steps = math.ceil(math.log(stop / start) / math.log(_LEVEL_RATIO))
    levels = [start * (stop / start) ** (i / max(steps, 1)) for i in range(steps + 1)]
    return [0.0, *levels] if low < _SMALLEST_DISC else levels


def _blur(image: Tensor, radius: Tensor, aperture: _Aperture) -> Tensor:
    """Blurs (C,H,W) by the map (1,H,W): a bank of FFT convolutions, mixed per pixel linearly in r^2."""
    low, high = torch.stack(torch.aminmax(radius)).tolist()
    if high < _NO_BLUR:
        return image
    levels = _levels(low, high)
    convolve = _convolver(image, _half_size(levels[-1], aperture))
    if len(levels) == 1:
        return convolve(_kernel(levels[0], aperture, _half_size(levels[0], aperture), image.device))
    squares = [level**2 for level in levels]
    position = radius.clamp(levels[0], levels[-1]) ** 2
    out = torch.zeros_like(image)
    for i, level in enumerate(levels):
        weight = torch.ones_like(position)
        if i > 0:
            weight = torch.minimum(weight, (position - squares[i - 1]) / (squares[i] - squares[i - 1]))
        if i + 1 < len(levels):
            weight = torch.minimum(weight, (squares[i + 1] - position) / (squares[i + 1] - squares[i]))
        weight = weight.clamp(min=0)
        blurred = convolve(_kernel(level, aperture, _half_size(level, aperture), image.device)) if level else image
        out.addcmul_(blurred, weight)
    return out


def _convolver(image: Tensor, pad: int) -> Callable[[Tensor], Tensor]:
    """A function that convolves (C,H,W), reflected at its borders, with a kernel of half width up to `pad`."""
    height, width = image.shape[-2:]
    rows, columns = (_reflected(n, pad, _fast_size(n + 2 * pad), image.device) for n in (height, width))
    spectrum = torch.fft.rfft2(image.index_select(-2, rows).index_select(-1, columns))
    shape = (len(rows), len(columns))

    def convolve(kernel: Tensor) -> Tensor:
        half = kernel.shape[-1] // 2
        transfer = torch.fft.fft(torch.fft.rfft(kernel, n=shape[1]), n=shape[0], dim=-2)
        # The kernel's corner, not its centre, lies at the origin, so the result is displaced by its half width.
        blurred = torch.fft.irfft2(spectrum * transfer, s=shape)
        start = pad + half
        return blurred[..., start : start + height, start : start + width]

    return convolve


def _reflected(length: int, pad: int, total: int, device: torch.device) -> Tensor:
    """Indices of `total` samples that start `pad` before a signal reflected, as often as needed, at both ends."""
    period = 2 * (length - 1)
    index = torch.remainder(torch.arange(-pad, total - pad, device=device), period)
    return torch.minimum(index, period - index)


def _fast_size(least: int) -> int:
    """The smallest even number of at least this size with no prime factor above 5, which FFTs are fast for."""
    size = least + least % 2
    while 30**12 % size:  # 30^12 = 2^12 3^12 5^12: even sizes of such factors divide it
        size += 2
    return size


# ------------------------------------------------------------------------------------------------------------- scenes


class _Dice:
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
    _check_images(sharp)
    dice = _Dice(generator, sharp.device)
    sharp = sharp.float()
    scenes = [_render_one(sharp, index, config, dice) for index in range(len(sharp))]
    blurred, truth, radius = (torch.stack(part) for part in zip(*scenes, strict=True))
    return Defocused(blurred, truth, radius)


def _render_one(batch: Tensor, index: int, config: DefocusConfig, dice: _Dice) -> tuple[Tensor, Tensor, Tensor]:
    aperture = _draw_aperture(config, dice)
    depths, alphas, focus = _draw_geometry(config, dice, batch[index])
    radii = _radii(depths, alphas, focus, _draw_largest_radius(config, dice))
    expose = _draw_exposure(config, dice)
    base = expose(batch[index])
    layers = [_Layer(_without_foreground(base, alphas[1:], radii), alphas[0], radii[0])]
    for alpha, radius in zip(alphas[1:], radii[1:], strict=True):
        colour = expose(_other_content(batch, index, dice)) if dice.chance(config.other_content) else base
        layers.append(_Layer(colour, alpha, radius))
    blurred, truth, radius = _compose(layers, aperture)
    return _sensor(linear_to_srgb(blurred), config, dice), linear_to_srgb(truth), radius


def _compose(layers: list[_Layer], aperture: _Aperture) -> tuple[Tensor, Tensor, Tensor]:
    """Layers from back to front as seen by the lens, by a pinhole, and the radius of the visible surface.

    out <- k * (alpha colour) + (1 - k * alpha) out, with k the kernel of the layer added (a delta for the pinhole)
    """
    truth, radius = layers[0].colour, layers[0].radius
    out = _blur(truth, radius, aperture)
    for layer in layers[1:]:
        premultiplied = torch.cat([layer.alpha * layer.colour, layer.alpha])
        truth = premultiplied[:3] + (1 - layer.alpha) * truth
        radius = torch.where(layer.alpha >= 0.5, layer.radius, radius)
        seen = _blur(premultiplied, layer.radius, aperture)
        out = seen[:3] + (1 - seen[3:].clamp(0, 1)) * out
    return out, truth, radius


def _draw_aperture(config: DefocusConfig, dice: _Dice) -> _Aperture:
    blades = dice.integer(5, 8) if dice.chance(config.polygon_chance) else 0
    angle = dice.uniform(0, math.pi)
    return _Aperture(dice.uniform(*config.softness), dice.uniform(*config.rim), blades,
                     dice.uniform(*config.aspect), angle)  # fmt: skip


def _draw_largest_radius(config: DefocusConfig, dice: _Dice) -> float:
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
    if not fronts or reach < _NO_BLUR:
        return colour
    free = torch.stack([1 - alpha for alpha in fronts]).prod(0)
    around = _blur(torch.cat([free * colour, free]), torch.full_like(free, reach), _Aperture(1.0))
    weight = around[3:].clamp(min=0)
    fill = (around[:3].clamp(min=0) + 1e-3 * colour) / (weight + 1e-3)
    return free * colour + (1 - free) * fill


# Inverse depths and coverages of the layers from back to front, and the inverse depth in focus.
_Geometry = tuple[list[Tensor], list[Tensor], float]


def _draw_geometry(config: DefocusConfig, dice: _Dice, image: Tensor) -> _Geometry:
    size = (image.shape[-2], image.shape[-1])
    kind = dice.choose(config.kind_weights)
    if kind == 3:
        return _draw_layers(config, dice, image)
    everywhere = torch.ones(1, *size, device=dice.device)
    if kind == 0:
        return [everywhere], [everywhere], 0.0
    depth, focus = (_draw_tilted if kind == 1 else _draw_relief)(dice, size)
    return [depth], [everywhere], focus


def _grid(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Coordinates (H,1) and (1,W), 0 at the centre, the shorter side from -1 to 1."""
    unit = (min(size) - 1) / 2
    y, x = ((torch.arange(n, device=device) - (n - 1) / 2) / unit for n in size)
    return y[:, None], x[None, :]


def _ramp(dice: _Dice, size: tuple[int, int], upright: bool = False) -> Tensor:
    """An affine map (1,H,W): the inverse depth of any plane is affine in image coordinates."""
    angle = math.pi / 2 + 0.4 * dice.normal() if upright else dice.uniform(0, 2 * math.pi)
    y, x = _grid(size, dice.device)
    return (math.cos(angle) * x + math.sin(angle) * y)[None]


def _draw_tilted(dice: _Dice, size: tuple[int, int]) -> tuple[Tensor, float]:
    """A tilted plane, often a floor that ends at a wall, focused anywhere from beyond it to before it."""
    depth = _ramp(dice, size, upright=dice.chance(0.5))
    focus = dice.uniform(-1.1, 1.1)
    if dice.chance(0.6):
        wall = dice.uniform(-0.7, 0.5)
        depth = depth.clamp(min=wall)
        focus = wall if dice.chance(0.6) else focus
    return depth, focus


def _draw_relief(dice: _Dice, size: tuple[int, int]) -> tuple[Tensor, float]:
    """Smooth random relief that rises from a flat ground; the ground is often in focus."""
    depth = dice.relief(size, dice.integer(1, 5)) + dice.uniform(0, 1) * _ramp(dice, size)
    ground = dice.uniform(-1.2, 0.4)
    depth = depth.clamp(min=ground)
    return depth, ground if dice.chance(0.7) else dice.uniform(-1.5, 1.5)


def _draw_layers(config: DefocusConfig, dice: _Dice, image: Tensor) -> _Geometry:
    """A background and 1 to max_layers - 1 hard-edged layers before it, the front one often in focus."""
    size = (image.shape[-2], image.shape[-1])
    count = 2 if dice.chance(0.5) else dice.integer(2, config.max_layers)
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
            alphas.append(_content_mask(dice, image) if dice.chance(config.content_outline) else _draw_mask(dice, size))
    return depths, alphas, focus


def _content_mask(dice: _Dice, image: Tensor) -> Tensor:
    """Coverage (1,H,W) of the brighter part of a random mix of the channels: edges of depth lie on edges of things."""
    mix = torch.tensor([dice.normal() for _ in range(3)], device=image.device)
    smooth = _Aperture(1.0)
    span = torch.full_like(image[:1], dice.uniform(3, 8))
    level = _blur((image * mix[:, None, None]).sum(0, keepdim=True), span, smooth)
    order = level.flatten().sort().values
    part = (level > order[int(dice.uniform(0.3, 0.8) * (len(order) - 1))]).float()
    # A step smoothed with a standard deviation of 2 pixels rises by 0.2 a pixel; x4 makes an edge of 1.2 pixels.
    return (0.5 + 4 * (_blur(part, torch.full_like(span, 4.0), smooth) - 0.5)).clamp(0, 1)


def _draw_mask(dice: _Dice, size: tuple[int, int]) -> Tensor:
    """Coverage (1,H,W) of a random blob, ellipse, bar, polygon or half plane, its edge one to two pixels wide."""
    y, x = _grid(size, dice.device)
    y, x = y - dice.uniform(-0.8, 0.8), x - dice.uniform(-0.8, 0.8)
    angle = dice.uniform(0, 2 * math.pi)
    u, v = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
    inside = _SHAPES[dice.integer(0, len(_SHAPES) - 1)](dice, u, v)
    pixels = inside * (min(size) - 1) / 2
    return (0.5 + pixels / dice.uniform(1.0, 2.0)).clamp(0, 1)[None]


def _ellipse(dice: _Dice, u: Tensor, v: Tensor) -> Tensor:
    a, b = dice.uniform(0.2, 0.9), dice.uniform(0.2, 0.9)
    return (1 - ((u / a) ** 2 + (v / b) ** 2).sqrt()) * min(a, b)


def _bars(dice: _Dice, u: Tensor, v: Tensor) -> Tensor:
    """One bar or several: stems, posts, fences."""
    width = dice.uniform(0.015, 0.15)
    period = width * dice.uniform(4, 10) if dice.chance(0.4) else 8.0
    bend = dice.uniform(-0.3, 0.3) * v**2
    return width - (torch.remainder(u + bend + period / 2, period) - period / 2).abs()


def _polygon(dice: _Dice, u: Tensor, v: Tensor) -> Tensor:
    """Convex, with 3 to 7 sides at random distances."""
    sides = dice.integer(3, 7)
    inside = torch.full_like(u, 9.0)
    for side in range(sides):
        bearing = 2 * math.pi * (side + dice.uniform(-0.3, 0.3)) / sides
        inside = torch.minimum(inside, dice.uniform(0.2, 0.8) - math.cos(bearing) * u - math.sin(bearing) * v)
    return inside


def _half_plane(dice: _Dice, u: Tensor, v: Tensor) -> Tensor:
    return u + dice.uniform(-0.3, 0.3) + dice.uniform(-0.4, 0.4) * v**2


def _blob(dice: _Dice, u: Tensor, v: Tensor) -> Tensor:
    """Where smooth noise is above a threshold: foliage when it is fine, a body when it is coarse."""
    cells = dice.integer(2, 12)
    relief = dice.relief((u.shape[0], u.shape[1]), cells)[0]
    return (relief - dice.uniform(-0.3, 0.9)) / cells


_SHAPES: tuple[Callable[[_Dice, Tensor, Tensor], Tensor], ...] = (_blob, _ellipse, _polygon, _half_plane, _bars)


def _other_content(batch: Tensor, index: int, dice: _Dice) -> Tensor:
    """Another image of the batch; of a batch of one, the same image mirrored."""
    if len(batch) == 1:
        return batch[0].flip(-1)
    return batch[(index + dice.integer(1, len(batch) - 1)) % len(batch)]


# --------------------------------------------------------------------------------------------------------- photometry


def _draw_exposure(config: DefocusConfig, dice: _Dice) -> Callable[[Tensor], Tensor]:
    """A function from encoded images to the linear light of one scene: tone, bright lights, exposure."""
    gamma = dice.uniform(*config.gamma)
    threshold = dice.uniform(*config.highlight_threshold)
    gain = dice.uniform(*config.highlight_gain) if dice.chance(config.highlight_chance) else 1.0
    exposure = 2 ** -dice.uniform(*config.dark_stops) if dice.chance(config.dark_chance) else 1.0

    def expose(encoded: Tensor) -> Tensor:
        linear = srgb_to_linear(encoded.clamp(0, 1) ** gamma)
        if gain > 1:
            excess = (linear.amax(-3, keepdim=True) - threshold).clamp(min=0) / max(1 - threshold, 1e-3)
            linear = linear * (1 + (gain - 1) * excess**2)  # squared: lamps and glints, not every white wall
        return linear * exposure

    return expose


def _sensor(encoded: Tensor, config: DefocusConfig, dice: _Dice) -> Tensor:
    """Adds noise of variance read^2 + shot^2 x, clips, and rounds to 8 bits."""
    read, shot = dice.uniform(*config.read_noise), dice.uniform(*config.shot_noise)
    if not dice.chance(config.clean_chance):
        encoded = encoded + dice.noise(encoded) * (read**2 + shot**2 * encoded).sqrt()
    return (encoded.clamp(0, 1) * 255).round() / 255
