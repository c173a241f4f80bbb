"""Pictures and maps made smaller, so that they travel to the browser quickly."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]


def shrink(array: Array, longest: int) -> Array:
    """The means over boxes of pixels, so that the longer side has at most `longest`; the array itself if it has.

    Args:
        array: (H,W) or (H,W,C) of any real type.
        longest: pixels.
    Returns:
        (h,w) or (h,w,C) of the same type.
    """
    height, width = array.shape[:2]
    factor = longest / max(height, width)
    if factor >= 1:
        return array
    return _resized(array, (max(1, round(height * factor)), max(1, round(width * factor))))


def fit_pixels(array: Array, most: int) -> Array:
    """The same reduced to at most `most` pixels in all, where it has more."""
    height, width = array.shape[:2]
    factor = (most / (height * width)) ** 0.5
    return array if factor >= 1 else _resized(array, (max(1, int(height * factor)), max(1, int(width * factor))))


def _resized(array: Array, size: tuple[int, int]) -> Array:
    """Channel by channel, because Pillow has no colours of 16 bits or floating point."""
    layers = array[..., None] if array.ndim == 2 else array
    small = [
        np.asarray(Image.fromarray(np.ascontiguousarray(layer, np.float32)).resize(size[::-1], Image.Resampling.BOX))
        for layer in np.moveaxis(layers, -1, 0)
    ]
    means = np.stack(small, axis=-1)
    if np.issubdtype(array.dtype, np.integer):
        means = np.round(means)
    return means.reshape(*size, *array.shape[2:]).astype(array.dtype)
