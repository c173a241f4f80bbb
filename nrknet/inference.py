"""The one path from pixels to pixels: precision, columns with blended seams, and what the network saw."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from nrknet.accelerators import on_cpu
from nrknet.arrays import Floats, Pixels
from nrknet.bands import BandedNetwork
from nrknet.bundled import bundled_folder, bundled_models
from nrknet.collection import no_collection
from nrknet.columns import CONTEXT, MIN_TILE, Column
from nrknet.fast.elements import to_pixels
from nrknet.fast.network import StreamedNetwork
from nrknet.imageio import read_photo, write_photo
from nrknet.numerics import NotFinite, is_finite
from nrknet.parameters import Parameters
from nrknet.photo import SMALLEST_SIDE, check_sides
from nrknet.strength import blend, check_strength

if TYPE_CHECKING:
    import torch

    from nrknet.analysis import Analysis, ScaleDetails
    from nrknet.model import NRKNet

log = logging.getLogger(__name__)

Progress = Callable[[float], None]
AnyPixels = TypeVar("AnyPixels", bound=Pixels)  # whoever gives 8 bits gets 8 bits, and type checkers know it

DETAIL_PIXELS = 4_000_000
"""Photos up to this size keep coefficients and terms in an Analysis; they take about 200 bytes a pixel."""
KERNEL_REACH = 384
"""Pixels around one that tell its kernel."""


class Deblurrer:
    """Deblurs photos of any size in bounded memory.

    On a CPU a network that comes with the package does without PyTorch until somebody asks for what it saw, or for
    `model`: importing PyTorch takes longer than to restore a photo.

    Args:
        model: an NRKNet, or anything `load_model` takes; "default" is the best network that is bundled.
        device: "auto" (CUDA, else MPS, else CPU), "cpu", "cuda", "mps".
        precision: "exact" (float32 throughout), or "auto": bfloat16 coefficients on CUDA; on a CPU float32 that is
            kept in float16 between convolutions, of which wide ones multiply 16-bit integers, where the processor does
            that by itself. Pixels are always computed in float32, and what runs over is computed again in float32.
            "exact" gives the same bits every time on one machine; elsewhere see docs/reliability.md.
        tile: side in pixels of the tiles that large photos are split into, at least 160, or "auto"; the network
            reads 128 pixels more on every side of a tile, 256 with "exact". On a CPU tiles are as high as the photo.

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
        self._parameters, self._on_cpu = _parameters(model, device)
        self.config = self._parameters.config
        self.precision = precision
        self._context = CONTEXT[precision]
        self.tile = self._automatic_tile() if tile == "auto" else int(tile)
        self._network = self._banded()

    @property
    def model(self) -> NRKNet:
        """The network, in evaluation mode; when its weights are changed, the next photo sees it."""
        return self._parameters.model

    @property
    def device(self) -> torch.device:
        """Where it works."""
        import torch

        return torch.device("cpu") if self._on_cpu else next(self.model.parameters()).device

    def _automatic_tile(self) -> int:
        """As wide as memory well under 1 GB allows on a CPU; with its context 2048 pixels wide on a GPU."""
        if self._on_cpu:
            return 3072 if self.config.widths[0] <= 32 else 2048
        return 2048 - 2 * self._context

    def _banded(self) -> BandedNetwork:
        if self._on_cpu:
            return StreamedNetwork(self._parameters, halves=self.precision == "auto")
        import torch

        from nrknet.tiling import TiledNetwork

        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return TiledNetwork(
            self.model, tile=self.tile, context=self._context, precision=self._precision, exact=self._exact
        )

    @property
    def num_terms(self) -> int:
        """The highest power of I - D_t in the network's series (Eq. 10)."""
        config = self.config
        return max(config.powers(scale) for scale in range(1, config.num_scales + 1))

    def __call__(
        self, image: AnyPixels, *, strength: float = 1.0, terms: int | None = None, progress: Progress | None = None
    ) -> AnyPixels:
        """Deblur one photo.

        Args:
            image: (H,W,3) uint8 or uint16 RGB, H and W at least 16.
            strength: 0 (the photo as it is) to 1 (the restored one); between them both are mixed, see `blend`.
            terms: cut the series of Eq. 10 short after this power of I - D_t, from 1; what an image head corrects is
                left out then. None, or `num_terms` and more: the network as it was trained.
            progress: called with the finished fraction, 0 to 1, a few times a second or, on a GPU, after every tile.

        Returns:
            The restored photo, same shape and dtype; the input is not changed.

        Raises:
            ValueError: another shape or dtype, a photo smaller than 16 pixels, a strength or terms out of range; or the
                network's numbers run over (NotFinite).
        """
        check_strength(strength)
        return cast(AnyPixels, blend(image, self._run(image, progress, terms=terms), strength))

    def analyze(
        self, image: Pixels, *, details: bool = True, terms: int | None = None, progress: Progress | None = None
    ) -> Analysis:
        """Deblur one photo and keep what the network saw.

        Args:
            image: as for a call.
            details: also keep coefficients and terms (photos up to 4 megapixels).
            terms: as for a call; without details only, which are of the whole series.
            progress: as for a call.

        Raises:
            ValueError: as for a call.
        """
        import torch

        from nrknet.analysis import Analysis, to_rgb

        _check(image)
        if details and terms is not None:
            raise ValueError("details are of the whole series: with terms, analyze needs details=False")
        radius = np.empty(image.shape[:2], np.float32)
        scales: list[ScaleDetails] | None = [] if details and radius.size <= DETAIL_PIXELS else None
        restored = self._run(image, progress, radius, scales, terms=terms)
        with torch.inference_mode():
            kernels = to_rgb(self.model.atoms.kernels().float().cpu(), self.config)
            analysis = Analysis(restored, radius, None, None, kernels.numpy())
            return analysis if scales is None else analysis.with_details(scales, self.config)

    def kernel_at(self, image: Pixels, row: int, column: int) -> tuple[Floats, float]:
        """The defocus kernel at one pixel of a photo of any size (Eq. 1), from the pixels around it.

        The network looks at the pixels within KERNEL_REACH and no others, so that this takes as long for any photo.
        `Analysis.kernel_at` is the same for a photo that was looked at as a whole.

        Args:
            image: as for a call.
            row, column: of the pixel.

        Returns:
            (1 or 3,S,S) float32 the kernel, and the blur radius there in pixels.

        Raises:
            ValueError: as for a call, or a pixel outside the photo.
        """
        _check(image)
        height, width = image.shape[:2]
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(f"the pixel must lie in the photo of {height}x{width}, got row {row}, column {column}")
        # from a multiple on, so that scales and stem halve the same pixels as in the whole photo
        multiple = self.config.size_multiple
        top, left = (max(n - KERNEL_REACH, 0) // multiple * multiple for n in (row, column))
        bottom, right = max(row + KERNEL_REACH, top + SMALLEST_SIDE), max(column + KERNEL_REACH, left + SMALLEST_SIDE)
        seen = self.analyze(image[top:bottom, left:right])
        return seen.kernel_at(row - top, column - left), float(seen.defocus_map[row - top, column - left])

    def _highest(self, terms: int | None) -> int | None:
        """The highest power to take, None for the network as it was trained."""
        if terms is None:
            return None
        if isinstance(terms, bool) or not isinstance(terms, int) or terms < 1:
            raise ValueError(f"terms must be a whole number from 1, got {terms!r}")
        return terms if terms < self.num_terms else None

    def _precision(self) -> AbstractContextManager[None]:
        """On CUDA bfloat16 autocast, unless "exact"; none elsewhere."""
        import torch

        if self.device.type == "cuda" and self.precision == "auto":
            return torch.autocast("cuda", torch.bfloat16)
        return self._exact()

    def _exact(self) -> AbstractContextManager[None]:
        """Float32, on CUDA by convolutions without TF32 whose results do not depend on the order of threads."""
        if self.device.type != "cuda":
            return nullcontext()
        import torch

        return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)

    @no_collection()
    def _run(
        self, image: Pixels, progress: Progress | None, radius: NDArray[np.float32] | None = None,
        details: list[ScaleDetails] | None = None, terms: int | None = None,
    ) -> Pixels:  # fmt: skip
        """The restored photo; in float32 where numbers run over before.

        Args:
            image, progress: as for a call.
            radius: (H,W), to be filled with the blur radius in pixels.
            details: an empty list to be filled with what the network saw, coarse -> fine.
            terms: as for a call.
        """
        _check(image)
        highest = self._highest(terms)
        try:
            return self._restored(self._network, image, progress, radius, details, highest)
        except NotFinite:
            if not (isinstance(self._network, StreamedNetwork) and self._network.keeps_halves):
                raise
            log.warning("numbers ran over in float16: the photo is restored again in float32")
            if details is not None:
                details.clear()
            return self._restored(StreamedNetwork(self._parameters), image, progress, radius, details, highest)

    def _restored(
        self, network: BandedNetwork, image: Pixels, progress: Progress | None, radius: NDArray[np.float32] | None,
        details: list[ScaleDetails] | None, highest: int | None,
    ) -> Pixels:  # fmt: skip
        """Deblur columns of tiles from left to right, each from top to bottom; few rows of them exist as floats."""
        image = image if image.flags.c_contiguous else image.copy()
        height = len(image)
        restored = np.empty_like(image)
        columns = Column.all(image.shape[:2], self.tile, self._context, self.config.size_multiple)
        if details is not None and len(columns) > 1:
            for _ in network(image, details=details):
                pass
        for column in columns:
            part, whole = image[:, column.start : column.stop], len(columns) == 1
            kept = details if whole else None
            for band in network(part, radius=radius is not None, details=kept, highest=highest):
                if not is_finite(band.image):  # clipped and rounded, it would look like a photo
                    raise NotFinite(band.start, band.stop)
                colours = column.blended(band.image, band.start)
                where = slice(band.start, band.stop), slice(column.first, column.first + colours.shape[2])
                to_pixels(colours, restored[where], swap=self.config.channel_order == "bgr")
                if radius is not None and band.radius is not None:
                    radius[where] = column.blended(band.radius, band.start, plane=3)[0]
                if progress is not None:
                    progress((column.number * height + band.stop) / (len(columns) * height))
        return restored


