"""BMP files: every header, run lengths, and sizes that are not so."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from benchmarks.reliability.broken.sample import SIZE, BrokenPhoto, Kind, damaged, encode, picture

RLE8, RLE4, BITFIELDS, JPEG = 1, 2, 3, 4


def bmp(
    width: int, height: int, data: bytes, *, bits: int = 24, kind: int = 0, header: int = 40, colors: int = 0,
    more: bytes = b"",
) -> bytes:  # fmt: skip
    """A BMP file.

    Args:
        kind: of compression.
        header: its length in bytes: 12, 40, 52, 56, 64, 108 or 124.
        colors: entries of a grey palette.
        more: what stands in the header behind the usual 40 bytes.
    """
    if header == 12:
        about = struct.pack("<IHHHH", 12, width, height, 1, bits)
        palette = b"".join(bytes([i * 255 // (colors - 1)] * 3) for i in range(colors))
    else:
        about = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, kind, len(data), 2835, 2835, colors, 0)
        about += more.ljust(header - 40, b"\0")
        palette = b"".join(bytes([i * 255 // (colors - 1)] * 3 + [0]) for i in range(colors))
    start = 14 + len(about) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + about + palette + data


def _rows(width: int, height: int, bits: int = 24) -> bytes:
    stride = (width * bits + 31) // 32 * 4
    return np.random.default_rng(0).integers(0, 16, stride * height, dtype=np.uint8).tobytes()


def files(rng: np.random.Generator) -> Iterator[BrokenPhoto]:
    """All of them."""
    yield from damaged(whole(), rng, last_padding=3)
    yield from odd()
    yield from lying()
    yield from bombs()


def whole() -> dict[str, bytes]:
    """Files with nothing wrong."""
    return {"bmp-rgb.bmp": encode(picture(), "BMP"), "bmp-grey.bmp": encode(picture("L"), "BMP")}


def odd() -> Iterator[BrokenPhoto]:
    """Files that hold a photo in an unusual way."""
    width, height = SIZE
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    runs = (bytes([width, 7]) + b"\0\0") * height + b"\0\1"
    contents = {
        "header-12": bmp(width, height, _rows(*SIZE), header=12),
        "header-64": bmp(width, height, _rows(*SIZE), header=64),
        "header-108": bmp(width, height, _rows(*SIZE, 32), header=108, bits=32, kind=BITFIELDS, more=masks),
        "header-124": bmp(width, height, _rows(*SIZE), header=124),
        "upside-down": bmp(width, -height, _rows(*SIZE)),
        "palette": bmp(width, height, _rows(*SIZE, 8), bits=8, colors=256),
        "four-bit": bmp(width, height, _rows(*SIZE, 4), bits=4, colors=16),
        "one-bit": bmp(width, height, _rows(*SIZE, 1), bits=1, colors=2),
        "555": bmp(width, height, _rows(*SIZE, 16), bits=16),
        "run-lengths": bmp(width, height, runs, bits=8, kind=RLE8, colors=256),
        "run-lengths-of-four-bits": bmp(width, height, runs, bits=4, kind=RLE4, colors=16),
        "30000x16": bmp(30000, 16, _rows(30000, 16)),
    }
    for name, content in contents.items():
        kind: Kind = "wide" if name.endswith("x16") else "odd"
        yield BrokenPhoto(f"bmp-{name}.bmp", kind, "restored", content)
    for width, height in ((1, 1), (1, 60), (30000, 1)):
        yield BrokenPhoto(f"bmp-{width}x{height}.bmp", "odd", "refused", bmp(width, height, _rows(width, height)))


def lying() -> Iterator[BrokenPhoto]:
    """Headers that say what is not so."""
    rows = _rows(*SIZE)
    contents = {
        "signature-alone": b"BM",
        "60000x60000": bmp(60000, 60000, rows),
        "2147483647x2147483647": bmp(2**31 - 1, 2**31 - 1, rows),
        "14000x14000-of-no-data": bmp(14000, 14000, rows),
        "width-0": bmp(0, 43, rows),
        "height-0": bmp(61, 0, rows),
        "width-negative": bmp(-61, 43, rows),
        "height-lowest": bmp(61, -(2**31), rows),
        "17-bit": bmp(*SIZE, rows, bits=17),
        "compression-99": bmp(*SIZE, rows, kind=99),
        "jpeg-inside": bmp(*SIZE, encode(picture(), "JPEG"), kind=JPEG, bits=0),
        "header-of-4-gigabytes": b"BM" + struct.pack("<IHHII", 100, 0, 0, 54, 0xFFFFFFFF) + bytes(80),
        "header-13": b"BM" + struct.pack("<IHHII", 100, 0, 0, 54, 13) + bytes(80),
        "pixels-past-the-end": bmp(*SIZE, rows)[:10] + b"\xff\xff\xff\x7f" + bmp(*SIZE, rows)[14:],
        "run-lengths-cut": bmp(*SIZE, bytes([61, 7, 0, 0]) * 5, bits=8, kind=RLE8, colors=256),
    }
    for name, content in contents.items():
        yield BrokenPhoto(f"bmp-{name}.bmp", "lying", "refused", content)
    absurd = bmp(*SIZE, _rows(*SIZE, 8), bits=8, colors=256)
    absurd = absurd[:46] + struct.pack("<I", 0xFFFFFFFF) + absurd[50:]
    yield BrokenPhoto("bmp-four-billion-colours.bmp", "lying", "either", absurd)
    overlapping = bmp(*SIZE, rows)[:10] + bytes(4) + bmp(*SIZE, rows)[14:]
    yield BrokenPhoto("bmp-pixels-in-the-header.bmp", "lying", "either", overlapping)


def bombs() -> Iterator[BrokenPhoto]:
    """Run lengths that fill long rows in few bytes."""
    contents = {
        "ends-of-long-rows": bmp(40000, 4900, b"\1\7\0\0" * 4900, bits=8, kind=RLE8, colors=256),
        "jump-over-200-rows": bmp(190_000_000, 1, b"\0\2\xff\xff" * 9, bits=8, kind=RLE8, colors=256),
        "jump-over-long-rows": bmp(1_000_000, 190, b"\1\7\0\2\xff\xff" * 9, bits=8, kind=RLE8, colors=256),
        "runs-of-one": bmp(1000, 10000, (b"\1\7" * 1000 + b"\0\0") * 10000, bits=8, kind=RLE8, colors=256),
    }
    for name, content in contents.items():
        yield BrokenPhoto(f"bmp-{name}.bmp", "bomb", "refused", content)


def large() -> Iterator[BrokenPhoto]:
    """Nothing: many pixels take many bytes here."""
    return iter(())
