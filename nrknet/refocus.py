"""Focus moved after the shot: a photo restored everywhere is put out of focus again, with another plane in focus."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nrknet.aperture import Aperture, half_size, kernel_of
from nrknet.arrays import Floats, Pixels
from nrknet.lens import NO_BLUR, convolver, gaussian_blur, linear_to_srgb, srgb_to_linear

TILE = 512
"""Pixels a side that are rendered at once: layers that a tile does not have cost nothing there."""
LARGEST_RADIUS = 40.0
"""Pixels; a blur that is wider is rendered so wide."""
MOST_APERTURE = 4.0
_LENS = Aperture(softness=0.2)
_TRACE = 1e-3
_WIDE = 3.0
"""Pixels of blur from which, times n, nothing is lost at 1/n of the size."""
_STEP, _RATIO = 0.75, 0.3
"""Layers lie this far apart, in pixels of blur, where that is small, or this share of it where it is large."""


def refocus(restored: Pixels, defocus_map: Floats, row: int, column: int, *, aperture: float = 1.0) -> Pixels:
    """Render a photo anew with the plane in focus moved to what lies at a pixel.

    A thin lens blurs a point by a radius that grows linearly with the difference of its inverse distance to that in
    focus. The map has that radius r without its sign, so everything is taken to lie on one side of the plane that was
    in focus. Then the lens focused on pixel p blurs a point by

        r'(q) = aperture |r(q) - r(p)|

    Points are spread over discs of r' in linear light, in layers from back to front (larger r lies farther back), each
    of which hides what is behind it; what no layer shows behind an edge is filled from its surroundings.

    Args:
        restored: (H,W,3) uint8 or uint16 sRGB, in focus throughout.
        defocus_map: (H,W) r in pixels, >= 0, as `Analysis.defocus_map`.
        row, column: of p.
        aperture: of the lens in units of the photo's, 0 (everything stays in focus) to 4.

    Returns:
        Same shape and dtype.

    Raises:
        ValueError: the map has another size, a pixel outside the photo, or an aperture out of range.
    """
    height, width = restored.shape[:2]
    if defocus_map.shape != (height, width):
        raise ValueError(f"the defocus map must be {height}x{width} as the photo is, got {defocus_map.shape}")
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(f"the pixel must lie in the photo of {height}x{width}, got row {row}, column {column}")
    if not 0 <= aperture <= MOST_APERTURE:
        raise ValueError(f"aperture must be from 0 to {MOST_APERTURE:g} times that of the photo, got {aperture!r}")
    defocus = moved_defocus(defocus_map, row, column, aperture=aperture)
    reach = half_size(float(np.abs(defocus).max(initial=0)), _LENS)
    out = np.empty_like(restored)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            inner = slice(top, min(top + TILE, height)), slice(left, min(left + TILE, width))
            outer = tuple(slice(max(s.start - reach, 0), min(s.stop + reach, n))
                          for s, n in zip(inner, (height, width), strict=True))  # fmt: skip
            seen = _render(restored[outer], defocus[outer])
            cut = tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
            out[inner] = seen[cut]
    return out


def moved_defocus(defocus_map: Floats, row: int, column: int, *, aperture: float = 1.0) -> Floats:
    """(H,W) signed radius s = aperture (r - r(p)) in pixels, clipped: above 0 behind the new plane in focus.

    r(p) is the median of the 5x5 pixels around p.

    Args:
        defocus_map, row, column, aperture: as for `refocus`.
    """
    around = defocus_map[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
    moved = np.float32(aperture) * (defocus_map - np.float32(np.median(around)))
    return np.clip(moved, -LARGEST_RADIUS, LARGEST_RADIUS).astype(np.float32)


@torch.inference_mode()
def _render(image: Pixels, defocus: Floats) -> Pixels:
    """Layers of equal blur, composed from back to front; (h,w,3) and (h,w) -> (h,w,3)."""
    if float(np.abs(defocus).max()) < NO_BLUR:
        return image
    largest = float(np.iinfo(image.dtype).max)
    light = srgb_to_linear(torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1) / largest)
    levels = _levels(float(defocus.min()), float(defocus.max()))
    colour, cover = torch.zeros_like(light), torch.zeros_like(light[:1])
    position = torch.from_numpy(defocus)[None]
    for i in reversed(range(len(levels))):  # the farthest first
        share = _share(position, levels, i)
        if not bool(share.any()):
            continue
        if levels[i] < 0:  # its edges become translucent
            colour, cover = _filled(colour, cover, -levels[i])
        front = _spread(torch.cat([share * light, share]), levels[i])
        visible = 1 - front[3:].clamp(0, 1)
        colour, cover = front[:3] + visible * colour, front[3:] + visible * cover
    encoded = linear_to_srgb(colour / cover.clamp(min=1e-4))
    rendered = np.empty_like(image)
    rendered[:] = (encoded.permute(1, 2, 0) * largest).round().numpy()
    return rendered


def _filled(colour: Tensor, cover: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Light and coverage of what lies behind a layer, continued from its surroundings where the layer hid it."""
    around = gaussian_blur(torch.cat([colour, cover]), max(radius, 1.0))
    missing = (1 - cover).clamp(0, 1) * (around[3:] > _TRACE)
    return colour + missing * around[:3] / around[3:].clamp(min=_TRACE), cover + missing


def _spread(layer: Tensor, radius: float) -> Tensor:
    """(4,h,w) light and coverage of a layer, every point of it spread over its disc; a wide one at a reduced size."""
    radius = abs(radius)
    if radius < NO_BLUR:
        return layer
    reduced = max((n for n in (1, 2, 4) if radius >= _WIDE * n), default=1)
    height, width = layer.shape[-2:]
    small = layer[None]
    if reduced > 1:
        small = F.pad(small, (0, -width % reduced, 0, -height % reduced), mode="replicate")
        small = F.avg_pool2d(small, reduced)
    half = half_size(radius / reduced, _LENS)
    small = convolver(small[0], half)(kernel_of(radius / reduced, _LENS, half, layer.device)).clamp(min=0)
    if reduced == 1:
        return small
    return F.interpolate(small[None], scale_factor=reduced, mode="bilinear")[0, :, :height, :width]


def _levels(low: float, high: float) -> list[float]:
    """Signed radii of the layers that cover [low, high], rising; 0 is one of them if it lies between."""
    def side(end: float) -> list[float]:
        found, at = [], 0.0
        while at < end:
            at += max(_STEP, _RATIO * at)
            found.append(at)
        return found

    levels = [-level for level in reversed(side(max(-low, 0.0)))] + [0.0] + side(max(high, 0.0))
    first = max((i for i, level in enumerate(levels) if level <= low), default=0)
    last = min((i for i, level in enumerate(levels) if level >= high), default=len(levels) - 1)
    return levels[first : last + 1]


def _share(position: Tensor, levels: list[float], i: int) -> Tensor:
    """(1,h,w) how much of each pixel lies in layer i: 1 at its radius, 0 at those of its neighbours."""
    below = levels[i - 1] if i else -math.inf
    above = levels[i + 1] if i + 1 < len(levels) else math.inf
    rise = torch.ones_like(position) if i == 0 else (position - below) / (levels[i] - below)
    fall = torch.ones_like(position) if above == math.inf else (above - position) / (above - levels[i])
    return torch.minimum(rise, fall).clamp(0, 1)

