"""Photos restored a band of rows at a time: what the networks for CPUs and for other devices have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nrknet.arrays import Floats, Pixels

if TYPE_CHECKING:
    from nrknet.analysis import ScaleDetails


@dataclass(frozen=True)
class Band:
    """Rows [start, stop) of a restored photo, until the next band is asked for.

    Attributes:
        start, stop: the rows.
        image: (3,n,W) float32 in the network's order of colours, not clipped.
        radius: (1,n,W) float32 blur radius in pixels, or None.
    """

    start: int
    stop: int
    image: Floats
    radius: Floats | None


class BandedNetwork(Protocol):
    """An NRKNet that takes photos of any height in bounded memory."""

    def __call__(
        self, photo: Pixels, *, radius: bool = False, details: list[ScaleDetails] | None = None,
        highest: int | None = None,
    ) -> Iterator[Band]:  # fmt: skip
        """Restore a photo from top to bottom.

        Args:
            photo: (H,W,3) uint8 or uint16 RGB, H and W at least 16.
            radius: give the blur radius too.
            details: an empty list; after the last band it has what the network saw at every scale, coarse -> fine.
                That takes memory for the whole photo.
            highest: make the image of the powers of I - D_t up to this one alone, from 1 (Eq. 10 cut short), without
                what an image head corrects; None for all of what the network does. Without `details` only.
        """
        ...
