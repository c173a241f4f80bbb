"""What a lens does to light: the blur of an image by a map of defocus, and the fringes that colours leave.

Defocus is a signed radius of the circle of confusion: positive nearer than the plane in focus, negative beyond it.
Blur happens in linear light.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from nrknet.aperture import SMALLEST_DISC, Aperture, checked_aperture, half_size, kernel_of

_LEVEL_RATIO = 1.35  # neighbouring radii of the bank: mixing discs 35 % apart still looks like the disc between them
NO_BLUR = 0.1  # pixels: a kernel whose share beside the delta is below 1 % is left out

Span = tuple[float, float]
"""Smallest and largest value of a map of defocus, in pixels."""


def render_defocus(
    sharp: Tensor,
    radius: Tensor,
    *,
    softness: float = 0.2,
    rim: float = 0.0,
    blades: int = 0,
    aspect: float = 1.0,
    angle: float = 0.0,
    eye: float = 0.0,
    eye_angle: float = 0.0,
) -> Tensor:
    """Blurs images in linear light by a smooth map of the circle of confusion, without noise or rounding.

    Each pixel mixes the two nearest kernels of a bank, linearly in r^2, so its second moment is exact.

    Args:
        sharp: (B,3,H,W) in [0,1], sRGB-encoded.
        radius: (B,1,H,W) pixels, >= 0.
        softness, rim, blades, aspect, angle, eye, eye_angle: see `defocus_kernel`.

    Returns:
        (B,3,H,W) in [0,1], sRGB-encoded.

    Raises:
        ValueError: shapes or ranges are wrong.
    """
    aperture = checked_aperture(Aperture(softness, rim, blades, aspect, angle, eye, eye_angle))
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


# ---------------------------------------------------------------------------------------------------------------- blur


def blur(image: Tensor, defocus: Tensor, aperture: Aperture, span: Span | None = None) -> Tensor:
    """Blurs an image by a map of defocus: a bank of FFT convolutions, mixed per pixel linearly in r^2.

    Args:
        image: (...,C,H,W), reflected at its borders.
        defocus: (1,H,W), or (C,H,W) where channels differ; signed pixels.
        aperture: the kernels' shape.
        span: of `defocus`, where it is known: looking it up waits for the device.
    """
    low, high = torch.stack(torch.aminmax(defocus)).tolist() if span is None else span
    if max(-low, high) < NO_BLUR:
        return image
    levels = _levels(low, high)
    shapes = [aperture.behind() if level < 0 else aperture for level in levels]
    widths = [half_size(abs(level), shape) for level, shape in zip(levels, shapes, strict=True)]
    convolve = convolver(image, max(widths))
    kernels = [kernel_of(abs(r), shape, n, image.device) for r, shape, n in zip(levels, shapes, widths, strict=True)]
    if len(levels) == 1:
        return convolve(kernels[0])
    squares = [level * abs(level) for level in levels]
    position = defocus.clamp(levels[0], levels[-1])
    position = position * position.abs()
    below = convolve(kernels[0]) if levels[0] else image
    out = below.clone()
    for i, kernel in enumerate(kernels[1:]):
        above = convolve(kernel) if levels[i + 1] else image
        share = ((position - squares[i]) / (squares[i + 1] - squares[i])).clamp_(0, 1)
        out.addcmul_(above - below, share)
        below = above
    return out


def _levels(low: float, high: float) -> list[float]:
    """Signed radii of the bank that covers [low, high], rising: on each side of focus its own, 0 between them."""
    if high - low < 0.02 * max(-low, high):
        return [(low + high) / 2]
    if low >= 0:
        return _one_side(low, high)
    if high <= 0:
        return [-level for level in reversed(_one_side(-high, -low))]
    beyond = [-level for level in reversed(_one_side(0.0, -low))] if low < -NO_BLUR else [0.0]
    return beyond + (_one_side(0.0, high)[1:] if high > NO_BLUR else [])


def _one_side(low: float, high: float) -> list[float]:
    """Radii log-uniform from one pixel up, and 0 where the map goes below that."""
    start, stop = max(low, SMALLEST_DISC), max(high, SMALLEST_DISC)
    steps = math.ceil(math.log(stop / start) / math.log(_LEVEL_RATIO))
    levels = [start * (stop / start) ** (i / max(steps, 1)) for i in range(steps + 1)]
    return [0.0, *levels] if low < SMALLEST_DISC else levels


def convolver(image: Tensor, pad: int) -> Callable[[Tensor], Tensor]:
    """A function that convolves (...,H,W), reflected at its borders, with a kernel of half width up to `pad`."""
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


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Blurs (C,H,W) by a Gaussian of a standard deviation of some pixels, borders reflected.

    Above 4 pixels at a reduced size, where it costs little; the result is smooth in any case.
    """
    reduced = max(1, min(int(sigma / 2), min(image.shape[-2:]) // 4))
    small = F.avg_pool2d(image[None], reduced, ceil_mode=True, count_include_pad=False)[0] if reduced > 1 else image
    for axis in (-2, -1):
        small = _gaussian_along(small, sigma / reduced, axis)
    if reduced == 1:
        return small
    return F.interpolate(small[None], image.shape[-2:], mode="bilinear", align_corners=False)[0]


def _gaussian_along(image: Tensor, sigma: float, axis: int) -> Tensor:
    length, half = image.shape[axis], math.ceil(3 * sigma)
    taps = [math.exp(-0.5 * (t / sigma) ** 2) for t in range(-half, half + 1)]
    wide = image.index_select(axis, _reflected(length, half, length + 2 * half, image.device))
    out = torch.zeros_like(image)
    for start, tap in enumerate(taps):
        out.add_(wide.narrow(axis, start, length), alpha=tap / sum(taps))
    return out


# -------------------------------------------------------------------------------------------------------------- colour


def displace_colours(image: Tensor, red: float, blue: float, centre: tuple[float, float]) -> Tensor:
    """Lateral chromatic aberration: red and blue magnified about the lens's axis, green left as it is.

    Args:
        image: (3,H,W).
        red, blue: growth in length, as a share.
        centre: (y, x) of the axis, pixels from the middle of the image.
    """
    height, width = image.shape[-2:]
    y = torch.arange(height, device=image.device) - (height - 1) / 2
    x = torch.arange(width, device=image.device) - (width - 1) / 2
    growth = torch.tensor([red, blue], device=image.device)[:, None]
    # A point magnified to p was at p - growth (p - centre), to first order; grid_sample counts halves of the image.
    rows = (y - growth * (y - centre[0])) * (2 / max(height - 1, 1))
    columns = (x - growth * (x - centre[1])) * (2 / max(width - 1, 1))
    grid = torch.stack([columns[:, None, :].expand(2, height, width), rows[:, :, None].expand(2, height, width)], -1)
    moved = F.grid_sample(image[::2, None], grid, mode="bicubic", padding_mode="reflection", align_corners=True)
    return torch.stack([moved[0, 0], image[1], moved[1, 0]])
