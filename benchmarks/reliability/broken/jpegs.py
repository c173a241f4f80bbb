"""JPEG files: odd, damaged, lying, and made to keep a decoder busy."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

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

SOF = {"baseline": 0xC0, "extended": 0xC1, "progressive": 0xC2, "lossless": 0xC3, "arithmetic": 0xC9}
END = b"\xff\xd9"


def files(rng: np.random.Generator) -> Iterator[BrokenPhoto]:
    """All of them."""
    yield from damaged(whole(), rng)
    yield from odd()
    yield from lying()
    yield from bombs()


def whole() -> dict[str, bytes]:
    """Files with nothing wrong."""
    return {
        "jpeg-baseline.jpg": encode(picture(), "JPEG", exif=exif_block()),
        "jpeg-progressive.jpg": encode(picture(), "JPEG", progressive=True),
        "jpeg-cmyk.jpg": encode(picture("CMYK"), "JPEG"),
    }


def odd() -> Iterator[BrokenPhoto]:
    """Files that hold a photo in an unusual way."""
    for orientation in range(1, 9):
        content = encode(picture(), "JPEG", exif=exif_block(orientation))
        yield BrokenPhoto(f"jpeg-orientation-{orientation}.jpg", "odd", "restored", content)
    contents = {
        "grey": encode(picture("L"), "JPEG"),
        "cmyk": encode(picture("CMYK"), "JPEG"),
        "cmyk-broken-profile": encode(picture("CMYK"), "JPEG", icc_profile=PROFILE[:200] + bytes(300)),
        "cmyk-wrong-profile": encode(picture("CMYK"), "JPEG", icc_profile=PROFILE),
        "broken-profile": encode(picture(), "JPEG", icc_profile=bytes(range(256)) * 3),
        "cut-profile": encode(picture(), "JPEG", icc_profile=PROFILE[:-100]),
        "profile-part-missing": _without_second_profile_part(),
        "optimised-420": encode(picture(), "JPEG", optimize=True, subsampling=2),
        "restarts": encode(picture(), "JPEG", restart_marker_blocks=2),
        "30000x16": encode(picture(size=(30000, 16)), "JPEG"),
        "endless-exif": encode(picture(), "JPEG", exif=endless_exif()),
        "swollen-exif": encode(picture(), "JPEG", exif=swollen_exif()),
        "swollen-exif-and-no-resolution": _without_jfif(encode(picture(), "JPEG", exif=swollen_exif())),
        "exif-in-four-parts": _with_segments(encode(picture(), "JPEG"), [_app1(exif_block() + bytes(65000))] * 4),
        "no-exif-in-exif": encode(picture(), "JPEG", exif=b"Exif\0\0"),
        "many-comments": _with_segments(encode(picture(), "JPEG"), [b"\xff\xfe\0\x04ab"] * 300),
        "mpo-two-pictures": encode(picture(), "MPO", save_all=True, append_images=[picture(seed=1)]),
        "something-behind": encode(picture(), "JPEG") + np.random.default_rng(0).bytes(200_000),
    }
    for name, content in contents.items():
        kind: Kind = "wide" if name.endswith("x16") else "odd"
        yield BrokenPhoto(f"jpeg-{name}.jpg", kind, "restored", content)
    for width, height in ((1, 1), (1, 60), (30000, 1), (15, 40)):
        content = encode(picture(size=(width, height)), "JPEG")
        yield BrokenPhoto(f"jpeg-{width}x{height}.jpg", "odd", "refused", content)


def lying() -> Iterator[BrokenPhoto]:
    """Headers that say what is not so, and kinds of JPEG that cameras do not make."""
    good = encode(picture(), "JPEG")
    contents = {
        "signature-alone": b"\xff\xd8\xff",
        "no-scan": good[: good.index(b"\xff\xda")] + END,
        "no-tables": good[:2] + good[good.index(b"\xff\xc0") :],
        "65535x65535": _resized(good, 65535, 65535),
        "65500x3000-of-no-data": _resized(good[: good.index(b"\xff\xda") + 14] + END, 65500, 3000),
        "12000x4000-of-no-data": _resized(good[: good.index(b"\xff\xda") + 14] + END, 12000, 4000),
        "height-0-and-dnl": _resized(good, 61, 0)[:-2] + b"\xff\xdc\0\x04\xff\xff" + END,
        "width-0": _resized(good, 0, 43),
        "segment-past-the-end": good[:2] + b"\xff\xe1\xff\xff" + good[20:],
        "two-components": _header(64, 64, "baseline", components=2) + END,
        "12-bit": good.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"),
        "lossless": _header(64, 64, "lossless") + _scan(1, b"") + END,
    }
    for name, content in contents.items():
        yield BrokenPhoto(f"jpeg-{name}.jpg", "lying", "refused", content)
    empty = good[:2] + b"\xff\xe1\0\0" + good[2:]
    yield BrokenPhoto("jpeg-segment-of-length-0.jpg", "lying", "either", empty)
    arithmetic = _header(64, 64, "arithmetic") + _scan(0, bytes(9)) + END
    yield BrokenPhoto("jpeg-arithmetic.jpg", "lying", "either", arithmetic)
    yield BrokenPhoto("jpeg-wrong-height.jpg", "lying", "either", _resized(good, 61, 47))


def bombs() -> Iterator[BrokenPhoto]:
    """Small files that would keep a decoder busy for long."""
    yield BrokenPhoto("jpeg-5000-scans.jpg", "bomb", "refused", many_scans(7000, 5000))
    yield BrokenPhoto("jpeg-5000-scans-behind-a-false-end.jpg", "bomb", "refused", many_scans(7000, 5000, hide=True))
    contents = {"million-fillers": b"\xff" * 3_000_000, "million-stray-bytes": b"\x07" * 3_000_000}
    for name, extra in contents.items():
        content = _with_segments(encode(picture(), "JPEG"), [extra])
        yield BrokenPhoto(f"jpeg-{name}.jpg", "bomb", "either", content)
    crowded = _with_segments(encode(picture(), "JPEG"), [b"\xff\xe5\0\x02"] * 1_000_000)
    yield BrokenPhoto("jpeg-million-segments.jpg", "bomb", "refused", crowded)


def many_scans(side: int, num_scans: int, *, hide: bool = False) -> bytes:
    """A grey progressive JPEG in which every scan says in a few bytes that all blocks stay as they are.

    Args:
        side: width and height in pixels.
        num_scans: one of the constant coefficients, the others of the rest.
        hide: puts a comment that looks like the end of the file before the second scan.
    """
    num_blocks = ((side + 7) // 8) ** 2
    first = _scan(0, bytes(num_blocks // 8 + 1))
    runs = "".join("0" + f"{32767 - 16384:014b}" for _ in range(num_blocks // 32767 + 1))
    bits = runs + "1" * (-len(runs) % 8)
    again = _scan(1, int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0"))
    comment = b"\xff\xfe\0\x04" + END if hide else b""
    return _header(side, side, "progressive") + first + comment + again * (num_scans - 1) + END


def _header(width: int, height: int, kind: str, *, components: int = 1) -> bytes:
    """What comes before the scans: a quantisation table, the frame, and Huffman tables of one code each."""
    table = b"\xff\xdb\0\x43\0" + bytes([16] * 64)
    layers = b"".join(bytes([number, 0x11, 0]) for number in range(1, components + 1))
    frame = struct.pack(">BBHBHHB", 0xFF, SOF[kind], 8 + 3 * components, 8, height, width, components) + layers
    one_code = bytes([1, *[0] * 15])  # "0"
    codes = b"\xff\xc4\0\x14\x00" + one_code + b"\x00" + b"\xff\xc4\0\x14\x10" + one_code + b"\xe0"
    return b"\xff\xd8" + table + frame + codes


def _scan(first: int, data: bytes) -> bytes:
    last = 0 if first == 0 else 63
    return b"\xff\xda\0\x08\x01\x01\0" + bytes([first, last, 0]) + data


def _resized(content: bytes, width: int, height: int) -> bytes:
    """The file, saying that it is of another size."""
    frame = content.index(b"\xff\xc0")
    return content[: frame + 5] + struct.pack(">HH", height, width) + content[frame + 9 :]


def _app1(content: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(content[:65533]) + 2) + content[:65533]


def _with_segments(content: bytes, segments: list[bytes]) -> bytes:
    return content[:2] + b"".join(segments) + content[2:]


def _without_jfif(content: bytes) -> bytes:
    """The file without the segment that holds the resolution, for which readers then look into the EXIF block."""
    return content[:2] + content[content.index(b"\xff\xe1") :]


def _without_second_profile_part() -> bytes:
    long = encode(picture(), "JPEG", icc_profile=PROFILE + bytes(70000))
    part = long.index(b"ICC_PROFILE\0\x02") - 4
    (length,) = struct.unpack_from(">H", long, part + 2)
    return long[:part] + long[part + 2 + length :]


def large() -> Iterator[BrokenPhoto]:
    """Legal photos with many pixels."""
    flat = Image.new("L", (16000, 12000))
    for name, progressive in (("", False), ("-progressive", True)):
        content = encode(flat, "JPEG", progressive=progressive)
        yield BrokenPhoto(f"jpeg-192-megapixels{name}.jpg", "large", "restored", content)
