"""The one path from pixels to pixels: padding, tiles with blended seams, precision, and what the network saw."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nrknet.analysis import Analysis, Pixels, blur_radius, to_rgb
from nrknet.imageio import read_photo, write_photo
from nrknet.model import MIN_SIZE, NRKNet, NRKNetOutput
from nrknet.weights import bundled_models, load_model, pick_device

Progress = Callable[[float], None]

CONTEXT = 96
"""Pixels around a tile that inform it and are then cut away."""
SEAM = 32
"""Pixels over which neighbouring tiles are blended."""
MIN_TILE = 160
DETAIL_PIXELS = 4_000_000
"""Photos up to this size keep coefficients and terms in an Analysis; they take about 200 bytes a pixel."""


class _Span(NamedTuple):
    """One tile along one axis: it reads [start, stop) and is responsible for [first, last)."""

    start: int
    stop: int
    first: int
    last: int


class Deblurrer:
    """Deblurs photos of any size in bounded memory.

    Args:
        model: an NRKNet, or anything `load_model` takes; "default" is the best network that is bundled.
        device: "auto" (CUDA, else MPS, else CPU), "cpu", "cuda", "mps".
        precision: "exact" (float32 throughout), or "auto": bfloat16 coefficients on CUDA, float32 elsewhere;
            pixels are always computed in float32.
        tile: side in pixels of the tiles that large photos are split into, at least 160, or "auto"; the network
            reads 96 pixels more on every side of a tile.

    Raises:
        ValueError: an unknown model, device or precision, or a tile that is too small; one sentence.
    """

    def __init__(
        self,
        model: NRKNet | str | Path = "default",
        *,
        device: str | torch.device = "auto",
        precision: str = "auto",
        tile: int | str = "auto",
    ) -> None:
        if precision not in ("auto", "exact"):
            raise ValueError(f"precision must be 'auto' or 'exact', got {precision!r}")
        if tile != "auto" and (not isinstance(tile, int) or isinstance(tile, bool) or tile < MIN_TILE):
            raise ValueError(f"tile must be 'auto' or a whole number of at least {MIN_TILE} pixels, got {tile!r}")
        if isinstance(model, str) and model == "default":
            model = next(iter(bundled_models()), model)
        self.model = (model if isinstance(model, NRKNet) else load_model(model, device=device)).eval()
        if isinstance(model, NRKNet) and device != "auto":
            self.model.to(pick_device(device))
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = next(self.model.parameters()).device
        self.precision = precision
        self.tile = self._automatic_tile() if tile == "auto" else int(tile)

    def _automatic_tile(self) -> int:
        """Larger for narrow networks and for GPUs: with its context, a tile is 1280, 896 or 2048 pixels wide."""
        if self.device.type == "cuda":
            return 2048 - 2 * CONTEXT
        return (1280 if self.model.config.widths[0] <= 32 else 896) - 2 * CONTEXT

    def __call__(self, image: Pixels, *, progress: Progress | None = None) -> Pixels:
        """Deblur one photo.

        Args:
            image: (H,W,3) uint8 or uint16 RGB, H and W at least 16.
            progress: called with the finished fraction, 0 to 1, after every tile.

        Returns:
            The restored photo, same shape and dtype; the input is not changed.

        Raises:
            ValueError: another shape or dtype, or a photo smaller than 16 pixels.
        """
        return self._run(image, progress)[0]

    @torch.inference_mode()
    def analyze(self, image: Pixels, *, details: bool = True, progress: Progress | None = None) -> Analysis:
        """Deblur one photo and keep what the network saw.

        Args:
            image: as for a call.
            details: also keep coefficients and terms (photos up to 4 megapixels).
            progress: as for a call.

        Raises:
            ValueError: as for a call.
        """
        restored, radius, whole = self._run(image, progress)
        kernels = to_rgb(self.model.atoms.kernels().float().cpu(), self.model.config)
        analysis = Analysis(restored, radius, None, None, kernels.numpy())
        if not details or radius.size > DETAIL_PIXELS:
            return analysis
        return analysis.with_details(whole or self._network(_to_tensor(image)), self.model.config)

    def _network(self, image: Tensor) -> NRKNetOutput:
        """(1,3,h,w) RGB on any device -> the network's output in the network's channel order."""
        image = to_rgb(image.to(self.device), self.model.config)  # its own inverse
        with self._precision():
            return self.model(image)

    def _precision(self) -> AbstractContextManager[None]:
        """On CUDA bfloat16 autocast, or for "exact" convolutions without TF32; float32 elsewhere."""
        if self.device.type != "cuda":
            return nullcontext()
        if self.precision == "exact":
            return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        return torch.autocast("cuda", torch.bfloat16)

    @torch.inference_mode()
    def _run(
        self, image: Pixels, progress: Progress | None
    ) -> tuple[Pixels, NDArray[np.float32], NRKNetOutput | None]:
        """Deblur tile by tile, one row of tiles at a time; at most two rows of float pixels are kept.

        Returns the photo, its blur radius, and the network's output where one tile is all of the photo.
        """
        _check(image)
        height, width = image.shape[:2]
        rows, columns = (_spans(n, self.tile + 2 * CONTEXT, self.model.config.size_multiple) for n in (height, width))
        restored = np.empty_like(image)
        radius = np.empty((height, width), np.float32)
        pending: Tensor | None = None  # lower end of the row above, to be blended into this row
        for number, row in enumerate(rows):
            band = torch.zeros(4, row.last - row.first, width)
            for done, column in enumerate(columns):
                output = self._network(_to_tensor(image[row.start : row.stop, column.start : column.stop]))
                part = self._inner(output, row, column)
                ramp = _ramp(column, width)
                band[..., column.first : column.last] += part * ramp
                if progress is not None:
                    progress((number * len(columns) + done + 1) / (len(rows) * len(columns)))
            band *= _ramp(row, height)[:, None]
            if pending is not None:
                band[:, : pending.shape[1]] += pending
            finished = rows[number + 1].first if number + 1 < len(rows) else height
            pending = band[:, finished - row.first :].clone()
            restored[row.first : finished] = _to_pixels(band[:3, : finished - row.first], image.dtype)
            radius[row.first : finished] = band[3, : finished - row.first].numpy()
        return restored, radius, output if len(rows) == len(columns) == 1 else None

    def _inner(self, output: NRKNetOutput, row: _Span, column: _Span) -> Tensor:
        """Restored colours and blur radius of one tile without its context: (4, h, w) float32 on the CPU."""
        colours = to_rgb(output.image, self.model.config)[0]
        size = (row.stop - row.start, column.stop - column.start)
        radius = blur_radius(output.scales[-1])[0, :, : size[0], : size[1]]
        inner = torch.cat([colours.float(), radius.float()])
        inner = inner[:, row.first - row.start : row.last - row.start]
        return inner[..., column.first - column.start : column.last - column.start].cpu()


def restore_file(deblurrer: Deblurrer, source: Path, target: Path, progress: Progress | None = None) -> None:
    """Read a photo, deblur it, write it with its profile, EXIF, alpha and depth; what the app and command line do.

    Args:
        deblurrer: the network.
        source: the photo.
        target: the file to write; its suffix names the format.
        progress: as for `Deblurrer`.

    Raises:
        ImageError: the photo cannot be read, or the target not written.
        ValueError: the photo is smaller than 16 pixels.
    """
    photo = read_photo(source)
    write_photo(target, photo.with_pixels(deblurrer(photo.pixels, progress=progress)))


def _check(image: Pixels) -> None:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"the image must be an (H,W,3) RGB array, got {getattr(image, 'shape', type(image).__name__)}")
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"the image must be uint8 or uint16, got {image.dtype}")
    if min(image.shape[:2]) < MIN_SIZE:
        height, width = image.shape[:2]
        raise ValueError(f"the photo is {width}x{height} pixels; at least {MIN_SIZE}x{MIN_SIZE} are needed")


def _spans(size: int, tile: int, multiple: int) -> list[_Span]:
    """Split an axis into spans of `tile` pixels, context included, that overlap by 2 CONTEXT + SEAM or more.

    They start at multiples of `multiple`.
    """
    if size <= tile:
        return [_Span(0, size, 0, size)]
    step = max((tile - 2 * CONTEXT - SEAM) // multiple, 1) * multiple
    starts = list(range(0, size - tile, step))
    last = -(-(size - tile) // multiple) * multiple
    starts.append(max(last, starts[-1] + multiple))
    spans: list[_Span] = []
    for i, start in enumerate(starts):
        stop = size if i == len(starts) - 1 else start + tile
        # a last tile that starts less than a SEAM after its neighbour waits for that one's first seam to end
        first = 0 if i == 0 else max(start + CONTEXT, spans[-1].first + SEAM)
        spans.append(_Span(start, stop, first, stop))
    return [s._replace(last=spans[i + 1].first + SEAM) if i + 1 < len(spans) else s for i, s in enumerate(spans)]


def _ramp(span: _Span, size: int) -> Tensor:
    """Weights of a tile along one axis: rising over the SEAM at its start, falling at its end; neighbours sum to 1."""
    weights = torch.ones(span.last - span.first)
    rise = (torch.arange(SEAM) + 0.5) / SEAM
    if span.first > 0:
        weights[:SEAM] *= rise
    if span.last < size:
        weights[-SEAM:] *= rise.flip(0)
    return weights


def _to_tensor(image: Pixels) -> Tensor:
    """(H,W,3) uint8 or uint16 -> (1,3,H,W) float32 in [0,1]."""
    scaled = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None].contiguous()
    return scaled.div_(float(np.iinfo(image.dtype).max))


def _to_pixels(image: Tensor, dtype: np.dtype) -> Pixels:
    """(3,h,w) float -> (h,w,3) of the dtype, clipped and rounded."""
    top = float(np.iinfo(dtype).max)
    return image.clamp(0, 1).mul(top).round_().permute(1, 2, 0).numpy().astype(dtype)
