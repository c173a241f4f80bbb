"""Half-way between a photo and its restored version."""

import math

import numpy as np

from nrknet.arrays import Pixels

_ROWS_AT_ONCE = 64


def check_strength(strength: float) -> None:
    """Raises ValueError unless the strength is a number from 0 to 1."""
    if not (isinstance(strength, (int, float)) and math.isfinite(strength) and 0 <= strength <= 1):
        raise ValueError(f"strength must be a number from 0 (the photo as it is) to 1, got {strength!r}")


def blend(photo: Pixels, restored: Pixels, strength: float) -> Pixels:
    """Y + strength (Z - Y), rounded, of the photo Y and its restored version Z.

    Both are taken as they would be written, so that a mixture made later, from the files, is the same.

    Args:
        photo, restored: (H,W,3) uint8 or uint16, both alike.
        strength: 0 (the photo) to 1 (the restored version).

    Returns:
        Same shape and dtype; `restored` itself at 1.

    Raises:
        ValueError: a strength out of range, or images that differ in shape or dtype.
    """
    check_strength(strength)
    if photo.shape != restored.shape or photo.dtype != restored.dtype:
        got = f"{photo.shape} {photo.dtype} and {restored.shape} {restored.dtype}"
        raise ValueError(f"a photo and its restored version must have one shape and dtype, got {got}")
    if strength == 1:
        return restored
    mixed = np.empty_like(photo)
    for start in range(0, len(photo), _ROWS_AT_ONCE):  # floats of a whole photo would take four times its memory
        rows = slice(start, start + _ROWS_AT_ONCE)
        before = photo[rows].astype(np.float32)
        mixed[rows] = np.rint(before + np.float32(strength) * (restored[rows] - before))
    return mixed
