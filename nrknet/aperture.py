"""The image of a point that is out of focus: the kernel of a lens opening, and of its circle of confusion's radius.

The radius of every kernel here, whatever its shape, is that of the uniform disc with the same second moment.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST_DISC = 1.0  # below this radius, in pixels, a kernel is this disc mixed with the delta


class Aperture(NamedTuple):
    """Shape of a lens opening, as `defocus_kernel` takes it; `flips`: the rim is bright on one side of focus only."""

    softness: float
    rim: float = 0.0
    blades: int = 0
    aspect: float = 1.0
    angle: float = 0.0
    eye: float = 0.0
    eye_angle: float = 0.0
    flips: bool = False

    def behind(self) -> "Aperture":
        """As it looks beyond the plane in focus: light rays have crossed, so all is turned by 180 degrees.

        Spherical aberration sends outer rays to another focus: a rim bright on one side of it is dark on the other.
        """
        rim = -self.rim if self.flips else self.rim
        return self._replace(rim=rim, angle=self.angle + math.pi, eye_angle=self.eye_angle + math.pi)


def defocus_kernel(
    radius: float,
    *,
    softness: float = 0.2,
    size: int | None = None,
    rim: float = 0.0,
    blades: int = 0,
    aspect: float = 1.0,
    angle: float = 0.0,
    eye: float = 0.0,
    eye_angle: float = 0.0,
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
        eye: cat's eye, 0 (none) to 1.2: the opening is cut by a disc displaced by this share of its radius, as a lens
            barrel cuts it for points away from the middle of a photo.
        eye_angle: direction of that displacement, radians.
        device: where the result lies.

    Returns:
        (size, size), unit sum, >= 0.

    Raises:
        ValueError: an argument is outside its range.
    """
    aperture = checked_aperture(Aperture(softness, rim, blades, aspect, angle, eye, eye_angle))
    if not 0 <= radius < math.inf:
        raise ValueError(f"radius must be >= 0 pixels, got {radius}")
    size = 2 * half_size(radius, aperture) + 1 if size is None else size
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size must be a positive odd number, got {size}")
    return kernel_of(radius, aperture, size // 2, torch.device(device))


def checked_aperture(aperture: Aperture) -> Aperture:
    """The same aperture; raises ValueError where a value is outside its range."""
    for name, low, high in (("softness", 0, 1), ("rim", -1, 1), ("eye", 0, 1.2)):
        value = getattr(aperture, name)
        if not low <= value <= high:
            raise ValueError(f"{name} must be in [{low}, {high}], got {value}")
    if aperture.blades != 0 and aperture.blades < 3:
        raise ValueError(f"blades must be 0 (round) or at least 3, got {aperture.blades}")
    if not 0 < aperture.aspect <= 1:
        raise ValueError(f"aspect must be in (0, 1], got {aperture.aspect}")
    return aperture


def half_size(radius: float, aperture: Aperture) -> int:
    """Half width of the smallest kernel that holds the outline and 3 standard deviations of its Gaussian."""
    reach = _measured(aperture).reach * math.sqrt(1 - aperture.softness**2) + 1.5 * aperture.softness
    return math.ceil(max(radius, SMALLEST_DISC) * reach + 0.5)


def kernel_of(radius: float, aperture: Aperture, half: int, device: torch.device) -> Tensor:
    """`defocus_kernel` of side 2 half + 1, its arguments taken as valid."""
    drawn = max(radius, SMALLEST_DISC)
    axis = torch.arange(-half, half + 1, device=device, dtype=torch.float32)
    apart = (axis[:, None] - axis[None, :]).abs()
    # An antialiased edge adds about 1/12 to the variance r^2/4 of each axis. Twice that is taken off beforehand, and
    # what is then missing, which depends on how the outline meets the pixel grid, is added by the filter (a, 1-2a, a).
    kernel = _drawn(axis, math.sqrt(max(drawn**2 * (1 - aperture.softness**2) - 2 / 3, 0.04)), aperture)
    sigma = aperture.softness * drawn / 2
    if sigma > 0.2:
        gaussian = torch.exp(-0.5 * (apart / sigma) ** 2)
        kernel = gaussian @ kernel @ gaussian
    kernel = kernel / kernel.sum()
    moment = (kernel.sum(0) + kernel.sum(1)) @ axis**2
    a = ((drawn**2 / 2 - moment) / 4).clamp(0, 0.25)
    tridiagonal = (1 - 2 * a) * (apart == 0) + a * (apart == 1)
    kernel = tridiagonal @ kernel @ tridiagonal
    kernel = kernel * (min(radius / SMALLEST_DISC, 1.0) ** 2 / kernel.sum())
    kernel[half, half] += 1 - kernel.sum()
    return kernel


class _Measured(NamedTuple):
    """An outline drawn with unit radius: its centre of mass, the scale that gives it the second moment of the unit
    disc, and how far it then reaches from its centre."""

    x: float
    y: float
    scale: float
    reach: float


@lru_cache(maxsize=16)
def _measured(aperture: Aperture) -> _Measured:
    axis = torch.linspace(-1.02, 1.02, 103, dtype=torch.float64)
    light = _outline(axis[None, :], axis[:, None], aperture, 1 / float(axis[1] - axis[0]))
    light = light / light.sum()
    x, y = float(light.sum(0) @ axis), float(light.sum(1) @ axis)
    square = (axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2
    scale = math.sqrt(0.5 / float((light * square).sum()))
    return _Measured(x, y, scale, scale * math.sqrt(float(square[light > 0].max())))


def _drawn(axis: Tensor, radius: float, aperture: Aperture) -> Tensor:
    """The aperture's image before softening: centred, its second moment that of a disc of this radius."""
    found = _measured(aperture)
    unit = radius * found.scale
    return _outline(axis[None, :] / unit + found.x, axis[:, None] / unit + found.y, aperture, unit)


def _outline(x: Tensor, y: Tensor, aperture: Aperture, pixels: float) -> Tensor:
    """Light that passes at (x, y), in units of the opening's radius of so many pixels; edges are antialiased."""
    cos, sin = math.cos(aperture.angle), math.sin(aperture.angle)
    u, v = cos * x + sin * y, (cos * y - sin * x) / aperture.aspect
    distance = (u**2 + v**2).sqrt()
    light = 1 + aperture.rim * (2 * distance.clamp(max=1) ** 2 - 1)
    if aperture.blades:
        sector = 2 * math.pi / aperture.blades
        bearing = torch.remainder(torch.atan2(v, u), sector) - sector / 2
        distance = distance * torch.cos(bearing) / math.cos(sector / 2)
    inside = (1 - distance) * math.sqrt(aperture.aspect)
    if aperture.eye:
        x = x - aperture.eye * math.cos(aperture.eye_angle)
        y = y - aperture.eye * math.sin(aperture.eye_angle)
        inside = torch.minimum(inside, 1 - (x**2 + y**2).sqrt())
    return light * (0.5 + inside * pixels).clamp(0, 1)
