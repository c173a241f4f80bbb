"""Where photos are split into overlapping pieces, and how these are put together without a trace."""

from typing import NamedTuple

import numpy as np

from nrknet.arrays import Floats

CONTEXT = {"auto": 128, "exact": 256}
"""Pixels around a tile that inform it and are then cut away, by precision."""
SEAM = 32
"""Pixels over which neighbouring tiles are blended."""
MIN_TILE = 160


class Span(NamedTuple):
    """One tile along one axis: it reads [start, stop) and is responsible for [first, last)."""

    start: int
    stop: int
    first: int
    last: int


def spans(size: int, tile: int, context: int, multiple: int) -> list[Span]:
    """Split an axis into spans of `tile` pixels at most, and `context` on both sides of them, that share a SEAM.

    They start at multiples of `multiple`, and all read as many pixels, but for less than `multiple`.
    """
    if size <= tile + 2 * context:
        return [Span(0, size, 0, size)]
    shared = 2 * context + SEAM
    most = max((tile - SEAM) // multiple, 1) * multiple  # from the start of one to that of the next
    count = -(-(size - shared) // most)
    length = -(-(size - shared) // (count * multiple)) * multiple + shared
    last = -(-(size - length) // multiple)
    starts = [i * last // (count - 1) * multiple for i in range(count)]
    found: list[Span] = []
    for i, start in enumerate(starts):
        stop = min(start + length, size)
        first = 0 if i == 0 else start + context
        found.append(Span(start, stop, first, starts[i + 1] + context + SEAM if i + 1 < count else stop))
    return found


def rise() -> Floats:
    """(SEAM,) weights of a tile over the seam at its start; the tile before has what is missing to 1."""
    return (np.arange(SEAM, dtype=np.float32) + np.float32(0.5)) / np.float32(SEAM)


class Column:
    """A column of tiles: it takes over the blended seam of the one before it, and leaves its own to the next.

    Attributes:
        number: from left to right.
        start, stop, first: as in `Span`.
    """

    def __init__(self, number: int, span: Span, before: "Column | None", seam: Floats | None) -> None:
        self.number, self._before, self._seam = number, before, seam
        self.start, self.stop, self.first, self._last = span

    @classmethod
    def all(cls, size: tuple[int, int], tile: int, context: int, multiple: int) -> "list[Column]":
        """The columns of a photo of this (height, width)."""
        height, width = size
        columns: list[Column] = []
        found = spans(width, tile, context, multiple)
        for i, span in enumerate(found):
            seam = np.empty((4, height, SEAM), np.float32) if i + 1 < len(found) else None
            columns.append(cls(i, span, columns[-1] if columns else None, seam))
        return columns

    def blended(self, x: Floats, row: int, *, plane: int = 0) -> Floats:
        """Rows from `row` of what was computed for [start, stop): (C,n,w) -> (C,n,w') from `first` on.

        x is overwritten. `plane` is what x's first channel is among a Band's four: 0 to 2 the colours, 3 the radius.
        """
        where = slice(plane, plane + len(x)), slice(row, row + x.shape[1])
        x = x[..., self.first - self.start : self._last - self.start]
        if self._before is not None and self._before._seam is not None:
            x[..., :SEAM] = self._before._seam[where] + rise() * x[..., :SEAM]
        if self._seam is None:
            return x
        self._seam[where] = (1 - rise()) * x[..., -SEAM:]
        return x[..., :-SEAM]
