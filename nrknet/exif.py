"""The EXIF block of a photo: what says which way is up, and its tags from and to TIFF files."""

from __future__ import annotations

import io
import struct
from typing import IO, Any

from PIL import Image

PREFIX = b"Exif\0\0"
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD, _IMAGE_DESCRIPTION = 0x8769, 0x8825, 0xA005, 270
# The TIFF tags that describe the photo; the others say how its pixels lie in the file. 18246 is the rating, 40091-40095
# are the title, comment, author, keywords and subject of Windows.
_DESCRIPTIVE_TAGS = (_IMAGE_DESCRIPTION, 271, 272, 305, 306, 315, 316, 18246, 33432, *range(40091, 40096))

_DIRECTORIES = (_EXIF_IFD, _GPS_IFD, _INTEROP_IFD)
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value of each type of tags."""
_SHARED = 1 << 16
"""Bytes that small files, too, may use twice."""
_MOST_TAGS = 1000
"""In one directory; cameras write fewer than a hundred."""


def reset_orientation(exif: bytes) -> tuple[int, bytes | None]:
    """Return the orientation (1-8), and the EXIF block with it set to 1 and the thumbnail (the old look) unlinked.

    Edited in place, because maker notes hold offsets that rewriting would break. None for the block if it is damaged.
    """
    while exif.startswith(PREFIX):
        exif = exif[len(PREFIX) :]
    block, orientation = bytearray(exif), 1
    try:
        order = {b"II": "<", b"MM": ">"}[exif[:2]]
        (start,) = struct.unpack_from(order + "I", block, 4)
        (num_entries,) = struct.unpack_from(order + "H", block, start)
        end = start + 2 + 12 * num_entries
        for entry in range(start + 2, end, 12):
            tag, kind = struct.unpack_from(order + "HH", block, entry)
            if tag == 0x0112:
                (value,) = struct.unpack_from(order + ("I" if kind == 4 else "H"), block, entry + 8)
                orientation = value if 1 <= value <= 8 else 1
                struct.pack_into(order + "HIHH", block, entry + 2, 3, 1, 1, 0)
        struct.pack_into(order + "I", block, end, 0)
    except (KeyError, struct.error):
        return orientation, None
    return orientation, PREFIX + bytes(block)


def values_fit(file: IO[bytes]) -> bool:
    """Whether what the directories of a TIFF file, or of an EXIF block without its prefix, claim can be in it.

    Tags may share their values, and a file of a few kilobytes could so claim gigabytes, each tag the whole file.
    """
    length = file.seek(0, 2)
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    is_big = head[2:4] in (b"+\0", b"\0+")
    (start,) = struct.unpack_from(order + ("Q" if is_big else "I"), head, 8 if is_big else 4)
    seen, pending, left = set[int](), [start], 2 * length + _SHARED
    while pending:
        start = pending.pop()
        if start in seen:
            continue
        seen.add(start)
        file.seek(min(start, length))
        entries = _entries(file, order, is_big)
        if len(entries) > _MOST_TAGS:
            return False
        for tag, size, value in entries:
            left -= size
            if left < 0:
                return False
            if tag in _DIRECTORIES:
                pending.append(value)
    return True


def _entries(file: IO[bytes], order: str, is_big: bool) -> list[tuple[int, int, int]]:
    """Return tag, bytes outside of the directory, and the value as a number, of as many entries as there are."""
    count, entry, word = ("Q", "HHQQ", 8) if is_big else ("H", "HHII", 4)
    head = file.read(word if is_big else 2)
    if len(head) < struct.calcsize(count):
        return []
    number = min(struct.unpack(order + count, head)[0], _MOST_TAGS + 1)
    length = struct.calcsize("<" + entry)
    data = file.read(number * length)
    entries = struct.iter_unpack(order + entry, data[: len(data) // length * length])
    sizes = ((tag, how_many * _SIZES.get(kind, 1), value) for tag, kind, how_many, value in entries)
    return [(tag, size if size > word else 0, value) for tag, size, value in sizes]


def exif_of_tiff(file: IO[bytes], orientation: int) -> bytes:
    """Return what a TIFF file says about the photo as an EXIF block."""
    exif, in_file = Image.Exif(), Image.Exif()
    try:
        file.seek(0)
        in_file.load_from_fp(file)
        exif.update(_descriptive_tags(in_file))
        exif.tobytes()
    except Exception:  # damaged metadata, or BigTIFF's: no reason to refuse the pixels
        exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def tags_for_tiff(exif: bytes | None) -> dict[int, Any]:
    """Return the tags of an EXIF block that belong into a TIFF file; none if the block cannot be stored."""
    if not exif:
        return {}
    try:
        if not values_fit(io.BytesIO(exif.removeprefix(PREFIX))):
            return {}
        parsed = Image.Exif()
        parsed.load(exif)
        tags = _descriptive_tags(parsed)
        trial = Image.Exif()
        trial.update(tags)
        trial.tobytes()
        return tags
    except Exception:  # damaged metadata is no reason to lose the pixels
        return {}


def _descriptive_tags(exif: Image.Exif) -> dict[int, Any]:
    """Return the tags that describe the photo, those of the EXIF and GPS directories as nested dicts."""
    tags: dict[int, Any] = {tag: exif[tag] for tag in _DESCRIPTIVE_TAGS if tag in exif}
    if str(tags.get(_IMAGE_DESCRIPTION, "")).startswith(("{", "<")):  # a program's note about the file's layout
        del tags[_IMAGE_DESCRIPTION]
    for tag, value in tags.items():
        if isinstance(value, str):  # Pillow reads text as Latin-1 and writes it as ASCII, losing accents
            tags[tag] = value.encode("latin-1", "replace")
    for directory in (_EXIF_IFD, _GPS_IFD):
        nested = dict(exif.get_ifd(directory)) if directory in exif else {}
        nested.pop(_INTEROP_IFD, None)  # an offset into the old file
        if nested:
            tags[directory] = nested
    return tags
