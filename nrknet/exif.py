"""The EXIF block of a photo: what says which way is up, and its tags from and to TIFF files."""

from __future__ import annotations

import struct
from typing import IO, Any

from PIL import Image

PREFIX = b"Exif\0\0"
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD, _IMAGE_DESCRIPTION = 0x8769, 0x8825, 0xA005, 270
# The TIFF tags that describe the photo; the others say how its pixels lie in the file. 18246 is the rating, 40091-40095
# are the title, comment, author, keywords and subject of Windows.
_DESCRIPTIVE_TAGS = (_IMAGE_DESCRIPTION, 271, 272, 305, 306, 315, 316, 18246, 33432, *range(40091, 40096))


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
