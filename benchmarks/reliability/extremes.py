"""Photos at the edges of what there is: black, white, flat, checked, one bright pixel, saturated stripes."""

from collections.abc import Iterator

import numpy as np

from nrknet.arrays import Pixels


def constants(dtype: type[np.unsignedinteger], *, height: int = 40, width: int = 56) -> Iterator[tuple[str, Pixels]]:
    """Flat photos over the whole range, grey and coloured: name, pixels."""
    top = int(np.iinfo(dtype).max)
    for level in sorted({0, 1, 2, top // 255, top // 4, top // 2, 3 * top // 4, top - 1, top}):
        yield f"grey {level}", np.full((height, width, 3), level, dtype)
    for name, colour in {"red": (top, 0, 0), "blue": (0, 0, top), "sand": (top, top // 2, top // 5)}.items():
        yield name, np.full((height, width, 3), colour, dtype)


def patterns(dtype: type[np.unsignedinteger], *, height: int = 40, width: int = 56) -> Iterator[tuple[str, Pixels]]:
    """Photos of black and white alone, and noise: name, pixels."""
    top = int(np.iinfo(dtype).max)
    rows, columns = np.mgrid[:height, :width]
    single = np.zeros((height, width), bool)
    single[height // 2, width // 2] = True
    shapes = {
        "checkerboard of 1 pixel": (rows + columns) % 2 == 0,
        "checkerboard of 8 pixels": (rows // 8 + columns // 8) % 2 == 0,
        "stripes of 1 pixel": columns % 2 == 0,
        "stripes of 5 pixels": rows // 5 % 2 == 0,
        "an edge": columns < width // 2,
        "one bright pixel": single,
        "one dark pixel": ~single,
    }
    for name, shape in shapes.items():
        yield name, np.repeat(np.where(shape, top, 0).astype(dtype)[..., None], 3, axis=2)
    stripes = np.stack([shapes["stripes of 1 pixel"], rows % 2 == 0, columns // 3 % 2 == 0], axis=2)
    yield "saturated colours", np.where(stripes, top, 0).astype(dtype)
    yield "noise of black and white", np.random.default_rng(0).choice([0, top], (height, width, 3)).astype(dtype)


def everything(dtype: type[np.unsignedinteger], *, height: int = 40, width: int = 56) -> list[tuple[str, Pixels]]:
    """All of them."""
    sizes = {"height": height, "width": width}
    return [*constants(dtype, **sizes), *patterns(dtype, **sizes)]
