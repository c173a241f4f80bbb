"""TIFF files: odd, damaged, and with tags that lie."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from benchmarks.reliability.broken.jpegs import many_scans
from benchmarks.reliability.broken.sample import (
    PROFILE,
    SIZE,
    Array,
    BrokenPhoto,
    damaged,
    deep,
    deflated_zeros,
    encode,
    picture,
)

BYTE, SHORT, LONG, UNDEFINED, LONG8 = 1, 3, 4, 7, 16
Tag = tuple[int, int, int, int | bytes]
"""Number, type, count, and the value: bytes, which are put where they belong, or a number as it stands in the entry."""


def tiff(tags: Sequence[Tag], data: bytes = b"", *, big: bool = False, following: int = 0) -> bytes:
    """A little-endian TIFF file: header, data (at byte 8, BigTIFF 16), directory, long values.

    Args:
        following: the offset of the next directory.
    """
    start = 16 if big else 8
    count, entry, word = ("<Q", "<HHQ", "<Q") if big else ("<H", "<HHI", "<I")
    at = start + len(data)
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, at) if big else struct.pack("<2sHI", b"II", 42, at)
    values_at = at + struct.calcsize(count) + len(tags) * (20 if big else 12) + struct.calcsize(word)
    entries = values = b""
    for number, kind, how_many, value in sorted(tags, key=lambda tag: tag[0]):
        entries += struct.pack(entry, number, kind, how_many)
        if isinstance(value, int):
            entries += struct.pack(word, value)
        elif len(value) <= struct.calcsize(word):
            entries += value.ljust(struct.calcsize(word), b"\0")
        else:
            entries += struct.pack(word, values_at + len(values))
            values += value
    return head + data + struct.pack(count, len(tags)) + entries + struct.pack(word, following) + values


def tags_of(width: int, height: int, num_bytes: int, /, *, compression: int = 1, **changed: Tag | None) -> list[Tag]:
    """The tags of a grey photo in one strip at byte 8; `changed` replaces some by name, or leaves them out."""
    tags: dict[str, Tag | None] = {
        "width": (256, LONG, 1, width),
        "height": (257, LONG, 1, height),
        "bits": (258, SHORT, 1, 8),
        "compression": (259, SHORT, 1, compression),
        "photometric": (262, SHORT, 1, 1),
        "offsets": (273, LONG, 1, 8),
        "samples": (277, SHORT, 1, 1),
        "rows": (278, LONG, 1, height),
        "counts": (279, LONG, 1, num_bytes),
    }
    return [tag for tag in (tags | changed).values() if tag is not None]


def files(rng: np.random.Generator) -> Iterator[BrokenPhoto]:
    """All of them."""
    yield from damaged(whole(), rng)
    yield from odd()
    yield from lying()
    yield from bombs()


def written(samples: Array, **options: Any) -> bytes:
    """The file that tifffile makes of samples."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **{"photometric": "rgb", **options})
    return buffer.getvalue()


def whole() -> dict[str, bytes]:
    """Files with nothing wrong."""
    return {
        "tiff-lzw.tif": written(deep(), compression="lzw", predictor=True),
        "tiff-tiles.tif": written(deep(), tile=(16, 32), compression="zlib"),
        "tiff-big-endian.tif": written(deep(), byteorder=">", rowsperstrip=5),
        "tiff-jpeg.tif": encode(picture(), "TIFF", compression="jpeg"),
    }


def odd() -> Iterator[BrokenPhoto]:
    """Files that hold a photo in an unusual way, and some that hold other things."""
    planes = np.moveaxis(deep(), -1, 0).copy()
    contents = {
        "packbits": written(deep(), compression="packbits"),
        "zstd": written(deep(), compression="zstd"),
        "lzma": written(deep(), compression="lzma"),
        "planes": written(planes, planarconfig="separate"),
        "planes-in-lzw-strips": written(planes, planarconfig="separate", compression="lzw", rowsperstrip=3),
        "bigtiff": written(deep(), bigtiff=True),
        "pages": encode(picture(), "TIFF", save_all=True, append_images=[picture(seed=1), picture("L")]),
        "palette": encode(picture().quantize(32), "TIFF"),
        "one-bit": encode(picture("1"), "TIFF", compression="group4"),
        "cmyk": encode(picture("CMYK"), "TIFF"),
        "alpha": encode(picture("RGBA"), "TIFF", compression="tiff_deflate"),
        "broken-profile": encode(picture(), "TIFF", icc_profile=PROFILE[:77]),
        "jpeg-tables": encode(picture(), "TIFF", compression="jpeg", quality=60),
        "swollen-tags": swollen(2000),
        "next-is-itself": tiff(tags_of(61, 43, 2623), bytes(2623), following=8 + 2623),
        "no-counts-but-one-strip": tiff(tags_of(61, 43, 2623, rows=None), bytes(2623)),
    }
    for name, content in contents.items():
        yield BrokenPhoto(f"tiff-{name}.tif", "odd", "refused" if name == "swollen-tags" else "restored", content)
    for orientation in range(1, 9):
        content = encode(picture(), "TIFF", tiffinfo={274: orientation})
        yield BrokenPhoto(f"tiff-orientation-{orientation}.tif", "odd", "restored", content)
    yield from _other_samples()


