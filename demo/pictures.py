"""Pictures for the screen: a photo as a browser shows it, and a defocus map in colour with its scale."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nrknet.imageio import Photo

# Dark to bright with evenly rising lightness, so that it also reads in black and white: sharp is dark, blurred bright.
COLOURS = ("#000004", "#1b0c41", "#4a0c6b", "#781c6d", "#a52c60", "#cf4446", "#ed6925", "#fb9b06", "#f7d13d", "#fcffa4")
INK = "#f4f4f5"
BACKGROUND = "#18181b"

MAP_WIDTHS = (480, 1600)
KERNEL_SIDE = 360
# A PNG of a larger photo is tens of megabytes, twice, on its way to the browser.
LARGEST_PNG = 8_000_000


def save_screen_picture(photo: Photo, stem: Path, *, longest: int | None = None) -> Path:
    """Writes `photo` as 8-bit RGB in a format that browsers show, its colour profile included.

    Args:
        photo: the photo, 8 or 16 bit.
        stem: where to write; the suffix is added.
        longest: shrink the picture so that its longer side has at most this many pixels; None keeps every pixel.
    Returns:
        The file: PNG, or JPEG of the best quality where a PNG would be too large to send.
    """
    pixels = photo.pixels
    if pixels.dtype == np.uint16:
        pixels = np.round(pixels / 257).astype(np.uint8)
    picture = Image.fromarray(pixels)
    if photo.is_gray:  # its profile is one for grey
        picture = picture.convert("L")
    if longest is not None:
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=3)
    if picture.width * picture.height <= LARGEST_PNG:
        path = stem.with_name(stem.name + ".png")
        picture.save(path, compress_level=1, icc_profile=photo.icc_profile)
    else:
        path = stem.with_name(stem.name + ".jpg")
        picture.save(path, quality=95, subsampling=0, icc_profile=photo.icc_profile)
    return path


def draw_defocus_map(defocus_map: NDArray[np.float32]) -> Image.Image:
    """Draws a defocus map in colour, with its scale in pixels below it.

    Args:
        defocus_map: (H, W) blur radius in pixels of the photo, 0 where it is sharp.
    Returns:
        An RGB picture of the map, at most 1600 pixels wide, and a strip with the scale under it.
    """
    top = scale_end(defocus_map)
    levels = np.round(np.clip(defocus_map / top, 0, 1) * 255).astype(np.uint8)
    height, width = levels.shape
    shown_width = min(max(width, MAP_WIDTHS[0]), MAP_WIDTHS[1])
    size = (shown_width, max(1, round(height * shown_width / width)))
    shown = np.asarray(Image.fromarray(levels).resize(size, Image.Resampling.BOX if shown_width < width else None))
    clipped = bool(defocus_map.max() > top)
    return _stacked(Image.fromarray(palette()[shown]), _scale(shown_width, top, clipped))


def draw_kernel(kernel: NDArray[np.float32], radius: float) -> Image.Image:
    """Draws the middle of a defocus kernel: how much each pixel around one adds to it.

    Args:
        kernel: (S, S) weights, S odd; colours follow the square root of a weight, blue is below 0.
        radius: of the blur in pixels, drawn as a circle.
    Returns:
        An RGB picture, KERNEL_SIDE pixels a side at least, with the weights' range under it.
    """
    middle = kernel.shape[0] // 2
    half = min(middle, max(5, math.ceil(radius) + 3))
    shown = kernel[middle - half : middle + half + 1, middle - half : middle + half + 1]
    top = float(np.abs(shown).max()) or 1.0
    levels = np.round(255 * np.sqrt(np.abs(shown) / top)).astype(np.uint8)
    colours = np.where((shown < 0)[..., None], palette()[..., ::-1][levels], palette()[levels])
    zoom = -(-KERNEL_SIDE // len(shown))
    picture = Image.fromarray(colours).resize((zoom * len(shown),) * 2, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(picture)
    centre, reach = picture.width / 2, radius * zoom
    draw.ellipse((centre - reach, centre - reach, centre + reach, centre + reach), outline=INK, width=2)
    return _stacked(picture, _range(picture.width, float(shown.min()), float(shown.max()), len(shown)))


def _range(width: int, low: float, high: float, side: int) -> Image.Image:
    """A strip `width` pixels wide that says what a kernel's picture shows."""
    size = width // 20
    font = ImageFont.load_default(size)
    strip = Image.new("RGB", (width, 2 * size), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    draw.text((size, size), f"weights {low:.3f} to {high:.3f}", INK, font, anchor="lm")
    draw.text((width - size, size), f"{side} x {side} pixels", INK, font, anchor="rm")
    return strip


def scale_end(defocus_map: NDArray[np.float32]) -> int:
    """The radius at the bright end of the scale: an even number of pixels that all but 0.2 % of the map keep to."""
    return max(2, 2 * math.ceil(float(np.quantile(defocus_map, 0.998)) / 2))


def palette() -> NDArray[np.uint8]:
    """The (256, 3) colours from sharp to blurred."""
    anchors = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in COLOURS])
    at = np.linspace(0, len(COLOURS) - 1, 256)
    channels = [np.interp(at, np.arange(len(COLOURS)), anchors[:, c]) for c in range(3)]
    return np.round(np.stack(channels, axis=1)).astype(np.uint8)


def _scale(width: int, top: int, clipped: bool) -> Image.Image:
    """A strip `width` pixels wide: the colours, and under them the radii they stand for."""
    size = width // 30
    font = ImageFont.load_default(size)
    strip = Image.new("RGB", (width, round(4.2 * size)), BACKGROUND)
    bar = Image.fromarray(palette()[None]).resize((width - 2 * size, size), Image.Resampling.BILINEAR)
    strip.paste(bar, (size, size))
    draw = ImageDraw.Draw(strip)
    draw.rectangle((size - 1, size - 1, width - size, 2 * size), outline="#71717a", width=max(1, size // 12))
    last = f"{top} px or more" if clipped else f"{top} px"
    for at, label, anchor in ((0.0, "0 px, sharp", "lt"), (0.5, f"{top // 2} px", "mt"), (1.0, last, "rt")):
        draw.text((size + at * (width - 2 * size), 2.5 * size), label, INK, font, anchor=anchor)
    return strip


def _stacked(upper: Image.Image, lower: Image.Image) -> Image.Image:
    picture = Image.new("RGB", (upper.width, upper.height + lower.height))
    picture.paste(upper, (0, 0))
    picture.paste(lower, (0, upper.height))
    return picture
