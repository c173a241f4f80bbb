"""WebP files: odd, damaged and lying, and a photo of any size in 30 bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from benchmarks.reliability.broken.sample import (
    PROFILE,
    BrokenPhoto,
    Kind,
    damaged,
    encode,
    endless_exif,
    exif_block,
    picture,
    swollen_exif,
)


def files(rng: np.random.Generator) -> Iterator[BrokenPhoto]:
    """All of them."""
    yield from damaged(whole(), rng)
    yield from odd()
    yield from lying()


def whole() -> dict[str, bytes]:
    """Files with nothing wrong."""
    return {
        "webp-lossy.webp": encode(picture(), "WEBP"),
        "webp-lossless.webp": encode(picture("RGBA"), "WEBP", lossless=True, exif=exif_block()),
        "webp-animated.webp": encode(picture(), "WEBP", save_all=True, append_images=[picture(seed=1)]),
    }


def odd() -> Iterator[BrokenPhoto]:
    """Files that hold a photo in an unusual way."""
    contents = {
        "alpha": encode(picture("RGBA"), "WEBP"),
        "broken-profile": encode(picture(), "WEBP", icc_profile=bytes(range(256))),
        "cut-profile": encode(picture(), "WEBP", icc_profile=PROFILE[:-100]),
        "endless-exif": encode(picture(), "WEBP", exif=endless_exif()),
        "swollen-exif": encode(picture(), "WEBP", exif=swollen_exif()),
        "large-exif": encode(picture(), "WEBP", exif=exif_block() + bytes(1_000_000)),
        "16383x16": encode(picture(size=(16383, 16)), "WEBP"),
        "one-colour-in-30-bytes": one_colour(64, 64),
        "something-behind": encode(picture(), "WEBP") + bytes(1000),
    }
    for name, content in contents.items():
        kind: Kind = "wide" if name.endswith("x16") else "odd"
        yield BrokenPhoto(f"webp-{name}.webp", kind, "restored", content)
    for orientation in range(1, 9):
        content = encode(picture(), "WEBP", exif=exif_block(orientation))
        yield BrokenPhoto(f"webp-orientation-{orientation}.webp", "odd", "restored", content)
    for width, height in ((1, 1), (1, 60), (16383, 1)):
        content = encode(picture(size=(width, height)), "WEBP")
        yield BrokenPhoto(f"webp-{width}x{height}.webp", "odd", "refused", content)


def lying() -> Iterator[BrokenPhoto]:
    """Headers that say what is not so."""
    lossy = encode(picture(), "WEBP")
    contents = {
        "signature-alone": b"RIFF\x10\0\0\0WEBP",
        "no-pixels": _riff(_chunk(b"EXIF", exif_block())),
        "canvas-of-16-million-squared": _extended(1 << 24, 1 << 24, lossy[12:]),
        "canvas-of-16384x16384": _extended(16384, 16384, lossy[12:]),
        "16383x16383": one_colour(16383, 16383),
        "length-past-the-end": lossy[:4] + b"\xff\xff\xff\x7f" + lossy[8:],
        "chunk-past-the-end": lossy[:16] + b"\xff\xff\xff\x7f" + lossy[20:],
        "raw-rubbish": _riff(_chunk(b"VP8 ", bytes(500))),
    }
    for name, content in contents.items():
        yield BrokenPhoto(f"webp-{name}.webp", "lying", "refused", content)


def one_colour(width: int, height: int) -> bytes:
    """A lossless WebP whose five codes have one symbol each: its pixels take no bits at all."""
    bits = f"{height - 1:014b}{width - 1:014b}"[::-1]  # least significant bits first
    bits += "0" + "000"  # no alpha, version 0
    bits += "000" + "1000" * 5  # no transform, colour cache or groups; each code: simple, one symbol of one bit, 0
    bits = bits.ljust((len(bits) + 31) // 8 * 8, "0")
    packed = int(bits[::-1], 2).to_bytes(len(bits) // 8, "little")
    return _riff(_chunk(b"VP8L", b"\x2f" + packed))


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def _extended(width: int, height: int, chunks: bytes) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return _riff(_chunk(b"VP8X", bytes(4) + sides) + chunks)


def large() -> Iterator[BrokenPhoto]:
    """Legal photos with many pixels."""
    yield BrokenPhoto("webp-199-megapixels.webp", "large", "restored", one_colour(16383, 12200))
    animated = bytearray(encode(picture(), "WEBP", save_all=True, append_images=[picture(seed=1)]))
    animated[24:30] = (12000).to_bytes(3, "little") + (10000).to_bytes(3, "little")
    yield BrokenPhoto("webp-animation-on-120-megapixels.webp", "large", "either", bytes(animated))