def _other_samples() -> Iterator[BrokenPhoto]:
    """Samples that are not 8 or 16 bits of colour."""
    floats = deep().astype(np.float32) / 65535
    floats[3:9] = np.nan
    contents = {
        "float-with-nan": written(floats),
        "float64-infinite": written(np.full((43, 61, 3), np.inf)),
        "signed": written(deep().astype(np.int16)),
        "32-bit": written(deep().astype(np.uint32)),
        "complex": written(np.zeros((43, 61), np.complex64), photometric="minisblack"),
        "lab": encode(Image.frombytes("LAB", SIZE, picture().tobytes()), "TIFF"),
        "volume": written(
            np.zeros((16, 32, 32), np.uint8), photometric="minisblack", volumetric=True, tile=(16, 16, 16)
        ),
    }
    for name, content in contents.items():
        yield BrokenPhoto(f"tiff-{name}.tif", "odd", "refused", content)
    for width, height in ((1, 1), (1, 60), (30000, 1)):
        content = encode(picture(size=(width, height)), "TIFF")
        yield BrokenPhoto(f"tiff-{width}x{height}.tif", "odd", "refused", content)


def swollen(num_tags: int, unit: int = 40_000) -> bytes:
    """A photo with many unknown tags, each of which claims the same bytes of the file as its value."""
    more: list[Tag] = [(number, UNDEFINED, unit, 8) for number in range(40000, 40000 + num_tags)]
    return tiff(tags_of(200, 200, unit) + more, bytes(unit))


def _swollen_nested(num_tags: int, unit: int) -> bytes:
    """The same in the directory of its EXIF tags."""
    more: list[Tag] = [(number, UNDEFINED, unit, 8) for number in range(40000, 40000 + num_tags)]
    nested = tiff(more, bytes(unit))[8:]
    return tiff([*tags_of(200, 200, 40_000), (0x8769, LONG, 1, 8 + unit)], nested)


def _scans() -> bytes:
    """A photo in one strip, a JPEG that keeps a decoder busy."""
    strip = many_scans(3000, 5000)
    return tiff(tags_of(3000, 3000, len(strip), compression=7), strip)


def lying() -> Iterator[BrokenPhoto]:
    """Tags that say what is not so."""
    rows, size = bytes(SIZE[0] * SIZE[1]), SIZE[0] * SIZE[1]
    good = tags_of(*SIZE, size)
    contents = {
        "signature-alone": b"II*\0",
        "directory-past-the-end": b"II*\0\xff\xff\xff\x7f" + rows,
        "directory-is-the-header": b"II*\0\0\0\0\0" + rows,
        "empty-directory": tiff([], rows),
        "65535-tags": tiff(good, rows).replace(struct.pack("<H", 9), b"\xff\xff", 1),
        "bigtiff-2-to-60-tags": tiff(good, rows, big=True).replace(struct.pack("<Q", 9), struct.pack("<Q", 1 << 60), 1),
        "strip-of-4-gigabytes": tiff(tags_of(*SIZE, 0xFFFFFFF0), rows),
        "strip-of-0-bytes": tiff(tags_of(*SIZE, 0), rows),
        "strip-past-the-end": tiff(tags_of(*SIZE, size, offsets=(273, LONG, 1, 0xFFFFFF00)), rows),
        "four-billion-strips": tiff(tags_of(*SIZE, size, offsets=(273, LONG, 0xFFFFFFFF, 8)), rows),
        "four-billion-counts": tiff(tags_of(*SIZE, size, counts=(279, LONG, 0xFFFFFFFF, 8)), rows),
        "no-offsets": tiff(tags_of(*SIZE, size, offsets=None), rows),
        "width-0": tiff(tags_of(0, 43, size), rows),
        "no-width": tiff(tags_of(*SIZE, size, width=None), rows),
        "4294967295x4294967295": tiff(tags_of(0xFFFFFFFF, 0xFFFFFFFF, size), rows),
        "65536x65536": tiff(tags_of(65536, 65536, size), rows),
        "rows-4294967295": tiff(tags_of(*SIZE, 100, rows=(278, LONG, 1, 0xFFFFFFFF)), rows[:100]),
        "tiles-of-2-to-31": tiff(
            [*tags_of(*SIZE, size, compression=8, offsets=None, counts=None, rows=None), *_tiles(1 << 31, size)], rows
        ),
        "tiles-of-0": tiff([*tags_of(*SIZE, size, offsets=None, counts=None, rows=None), *_tiles(0, size)], rows),
        "65535-samples": tiff(tags_of(*SIZE, size, samples=(277, SHORT, 1, 65535)), rows),
        "0-samples": tiff(tags_of(*SIZE, size, samples=(277, SHORT, 1, 0)), rows),
        "7-bits": tiff(tags_of(*SIZE, size, bits=(258, SHORT, 1, 7)), rows),
        "0-bits": tiff(tags_of(*SIZE, size, bits=(258, SHORT, 1, 0)), rows),
        "palette-missing": tiff(tags_of(*SIZE, size, photometric=(262, SHORT, 1, 3)), rows),
        "palette-too-short": tiff(
            [*tags_of(*SIZE, size, photometric=(262, SHORT, 1, 3)), (320, SHORT, 12, bytes(24))], b"\xf0" * size
        ),
        "compression-65000": tiff(tags_of(*SIZE, size, compression=65000), rows),
        "photometric-9999": tiff(tags_of(*SIZE, size, photometric=(262, SHORT, 1, 9999)), rows),
        "predictor-9": tiff([*good, (317, SHORT, 1, 9)], rows),
        "sample-format-9": tiff([*good, (339, SHORT, 1, 9)], rows),
        "text-for-a-width": tiff(tags_of(*SIZE, size, width=(256, 2, 9, b"sixty-one")), rows),
    }  # fmt: skip
    for name, content in contents.items():
        yield BrokenPhoto(f"tiff-{name}.tif", "lying", "refused", content)
    equal: list[Tag] = [(700, BYTE, 1, 0)] * 4000
    more: dict[str, list[Tag]] = {"orientation-99": [(274, SHORT, 1, 99)], "4000-equal-tags": equal}
    for name, tags in more.items():
        yield BrokenPhoto(f"tiff-{name}.tif", "lying", "either", tiff(good + tags, rows))


