"""Photos in tiles: the network runs on overlapping pieces, whose seams are blended."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from nrknet.analysis import ScaleDetails, blur_radius, to_rgb
from nrknet.arrays import Floats, Pixels
from nrknet.bands import Band
from nrknet.columns import SEAM, Span, rise, spans
from nrknet.model import NRKNet, NRKNetOutput
from nrknet.neumann import fuse_scales
from nrknet.numerics import NotFinite, is_finite

log = logging.getLogger(__name__)


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
        pending: Floats | None = None  # lower end of the tile above
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

    @torch.inference_mode()
    def _tile_of(self, photo: Pixels, row: Span, radius: bool, highest: int | None) -> tuple[NRKNetOutput, Floats]:
        """What the network gives for a tile, and the rows it is responsible for; again in float32 if that ran over."""
        for precision in (self._precision, self._exact):
            output = self.forward(photo[row.start : row.stop], precision)
            part = self._parts(output, radius, highest)[:, : row.stop - row.start, : photo.shape[1]]
            numbers: Floats = part[:, row.first - row.start : row.last - row.start].float().cpu().numpy()
            if is_finite(numbers):
                return output, numbers
            log.warning("numbers ran over in rows %d to %d of a photo", row.first, row.last)
        raise NotFinite(row.first, row.last)

    @torch.inference_mode()
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