def _parameters(model: NRKNet | str | Path, device: str | torch.device) -> tuple[Parameters, bool]:
    """The network, and whether it is on the CPU.

    Raises:
        ValueError: an unknown model or device; one sentence.
    """
    if isinstance(model, str) and model in bundled_models() and on_cpu(device):
        return Parameters(bundled_folder(model)), True
    from nrknet.weights import load_model, pick_device

    if isinstance(model, (str, Path)):
        model = load_model(model, device=device)
    elif device != "auto":
        model.to(pick_device(device))
    return Parameters(model.eval()), next(model.parameters()).device.type == "cpu"


def restore_file(
    deblurrer: Deblurrer, source: Path, target: Path, progress: Progress | None = None, *,
    strength: float = 1.0, terms: int | None = None,
) -> None:  # fmt: skip
    """Read a photo, deblur it, write it with its profile, EXIF, alpha and depth; what the app and command line do.

    Args:
        deblurrer: the network.
        source: the photo.
        target: the file to write; its suffix names the format.
        progress, strength, terms: as for `Deblurrer`.

    Raises:
        ImageError: the photo cannot be read, or the target not written.
        ValueError: the photo is smaller than 16 pixels.
    """
    photo = read_photo(source)
    pixels = deblurrer(photo.pixels, strength=strength, terms=terms, progress=progress)
    photo = photo.with_pixels(pixels)  # lets go of the blurred ones
    write_photo(target, photo)


def _check(image: Pixels) -> None:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"the image must be an (H,W,3) RGB array, got {getattr(image, 'shape', type(image).__name__)}")
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"the image must be uint8 or uint16, got {image.dtype}")
    check_sides(image.shape[1], image.shape[0])
