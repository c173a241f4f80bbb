"""JPEG files: their markers, read before a decoder is let loose on what is between them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import IO

from nrknet import exif
from nrknet.photo import Refusal, damaged

_MOST_SCANS = 100
"""Cameras and programs write up to 18; a decoder goes over the whole photo for each, however few bytes it has."""
_MOST_SEGMENTS = 5000
_MOST_JUNK = 1 << 16
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # those in coded pixels, and fillers, are none
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_START, _END, _SCAN, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
_PIXELS_PER_BYTE = {0xC0: 512, 0xC1: 512, 0xC2: 1024}
"""No more than these are in a byte: a block of 64 takes 2 bits, or 1 in a progressive file; doubled to be sure."""


def prepare(data: bytes) -> bytes:
    """Refuse a file that is cut short or keeps a decoder busy; return it with one EXIF segment at most."""
    num_scans, blocks = 0, []
    for marker, start, end in _segments(data):
        num_scans += marker == _SCAN
        if marker == _END and num_scans:
            break
        if num_scans > _MOST_SCANS:
            raise _too_many_scans()
        if marker == _APP1 and data[start : start + 6] == exif.PREFIX:
            blocks.append((start - 4, end))
    else:
        raise Refusal("the file is cut short")
    for start, end in reversed(blocks[1:]):  # a longer block than fits into one could not be written again
        data = data[:start] + data[end:]
    return data


def check_filled(data: bytes) -> None:
    """Refuse a file that is too short for its pixels, which a decoder would make up."""
    for marker, start, _ in _segments(data):
        if marker in _FRAMES:
            width, height = _width_and_height(data, start)
            if marker in _PIXELS_PER_BYTE and width * height > len(data) * _PIXELS_PER_BYTE[marker]:
                raise Refusal("the file is cut short")
            return


def size(file: IO[bytes]) -> tuple[int, int, int]:
    """Return width, height and EXIF orientation, from what comes before the pixels."""
    found = _size(file.read(1 << 20))
    if found is None:
        file.seek(0)
        found = _size(file.read())
    if found is None:
        raise Refusal("the file is cut short")
    return found


def _size(data: bytes) -> tuple[int, int, int] | None:
    orientation, found = None, None
    for marker, start, end in _segments(data):
        if marker == _APP1 and data[start : start + 6] == exif.PREFIX and orientation is None:
            orientation, _ = exif.reset_orientation(data[start:end])
        if marker in _FRAMES and found is None:
            found = _width_and_height(data, start)
        if marker == _SCAN and found is not None:
            return *found, orientation or 1
    return None


def check_piece(data: bytes, most_pixels: int) -> None:
    """Refuse a JPEG inside of another file that is larger than its place in it, or keeps a decoder busy."""
    num_scans = 0
    for marker, start, _ in _segments(data):
        num_scans += marker == _SCAN
        if num_scans > _MOST_SCANS:
            raise _too_many_scans()
        if marker in _FRAMES and math.prod(_width_and_height(data, start)) > most_pixels:
            raise damaged()


def _too_many_scans() -> Refusal:
    return Refusal(f"it has more than {_MOST_SCANS} scans, as no camera writes it")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of what is in each segment; of a scan, its header alone.

    Raises:
        Refusal: there are too many, or too much between them.
    """
    position, in_scans = 2, False
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None:
            return
        if not in_scans and found.start() - position > _MOST_JUNK:
            raise damaged()
        marker, start = data[found.end() - 1], found.end()
        if marker in (_START, _END):
            position = start
            yield marker, start, start
            continue
        position = start + max(2, int.from_bytes(data[start : start + 2], "big"))
        in_scans = in_scans or marker == _SCAN
        yield marker, start + 2, position
    raise damaged()


def _width_and_height(data: bytes, start: int) -> tuple[int, int]:
    height, width = (int.from_bytes(data[start + at : start + at + 2], "big") for at in (1, 3))
    return width, height
