"""Photos in tiles: the network runs on overlapping pieces, whose seams are blended."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nrknet.analysis import Pixels, ScaleDetails, blur_radius, to_rgb
from nrknet.bands import Band
from nrknet.model import NRKNet, NRKNetOutput
from nrknet.neumann import fuse_scales
from nrknet.numerics import NotFinite, is_finite

log = logging.getLogger(__name__)

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


def rise() -> Tensor:
    """(SEAM,) weights of a tile over the seam at its start; the tile before has what is missing to 1."""
    return (torch.arange(SEAM) + 0.5) / SEAM


class Column:
    """A column of tiles: it takes over the blended seam of the one before it, and leaves its own to the next.

    Attributes:
        number: from left to right.
        start, stop, first: as in `Span`.
    """

    def __init__(self, number: int, span: Span, before: "Column | None", seam: Tensor | None) -> None:
        self.number, self._before, self._seam = number, before, seam
        self.start, self.stop, self.first, self._last = span

    @classmethod
    def all(cls, size: tuple[int, int], tile: int, context: int, multiple: int) -> "list[Column]":
        """The columns of a photo of this (height, width)."""
        height, width = size
        columns: list[Column] = []
        found = spans(width, tile, context, multiple)
        for i, span in enumerate(found):
            seam = torch.empty(4, height, SEAM) if i + 1 < len(found) else None
            columns.append(cls(i, span, columns[-1] if columns else None, seam))
        return columns

    def blended(self, x: Tensor, row: int, *, plane: int = 0) -> Tensor:
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


class TiledNetwork:
    """An NRKNet on a GPU, say, that sees no more of a photo's height than a tile at a time.

    Args:
        model: in evaluation mode.
        tile: rows of a tile.
        context: rows that are read on both sides of it.
        precision: makes the context manager under which the model runs.
        exact: the same in float32, for tiles that were too much for the other.
    """

    def __init__(
        self, model: NRKNet, *, tile: int, context: int, precision: Callable[[], AbstractContextManager[None]],
        exact: Callable[[], AbstractContextManager[None]],
    ) -> None:  # fmt: skip
        self._model, self._tile, self._context = model, tile, context
        self._precision, self._exact = precision, exact

    def __call__(
        self, photo: Pixels, *, radius: bool = False, details: list[ScaleDetails] | None = None,
        highest: int | None = None,
    ) -> Iterator[Band]:  # fmt: skip
        """As `BandedNetwork`; one band is a tile without the seam that it shares with the next one."""
        height = len(photo)
        rows = spans(height, self._tile, self._context, self._model.config.size_multiple)
        if details is not None and len(rows) > 1:
            details += _details(self.forward(photo))
        pending: Tensor | None = None  # lower end of the tile above
        for i, row in enumerate(rows):
            output, part = self._tile_of(photo, row, radius, highest)
            if details is not None and len(rows) == 1:
                details += _details(output)
            if pending is not None:
                part[:, :SEAM] = pending + rise()[:, None] * part[:, :SEAM]
            if i + 1 < len(rows):
                pending = (1 - rise())[:, None] * part[:, -SEAM:]
                part = part[:, :-SEAM]
            yield Band(row.first, row.first + part.shape[1], part[:3], part[3:] if radius else None)

    def _tile_of(self, photo: Pixels, row: Span, radius: bool, highest: int | None) -> tuple[NRKNetOutput, Tensor]:
        """What the network gives for a tile, and the rows it is responsible for; again in float32 if that ran over."""
        for precision in (self._precision, self._exact):
            output = self.forward(photo[row.start : row.stop], precision)
            part = self._parts(output, radius, highest)[:, : row.stop - row.start, : photo.shape[1]]
            part = part[:, row.first - row.start : row.last - row.start].float().cpu()
            if is_finite(part):
                return output, part
            log.warning("numbers ran over in rows %d to %d of a photo", row.first, row.last)
        raise NotFinite(row.first, row.last)

    def forward(
        self, photo: Pixels, precision: Callable[[], AbstractContextManager[None]] | None = None
    ) -> NRKNetOutput:
        """What the network gives for a photo as one tile."""
        device = next(self._model.parameters()).device
        image = to_rgb(_to_tensor(photo).to(device), self._model.config)  # its own inverse
        with (precision or self._precision)():
            return self._model(image)

    def _parts(self, output: NRKNetOutput, radius: bool, highest: int | None) -> Tensor:
        """Colours, and where it is wanted blur radius: (3 or 4, h, w)."""
        colours = output.image[0]
        if highest is not None:
            terms, expansion = [scale.terms for scale in output.scales], self._model.config.expansion
            height, width = colours.shape[-2:]
            colours = fuse_scales(terms, expansion=expansion, highest=highest)[0, :, :height, :width]
        if not radius:
            return colours
        height, width = colours.shape[-2:]
        return torch.cat([colours, blur_radius(output.scales[-1])[0, :, :height, :width].to(colours)])


def _details(output: NRKNetOutput) -> list[ScaleDetails]:
    return [ScaleDetails(s.terms, s.coefficients, s.operator) for s in output.scales]


def _to_tensor(image: Pixels) -> Tensor:
    """(H,W,3) uint8 or uint16 -> (1,3,H,W) float32 in [0,1]."""
    scaled = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None].contiguous()
    return scaled.div_(float(np.iinfo(image.dtype).max))
