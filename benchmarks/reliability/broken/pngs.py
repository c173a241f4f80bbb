"""PNG files: odd, damaged, lying, and bombs in every kind of chunk that is deflated."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from benchmarks.reliability.broken.sample import (
    PROFILE,
    BrokenPhoto,
    Kind,
    damaged,
    deep,
    deflated_zeros,
    encode,
    endless_exif,
    exif_block,
    picture,
    swollen_exif,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, RGBA = 0, 2, 3, 6


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(
    width: int, height: int, depth: int, color: int, data: bytes, *extra: bytes, interlace: int = 0, end: bool = True
) -> bytes:
    """A PNG file.

    Args:
        data: the deflated rows.
        extra: chunks between the header and the pixels.
    """
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace))
    return SIGNATURE + header + b"".join(extra) + chunk(b"IDAT", data) + (chunk(b"IEND", b"") if end else b"")


def files(rng: np.random.Generator) -> Iterator[BrokenPhoto]:
    """All of them."""
    yield from damaged(whole(), rng)
    yield from odd()
    yield from lying()
    yield from bombs()


def whole() -> dict[str, bytes]:
    """Files with nothing wrong."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep())
    return {
        "png-rgb.png": encode(picture(), "PNG"),
        "png-16-bit.png": png(61, 43, 16, RGB, zlib.compress(rows)),
        "png-palette-alpha.png": encode(picture().quantize(32), "PNG", transparency=3),
    }


def odd() -> Iterator[BrokenPhoto]:
    """Files that hold a photo in an unusual way."""
    rgb = encode(picture(), "PNG")
    header_end = len(SIGNATURE) + 25
    contents = {
        "grey": encode(picture("L"), "PNG"),
        "grey-alpha": encode(picture("LA"), "PNG"),
        "one-bit": encode(picture("1"), "PNG"),
        "palette-alpha": encode(picture().quantize(16), "PNG", transparency=bytes(range(0, 256, 16))),
        "interlaced": png(16, 16, 8, GREY, zlib.compress(_interlaced_rows(16)), interlace=1),
        "animated": encode(picture(), "PNG", save_all=True, append_images=[picture(seed=1)]),
        "broken-profile": encode(picture(), "PNG", icc_profile=bytes(range(256)) * 3),
        "not-deflated-profile": rgb[:header_end] + chunk(b"iCCP", b"name\0\0nothing") + rgb[header_end:],
        "cut-profile": encode(picture(), "PNG", icc_profile=PROFILE[:-100]),
        "endless-exif": encode(picture(), "PNG", exif=endless_exif()),
        "swollen-exif": encode(picture(), "PNG", exif=swollen_exif()),
        "large-exif": encode(picture(), "PNG", exif=exif_block() + bytes(1_000_000)),
        "30000x16": encode(picture(size=(30000, 16)), "PNG"),
        "something-behind": rgb + bytes(1000),
        "unknown-chunk": rgb[:header_end] + chunk(b"abCd", bytes(99)) + rgb[header_end:],
        "wrong-checksum-of-a-text": rgb[:header_end] + chunk(b"tEXt", b"a\0b")[:-1] + b"!" + rgb[header_end:],
        "zero-resolution": rgb[:header_end] + chunk(b"pHYs", bytes(9)) + rgb[header_end:],
    }
    for name, content in contents.items():
        kind: Kind = "wide" if name.endswith("x16") else "odd"
        yield BrokenPhoto(f"png-{name}.png", kind, "restored", content)
    for orientation in range(1, 9):
        content = encode(picture(), "PNG", exif=exif_block(orientation))
        yield BrokenPhoto(f"png-orientation-{orientation}.png", "odd", "restored", content)
    for width, height in ((1, 1), (1, 60), (30000, 1)):
        content = encode(picture(size=(width, height)), "PNG")
        yield BrokenPhoto(f"png-{width}x{height}.png", "odd", "refused", content)


