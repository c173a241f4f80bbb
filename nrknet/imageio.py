"""Photos from and to files: colour, orientation, profile, metadata, transparency, 8 and 16 bits per channel."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from nrknet import jpeg, pillow, png, tiff
from nrknet.photo import DAMAGED, Decoded, Photo, Refusal, assemble, stored_samples
from nrknet.replacement import replacing

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageError",
    "Photo",
    "detect_format",
    "is_probably_image",
    "output_suffix",
    "photo_size",
    "read_photo",
    "write_photo",
]

_SUFFIXES = {  # format -> its spellings, the usual one first
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
_HOLDS_16_BIT = ("PNG", "TIFF")
_HOLDS_ALPHA = ("PNG", "TIFF", "WEBP")
_LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
IMAGE_SUFFIXES = frozenset({suffix for spellings in _SUFFIXES.values() for suffix in spellings} | {".bmp", ".gif"})

_RAW_SIGNATURES = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")  # Fujifilm, Olympus, Panasonic
_HEIC_HELP = "it is a HEIC, AVIF or CR3 file; export it as TIFF, PNG or JPEG first"


_JARGON = (
    struct.error, LookupError, SyntaxError, AttributeError, TypeError, UnicodeError, AssertionError, OverflowError,
)  # fmt: skip
"""What is said by these, such as "index out of range", helps nobody."""


class ImageError(ValueError):
    """A photo cannot be read or written; the message is one sentence that names the file and the reason."""


def is_probably_image(path: str | os.PathLike[str]) -> bool:
    """Return whether the name looks like an image's; hidden files (macOS puts "._photo.jpg" beside photos) do not."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES and not Path(path).name.startswith(".")


def output_suffix(photo_or_format: Photo | str, source_suffix: str) -> str:
    """Return the suffix of the restored file: the source's format if we write it, else PNG; its spelling if it fits."""
    image_format = photo_or_format.format if isinstance(photo_or_format, Photo) else photo_or_format.upper()
    spellings = _SUFFIXES.get(image_format, _SUFFIXES["PNG"])
    return source_suffix if source_suffix.lower() in spellings else spellings[0]


def read_photo(path: str | os.PathLike[str], *, max_pixels: int = 200_000_000) -> Photo:
    """Read a JPEG, PNG, TIFF, WebP, BMP or GIF (its first frame), whatever its name says.

    Args:
        max_pixels: width x height above which a file is refused before anything is decoded.

    Returns:
        The photo, turned upright; 16-bit files stay 16-bit, CMYK becomes sRGB.

    Raises:
        ImageError: the file is missing, no such image, cut short, damaged, too large, or of a kind not handled.
    """
    try:
        with _open(path) as (file, image_format):
            decoded = _DECODERS[image_format](file, max_pixels)
        return assemble(decoded, image_format)
    except Exception as error:  # decoders raise nearly anything on damaged data
        reason = _reason(error, DAMAGED)
        raise ImageError(f"Cannot read {path}: {reason}.") from error


def photo_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return width and height of a photo as `read_photo` turns it, from the file's header alone.

    Raises:
        ImageError: the file is missing, no such image, or its header is damaged.
    """
    try:
        with _open(path) as (file, image_format):
            width, height, orientation = _SIZES[image_format](file)
        return (height, width) if orientation >= 5 else (width, height)
    except Exception as error:  # as above
        reason = _reason(error, DAMAGED)
        raise ImageError(f"Cannot read {path}: {reason}.") from error


def write_photo(path: str | os.PathLike[str], photo: Photo, *, quality: int = 95) -> None:
    """Write a photo in the format of the path's suffix; the target is replaced at once, or not touched at all.

    Args:
        path: ends in .png, .jpg, .jpeg, .tif, .tiff or .webp; a link is followed.
        quality: 1-100, for JPEG (4:4:4) and WebP; PNG and TIFF are lossless.

    Raises:
        ImageError: the format is not written or cannot hold the photo's depth, transparency or size, or the disk fails.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality: got {quality}, expected 1-100")
    try:
        target = Path(os.path.realpath(path))
        image_format = _format_to_write(target.suffix, photo)
        with replacing(target) as file:
            _ENCODERS[image_format](file, photo, quality)
    except Exception as error:  # encoders raise several types, and the disk its own
        raise ImageError(f"Cannot write {path}: {_reason(error, 'encoding failed')}.") from error


@contextmanager
def _open(path: str | os.PathLike[str]) -> Iterator[tuple[IO[bytes], str]]:
    """Open a file, and find out what it is."""
    source = Path(path)
    if source.exists() and not source.is_file():
        raise Refusal("it is a folder" if source.is_dir() else "it is not a regular file")
    with source.open("rb") as file:
        image_format = detect_format(file.read(32))
        file.seek(0)
        yield file, image_format