def _tiles(side: int, num_bytes: int) -> list[Tag]:
    return [(322, LONG, 1, side), (323, LONG, 1, side), (324, LONG, 1, 8), (325, LONG, 1, num_bytes)]


def bombs() -> Iterator[BrokenPhoto]:
    """Small files that would fill the memory or keep a decoder busy for long."""
    import imagecodecs

    zeros = deflated_zeros(1 << 30)
    huge = encode(picture(size=(16, 16)), "JPEG")
    frame = huge.index(b"\xff\xc0")
    huge = huge[: frame + 5] + struct.pack(">HH", 65500, 65500) + huge[frame + 9 :]
    million = struct.pack("<I", 8) * 1_000_000
    contents = {
        "deflated-gigabyte": tiff(tags_of(*SIZE, len(zeros), compression=8), zeros),
        "zstd-gigabyte": _compressed(bytes(imagecodecs.zstd_encode(bytes(1 << 29))), 50000),
        "lzw-64-megabytes": _compressed(bytes(imagecodecs.lzw_encode(bytes(1 << 26))), 5),
        "packbits-64-megabytes": _compressed(b"\x81\0" * (1 << 19), 32773),
        "jpeg-of-65500x65500": _compressed(huge, 7),
        "million-strips": tiff(
            tags_of(1, 1_000_000, 1, offsets=(273, LONG, 1_000_000, million),
                    counts=(279, LONG, 1_000_000, struct.pack("<I", 1) * 1_000_000), rows=(278, LONG, 1, 1)), b"\0",
        ),
        "million-deflated-strips": _deflated_strips(1_000_000),
        "tile-of-30000-for-one-pixel": tiff(
            [*tags_of(*SIZE, 0, compression=8, offsets=None, counts=None, rows=None),
             *_tiles(65536, len(few := zlib.compress(bytes(10))))], few,
        ),
        "swollen": swollen(4000, 400_000),
        "swollen-exif-directory": _swollen_nested(4000, 400_000),
        "5000-scans": _scans(),
        "webp-inside": _compressed(encode(picture(), "WEBP"), 50001),
    }  # fmt: skip
    for name, content in contents.items():
        yield BrokenPhoto(f"tiff-{name}.tif", "bomb", "either", content)


def _compressed(data: bytes, compression: int) -> bytes:
    return tiff(tags_of(*SIZE, len(data), compression=compression), data)


def _deflated_strips(num_strips: int) -> bytes:
    strip = zlib.compress(b"\0")
    offsets, counts = (struct.pack("<I", number) * num_strips for number in (8, len(strip)))
    tables: dict[str, Tag | None] = {
        "offsets": (273, LONG, num_strips, offsets),
        "counts": (279, LONG, num_strips, counts),
        "rows": (278, LONG, 1, 1),
    }
    return tiff(tags_of(1, num_strips, 1, compression=8, **tables), strip)


def large() -> Iterator[BrokenPhoto]:
    """Legal photos with many pixels."""
    zeros = deflated_zeros(15000 * 13266)
    content = tiff(tags_of(15000, 13266, len(zeros), compression=8), zeros)
    yield BrokenPhoto("tiff-199-megapixels.tif", "large", "restored", content)
