"""How maps are put into one map."""

from typing import NamedTuple

from nrknet.arrays import Floats, Map

COPY, AVERAGE, ENLARGE, REPEAT, BLOCKS = range(5)
"""How `join` takes a map: as it is; averaged, bilinearly enlarged or repeated by 2 in both directions; or `Blocks`."""


class Part(NamedTuple):
    """The first channels of a window of a map, and how `join` takes it."""

    window: Map
    first: int
    channels: int
    mode: int


class Blocks(NamedTuple):
    """gain (one - other) + shift of planar maps (3, n, w), or of one alone: stem x stem pixels become channels."""

    one: Floats
    other: Floats | None
    stem: int
    gain: float = 1
    shift: float = 0
