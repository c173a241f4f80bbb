"""A photo in memory, and what the decoders and encoders of every file format share."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
from PIL import Image

from nrknet.exif import reset_orientation

Array = np.ndarray[Any, np.dtype[Any]]


SMALLEST_SIDE = 16
"""Pixels that a network needs."""
DAMAGED = "the file is damaged, incomplete or of an unusual kind"


class Refusal(ValueError):
    """The reason why a file cannot be read or written; `read_photo` and `write_photo` add the file's name."""


def damaged() -> Refusal:
    """The reason for which there is no better one."""
    return Refusal(DAMAGED)


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
    """A photo the right way up, with what its file said about it.

    Args:
        pixels: (H, W, 3) uint8 or uint16 RGB, not premultiplied by alpha.
        alpha: (H, W) of the dtype of `pixels`, 0 = transparent, or None.
        is_gray: the file had one colour channel: the three in `pixels` are equal, and one is written.
        icc_profile: the profile that `pixels` are in; None means untagged, usually sRGB.
        exif: EXIF block starting with b"Exif\\0\\0"; its orientation says "upright", its thumbnail is unlinked.
        dpi: horizontal and vertical pixels per inch.
        format: what the file is, whatever its name says: "JPEG", "PNG", "TIFF", "WEBP", "BMP" or "GIF".

    Raises:
        ValueError: `pixels` or `alpha` has another shape or dtype.
    """

    pixels: Array
    alpha: Array | None = None
    is_gray: bool = False
    icc_profile: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    format: str = "PNG"

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if len(shape) != 3 or shape[2] != 3 or 0 in shape or dtype not in (np.uint8, np.uint16):
            raise ValueError(f"pixels: got {shape} {dtype}, expected (H, W, 3) uint8 or uint16")
        if self.alpha is not None and (self.alpha.shape != shape[:2] or self.alpha.dtype != dtype):
            raise ValueError(f"alpha: got {self.alpha.shape} {self.alpha.dtype}, expected {shape[:2]} {dtype}")

    def with_pixels(self, pixels: Array) -> Photo:
        """Return this photo with restored pixels, (H, W, 3), of the same shape and dtype; ValueError otherwise."""
        if pixels.shape != self.pixels.shape or pixels.dtype != self.pixels.dtype:
            expected = f"{self.pixels.shape} {self.pixels.dtype}"
            raise ValueError(f"pixels: got {pixels.shape} {pixels.dtype}, expected {expected}")
        return dataclasses.replace(self, pixels=pixels)


@dataclasses.dataclass
class Decoded:
    """What a decoder hands on: samples as they lie in the file, (H, W, 1..4): grey, grey+alpha, RGB or RGBA."""

    samples: Array
    icc_profile: bytes | None
    exif: bytes | None
    dpi: Any


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a photo that is too large, by what its header says."""
    if width * height > max_pixels:
        raise Refusal(f"{width} x {height} pixels are more than the limit of {max_pixels / 1e6:g} megapixels")


def check_sides(width: int, height: int) -> None:
    """Raises ValueError where a photo is too small to be restored."""
    if min(width, height) < SMALLEST_SIDE:
        least = f"{SMALLEST_SIDE}x{SMALLEST_SIDE}"
        raise ValueError(f"the photo is {width}x{height} pixels; at least {least} are needed")


def assemble(decoded: Decoded, image_format: str) -> Photo:
    """Turn decoded samples upright and split them into colour and alpha."""
    orientation, exif = reset_orientation(decoded.exif) if decoded.exif else (1, None)
    samples, dpi = decoded.samples, _valid_dpi(decoded.dpi)
    if orientation > 1:
        samples, dpi = _turn(samples, orientation), dpi[::-1] if dpi and orientation >= 5 else dpi
    num_channels = samples.shape[2]
    is_gray = num_channels <= 2
    pixels = np.repeat(samples[..., :1], 3, axis=2) if is_gray else np.ascontiguousarray(samples[..., :3])
    alpha = np.ascontiguousarray(samples[..., -1]) if num_channels in (2, 4) else None
    return Photo(pixels, alpha, is_gray, decoded.icc_profile or None, exif, dpi, image_format)


def _turn(samples: Array, orientation: int) -> Array:
    """Return stored samples (H, W, C) as they are to be seen, by the EXIF orientation."""
    whole = np.ascontiguousarray(samples).view(f"V{samples.shape[2] * samples.itemsize}")[..., 0]
    if orientation >= 5:
        whole = whole.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        whole = whole[::-1]
    if orientation in (2, 3, 6, 7):
        whole = whole[:, ::-1]
    # Moving pixels as opaque items takes less than half the time of moving each channel.
    return np.ascontiguousarray(whole)[..., None].view(samples.dtype)


def _valid_dpi(dpi: Any) -> tuple[float, float] | None:
    """Return a plausible (x, y) resolution or None; files hold zeros, infinities and 0/0 here."""
    try:
        x, y = float(dpi[0]), float(dpi[1])
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    return (x, y) if 1 <= x < 65535 and 1 <= y < 65535 else None


def cmyk_to_rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a CMYK image in sRGB, through its profile if that is usable."""
    if profile:
        from PIL import ImageCms

        try:
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB")
            if converted is not None:
                return converted
        except ImageCms.PyCMSError:
            pass
    return image.convert("RGB")


def stored_samples(photo: Photo) -> Array:
    """Return what is stored per pixel: (H, W, 1..4), the mean of the three channels if the photo is grey."""
    colors = photo.pixels
    if photo.is_gray:
        colors = ((colors.sum(axis=2, keepdims=True, dtype=np.uint32) + 1) // 3).astype(colors.dtype)
    return colors if photo.alpha is None else np.concatenate((colors, photo.alpha[..., None]), axis=2)
