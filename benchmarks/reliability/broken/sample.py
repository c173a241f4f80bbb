"""What one broken or odd file is, and the small picture that most of them hold."""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageCms

Outcome = Literal["restored", "refused", "either"]
Kind = Literal["odd", "cut short", "flipped bits", "lying", "bomb", "not a photo", "wide", "large"]
Array = np.ndarray[Any, np.dtype[Any]]

PROFILE: bytes = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SIZE = (61, 43)
"""Width and height of the usual picture: odd, so that every format has rows and blocks to pad."""


@dataclasses.dataclass(frozen=True)
class BrokenPhoto:
    """A file, and what must become of it.

    Attributes:
        name: of the file, with the suffix that it is found by.
        kind: what is wrong, if anything; "wide" and "large" are legal photos of many pixels, which take their time.
        outcome: "restored", "refused" (in one sentence), or "either" of the two.
        content: its bytes.
    """

    name: str
    kind: Kind
    outcome: Outcome
    content: bytes = dataclasses.field(repr=False)


def picture(mode: str = "RGB", size: tuple[int, int] = SIZE, seed: int = 0) -> Image.Image:
    """A smooth picture with some noise, which every coder has work with."""
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([128 + 90 * np.sin(rows / (5 + i) + columns / (7 - i)) for i in range(4)], axis=-1)
    noisy = waves + np.random.default_rng(seed).normal(0, 6, waves.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8), "RGBA").convert(mode)


def deep(num_channels: int = 3, seed: int = 0) -> Array:
    """The picture as (H,W,C) uint16."""
    samples = np.asarray(picture("RGBA", seed=seed)).astype(np.uint16) * 257
    return np.ascontiguousarray(samples[..., :num_channels])


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """The file that Pillow makes of a picture."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def exif_block(orientation: int = 1) -> bytes:
    """An EXIF block as a camera writes it."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", orientation
    exif[0x8769] = {0x9003: "2024:05:06 07:08:09", 0x920A: 35.0, 0x927C: b"maker's note"}
    exif[0x8825] = {1: "N", 2: (47.0, 22.0, 30.5)}
    return exif.tobytes()


def endless_exif() -> bytes:
    """An EXIF block whose directories lead back to one another."""
    entries = struct.pack("<H", 3)
    for tag in (0x8769, 0x8825, 0xA005):
        entries += struct.pack("<HHII", tag, 4, 1, 8)
    return b"Exif\0\0II*\0\x08\0\0\0" + entries + struct.pack("<I", 8)


def swollen_exif(num_tags: int = 4000) -> bytes:
    """An EXIF block in which every tag claims the whole block as its value."""
    size = 8 + 2 + 12 * num_tags + 4
    entries = b"".join(struct.pack("<HHII", tag, 7, size - 8, 8) for tag in range(1000, 1000 + num_tags))
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", num_tags) + entries + bytes(4)


def deflated_zeros(num_bytes: int) -> bytes:
    """Zeros, deflated a thousandfold: the same compressed megabyte over and over, which takes no time to make."""
    deflate = zlib.compressobj(9, wbits=-15)
    megabyte = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, wbits=-15)
    end = rest.compress(bytes(num_bytes & 0xFFFFF)) + rest.flush()
    checksum = struct.pack(">HH", num_bytes % 65521, 1)  # Adler-32 of zeros
    return b"\x78\xda" + megabyte * (num_bytes >> 20) + end + checksum


def flip_bits(content: bytes, rng: np.random.Generator, *, num_bits: int, first: int = 0) -> bytes:
    """The file with some bits turned over, none before byte `first`."""
    damaged = bytearray(content)
    for position in rng.integers(min(first, len(content) - 1), len(content), num_bits):
        damaged[position] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def damaged(good: dict[str, bytes], rng: np.random.Generator, *, last_padding: int = 0) -> Iterable[BrokenPhoto]:
    """Every good file cut at several points and with bits turned over in its header and everywhere.

    Args:
        good: whole files by name.
        rng: where and which bits.
        last_padding: bytes at the end of a file without which every pixel is still there.
    """
    for name, content in good.items():
        stem, suffix = name.rsplit(".", 1)
        for percent in (1, 20, 50, 90, 99):
            length = min(len(content) * percent // 100, len(content) - last_padding - 1)
            yield BrokenPhoto(f"{stem}-cut-{percent}.{suffix}", "cut short", "refused", content[:length])
        for where, end, num_bits in (("head", 200, 4), ("anywhere", len(content), 8)):
            flipped = flip_bits(content[:end], rng, num_bits=num_bits) + content[end:]
            yield BrokenPhoto(f"{stem}-flipped-{where}.{suffix}", "flipped bits", "either", flipped)
