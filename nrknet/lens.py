"""What a lens does to light: the kernel of a circle of confusion, and the blur of an image by a map of its radius.

Blur happens in linear light. The radius of every kernel here, whatever its shape, is that of the uniform disc with
the same second moment.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_LEVEL_RATIO = 1.35  # neighbouring radii of the bank: mixing discs 35 % apart still looks like the disc between them
_SMALLEST_DISC = 1.0  # below this radius, in pixels, a kernel is this disc mixed with the delta
NO_BLUR = 0.1  # pixels: a kernel whose share beside the delta is below 1 % is left out


class Aperture(NamedTuple):
    """Shape of a lens opening: softness, rim, blades, aspect and angle as `defocus_kernel` takes them."""

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


def _checked_aperture(softness: float, rim: float, blades: int, aspect: float, angle: float) -> Aperture:
    if not 0 <= softness <= 1:
        raise ValueError(f"softness must be in [0, 1], got {softness}")
    if not -1 <= rim <= 1:
        raise ValueError(f"rim must be in [-1, 1], got {rim}")
    if blades != 0 and blades < 3:
        raise ValueError(f"blades must be 0 (round) or at least 3, got {blades}")
    if not 0 < aspect <= 1:
        raise ValueError(f"aspect must be in (0, 1], got {aspect}")
    return Aperture(softness, rim, blades, aspect, angle)


def _half_size(radius: float, aperture: Aperture) -> int:
    return math.ceil(max(radius, _SMALLEST_DISC) * aperture.reach + 0.5)


def _kernel(radius: float, aperture: Aperture, half: int, device: torch.device) -> Tensor:
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


def _outline(axis: Tensor, radius: float, aperture: Aperture) -> Tensor:
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
    check_images(sharp)
    expected = (sharp.shape[0], 1, *sharp.shape[2:])
    if tuple(radius.shape) != expected:
        raise ValueError(f"radius must have shape {expected}, got {tuple(radius.shape)}")
    if not bool((radius >= 0).all()):
        raise ValueError(f"radius must be >= 0 pixels everywhere, got a minimum of {radius.min().item()}")
    linear = srgb_to_linear(sharp)
    return linear_to_srgb(torch.stack([blur(x, r, aperture) for x, r in zip(linear, radius, strict=True)]))


def check_images(sharp: Tensor) -> None:
    """Raises ValueError unless images are float (B,3,H,W) of at least 2x2 pixels."""
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


def blur(image: Tensor, radius: Tensor, aperture: Aperture) -> Tensor:
    """Blurs (C,H,W) by the map (1,H,W): a bank of FFT convolutions, mixed per pixel linearly in r^2."""
    low, high = torch.stack(torch.aminmax(radius)).tolist()
    if high < NO_BLUR:
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