def _interlaced_rows(side: int) -> bytes:
    """The rows of Adam7's seven passes, of zeros."""
    passes = ((8, 8), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2))  # columns and rows apart; side is a multiple of 8
    return b"".join(bytes((1 + side // across) * (side // down)) for across, down in passes)


def lying() -> Iterator[BrokenPhoto]:
    """Headers that say what is not so, and chunks in places where they have no business."""
    rows = zlib.compress(bytes(43 * (1 + 3 * 61)))
    contents = {
        "signature-alone": SIGNATURE,
        "no-pixels": SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 61, 43, 8, 2, 0, 0, 0)) + chunk(b"IEND", b""),
        "no-header": SIGNATURE + chunk(b"IDAT", rows) + chunk(b"IEND", b""),
        "short-header": SIGNATURE + chunk(b"IHDR", b"\0\0\0\x3d") + chunk(b"IDAT", rows) + chunk(b"IEND", b""),
        "width-0": png(0, 43, 8, RGB, rows),
        "60000x60000": png(60000, 60000, 16, RGBA, b""),
        "2147483647x2147483647": png(2**31 - 1, 2**31 - 1, 16, RGBA, rows),
        "4294967295x1": png(2**32 - 1, 1, 8, RGB, rows),
        "13000x15000-of-no-data": png(13000, 15000, 16, RGBA, rows),
        "depth-3": png(61, 43, 3, GREY, rows),
        "colour-5": png(61, 43, 8, 5, rows),
        "palette-missing": png(61, 43, 8, PALETTE, rows),
        "palette-empty": png(61, 43, 8, PALETTE, rows, chunk(b"PLTE", b"")),
        "interlace-7": png(61, 43, 8, RGB, rows, interlace=7),
        "length-past-the-end": png(61, 43, 8, RGB, rows, struct.pack(">I", 0x7FFFFFFF) + b"tEXt"),
        "no-end": png(61, 43, 8, RGB, rows, end=False),
        "not-deflated": png(61, 43, 8, RGB, b"x" * 5000),
        "rows-missing": png(61, 43, 8, RGB, zlib.compress(bytes(20 * (1 + 3 * 61)))),
        "wrong-checksum-of-the-header": png(61, 43, 8, RGB, rows)[:29] + b"abcd" + png(61, 43, 8, RGB, rows)[33:],
    }
    for name, content in contents.items():
        yield BrokenPhoto(f"png-{name}.png", "lying", "refused", content)
    too_large = chunk(b"PLTE", bytes(range(12)))
    few = png(61, 43, 8, PALETTE, zlib.compress(bytes([0, *[200] * 61] * 43)), too_large)
    yield BrokenPhoto("png-palette-too-short.png", "lying", "either", few)
    unknown_filter = png(61, 43, 8, GREY, zlib.compress(bytes([9, *[7] * 61] * 43)))
    yield BrokenPhoto("png-filter-9.png", "lying", "either", unknown_filter)
    more = png(61, 43, 8, GREY, deflated_zeros(64 << 20))
    yield BrokenPhoto("png-too-many-rows.png", "lying", "either", more)


def bombs() -> Iterator[BrokenPhoto]:
    """Small files that would fill the memory or keep a decoder busy for long."""
    rgb = encode(picture(), "PNG")
    header_end = len(SIGNATURE) + 25
    zeros = deflated_zeros(1 << 30)
    eight = deflated_zeros(7_900_000)
    contents = {
        "profile-bomb": chunk(b"iCCP", b"name\0\0" + zeros),
        "text-bomb": chunk(b"zTXt", b"Comment\0\0" + zeros),
        "international-text-bomb": chunk(b"iTXt", b"Comment\0\x01\0\0\0" + zeros),
        "900-texts": chunk(b"zTXt", b"Comment\0\0" + eight) * 900,
        "400000-chunks": chunk(b"teXt", b"") * 400_000,
    }
    for name, extra in contents.items():
        yield BrokenPhoto(f"png-{name}.png", "bomb", "either", rgb[:header_end] + extra + rgb[header_end:])


def large() -> Iterator[BrokenPhoto]:
    """Legal photos with many pixels."""
    kinds = {"grey": (8, GREY, 1), "rgb": (8, RGB, 3), "16-bit-rgba": (16, RGBA, 8)}
    for name, (depth, color, num_bytes) in kinds.items():
        content = png(15000, 13266, depth, color, deflated_zeros(13266 * (1 + 15000 * num_bytes)))
        yield BrokenPhoto(f"png-199-megapixels-{name}.png", "large", "restored", content)
