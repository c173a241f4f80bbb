"""BMP files: those with run lengths, which are decoded pixel by pixel."""

from __future__ import annotations

import struct

from nrknet.photo import Refusal

_MOST_RUN_PIXELS = 1_000_000
"""Decoding these takes a second."""


def prepare(data: bytes) -> bytes:
    """Refuse a large file of run lengths: a few bytes can stand for any number of pixels, and each takes its time."""
    if len(data) >= 34 and int.from_bytes(data[14:18], "little") >= 40:
        width, height, compression = struct.unpack_from("<ii4xI", data, 18)
        if compression in (1, 2) and abs(width * height) > _MOST_RUN_PIXELS:
            raise Refusal("it is a BMP of run lengths, handled up to 1 megapixel; save it without them, or as PNG")
    return data
