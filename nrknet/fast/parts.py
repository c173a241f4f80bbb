"""How maps are put into one map."""

from typing import NamedTuple

from nrknet.arrays import Map

COPY, AVERAGE, ENLARGE, REPEAT = range(4)
"""How `join` takes a map: as it is, or averaged, bilinearly enlarged or repeated by 2 in both directions."""


class Part(NamedTuple):
    """The first channels of a window of a map, and how `join` takes it."""

    window: Map
    first: int
    channels: int
    mode: int