def detect_format(head: bytes) -> str:
    """Return the format that the start of a file shows: "JPEG", "PNG", "TIFF", "WEBP", "BMP" or "GIF".

    Args:
        head: the first 32 bytes of the file, or more.

    Raises:
        ValueError: it is none of these; the message is the reason alone, without the file's name.
    """
    if not head:
        raise Refusal("the file is empty")
    if head[4:8] == b"ftyp":
        raise Refusal(_HEIC_HELP)
    is_tiff = head.startswith(tiff.SIGNATURES)
    if head.startswith(_RAW_SIGNATURES) or (is_tiff and head[8:10] == b"CR"):  # Canon's CR2 is a TIFF inside
        raise Refusal(tiff.RAW_HELP)
    found = {
        "JPEG": head.startswith(b"\xff\xd8\xff"),
        "PNG": head.startswith(png.SIGNATURE),
        "TIFF": is_tiff,
        "WEBP": head.startswith(b"RIFF") and head[8:12] == b"WEBP",
        "BMP": head.startswith(b"BM"),
        "GIF": head.startswith((b"GIF87a", b"GIF89a")),
    }
    for image_format, matches in found.items():
        if matches:
            return image_format
    raise Refusal("it is not a JPEG, PNG, TIFF, WebP, BMP or GIF image")


def _reason(error: Exception, otherwise: str) -> str:
    """Return one line for a person, without a closing full stop."""
    if isinstance(error, Refusal):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    is_jargon = isinstance(error, _JARGON)
    detail = "" if is_jargon else " ".join(str(error).split()).rstrip(".")
    return f"{otherwise} ({detail})" if detail else otherwise


def _format_to_write(suffix: str, photo: Photo) -> str:
    """Return the format a suffix asks for, if it can hold the photo."""

    def spell(formats: tuple[str, ...]) -> str:
        return " or ".join(_SUFFIXES[name][0] for name in formats)

    image_format = next((name for name, spellings in _SUFFIXES.items() if suffix.lower() in spellings), None)
    if image_format is None:
        raise Refusal(f"the suffix {suffix!r} is not a format we write; use {spell(tuple(_SUFFIXES))}")
    if photo.pixels.dtype == np.uint16 and image_format not in _HOLDS_16_BIT:
        raise Refusal(f"{image_format} cannot hold 16 bits per channel; use {spell(_HOLDS_16_BIT)}")
    if photo.alpha is not None and image_format not in _HOLDS_ALPHA:
        raise Refusal(f"{image_format} cannot hold transparency; use {spell(_HOLDS_ALPHA)}")
    if max(photo.pixels.shape) > _LONGEST_SIDE.get(image_format, 1 << 31):
        raise Refusal(f"{image_format} cannot be wider or higher than {_LONGEST_SIDE[image_format]} pixels; use .png")
    return image_format


def _encode_with_pillow(image_format: str) -> Callable[[IO[bytes], Photo, int], None]:
    """Return an encoder that uses Pillow's: JPEG without chroma subsampling, WebP with colours under transparency."""
    every_option: dict[str, dict[str, Any]] = {"JPEG": {"subsampling": 0}, "WEBP": {"exact": True}}
    options = every_option[image_format]

    def encode(file: IO[bytes], photo: Photo, quality: int) -> None:
        samples = stored_samples(photo)
        metadata: dict[str, Any] = {"icc_profile": photo.icc_profile, "exif": photo.exif, "dpi": photo.dpi}
        known = {key: value for key, value in metadata.items() if value is not None}
        image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
        # Not into the file itself: Pillow's own writing takes a disk that fills up with the last piece for no error.
        encoded = io.BytesIO()
        image.save(encoded, image_format, quality=quality, **options, **known)
        file.write(encoded.getbuffer())

    return encode


_WITH_PILLOW = ("JPEG", "WEBP", "BMP", "GIF")
_DECODERS: dict[str, Callable[[IO[bytes], int], Decoded]] = {
    **{image_format: pillow.decoder(image_format) for image_format in _WITH_PILLOW},
    "PNG": png.decode,
    "TIFF": tiff.decode,
}
_SIZES: dict[str, Callable[[IO[bytes]], tuple[int, int, int]]] = {
    **{image_format: pillow.size_reader(image_format) for image_format in _WITH_PILLOW},
    "JPEG": jpeg.size,
    "PNG": png.size,
    "TIFF": tiff.size,
}
_ENCODERS: dict[str, Callable[[IO[bytes], Photo, int], None]] = {
    "JPEG": _encode_with_pillow("JPEG"),
    "PNG": png.encode,
    "TIFF": tiff.encode,
    "WEBP": _encode_with_pillow("WEBP"),
}
