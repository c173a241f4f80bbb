"""Training data: streams of crops that a seed decides, and sharp photos that are defocused by the renderer for them."""

import io
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nrknet.curation import MOST_SOFT, Softness
from nrknet.defocus import DefocusConfig, render_scene
from nrknet.imageio import is_probably_image
from nrknet.processes import Processes
from nrknet.reading import in_threads, read_pixels

MOST_TRIES = 200
"""Crops drawn before the photos are taken for out of focus as a whole."""
VALIDATION_EVERY = 10
"""Every tenth photo of a folder, in sorted order, is kept for validation."""

AnyCrops = TypeVar("AnyCrops", bound="Crops")


@dataclass(frozen=True)
class Crops:
    """Blurred and sharp crops (B,3,S,S), float in [0,1] RGB or uint8 in a pool; radius (B,1,S,S) px where known."""

    blurred: Tensor
    sharp: Tensor
    radius: Tensor | None

    def each(self: AnyCrops, change: Callable[[Tensor], Tensor]) -> AnyCrops:
        """The same change made to all of them."""
        radius = None if self.radius is None else change(self.radius)
        return replace(self, blurred=change(self.blurred), sharp=change(self.sharp), radius=radius)

    def floats(self: AnyCrops) -> AnyCrops:
        """A batch from a pool: uint8 pixels to [0,1], half-precision radii to float32."""
        return self.each(lambda x: x.float() / 255 if x.dtype == torch.uint8 else x.float())

    def to(self: AnyCrops, device: torch.device | str, *, flip_colours: bool = False) -> AnyCrops:
        """Move to a device; `flip_colours` turns RGB to BGR for networks that expect that."""
        return self.each(lambda x: x.to(device).flip(1) if flip_colours and x.shape[1] == 3 else x.to(device))


@dataclass(frozen=True)
class Batch(Crops):
    """Rendered crops, whose radius is known."""

    radius: Tensor


class SharpPhotos:
    """Sharp photos of a folder, decoded once and kept in memory as uint8.

    Args:
        root: folder, searched recursively.
        least_side: photos with a shorter side are left out.

    Raises:
        ValueError: no folder, no usable photo, or a file that cannot be decoded; the message names it.
    """

    def __init__(self, root: Path, *, least_side: int) -> None:
        root = Path(root)
        if not root.is_dir():
            raise ValueError(f"{root} is not a folder; expected a folder of sharp photos")
        self.paths: list[Path] = []
        self.photos: list[Tensor] = []
        found = sorted(p for p in root.rglob("*") if is_probably_image(p) and p.is_file())
        for path, pixels in zip(found, in_threads(read_pixels, found, doing="reading photos"), strict=True):
            if min(pixels.shape[:2]) >= least_side:
                self.paths.append(path)
                self.photos.append(torch.from_numpy(pixels).permute(2, 0, 1).contiguous())
        if len(self.photos) < 2:
            raise ValueError(
                f"{root} holds {len(self.photos)} photos of at least {least_side} pixels a side "
                f"({len(found)} files with a photo's suffix); expected two or more sharp photos"
            )

    def split(self) -> tuple[list[Tensor], list[Tensor]]:
        """Training photos, and every tenth (at least one) for validation."""
        held_out = set(range(0, len(self.photos), VALIDATION_EVERY))
        train = [p for i, p in enumerate(self.photos) if i not in held_out]
        return train, [self.photos[i] for i in sorted(held_out)]


@dataclass(frozen=True)
class StreamOptions:
    """How crops are cut and served.

    Args:
        size: side S of a crop in pixels.
        batch: crops per step, of all processes together.
        pool: crops per pool; a multiple of `batch`.
        reuse: passes over a pool.
        seed: decides everything.
        device: where crops are made and served.
        processes: that share the batch; by default this one alone takes all of it.

    Raises:
        ValueError: `pool` is no multiple of `batch`, or `batch` none of the number of processes.
    """

    size: int
    batch: int
    pool: int
    reuse: int
    seed: int
    device: torch.device
    processes: Processes | None = None

    def __post_init__(self) -> None:
        if self.pool % self.batch:
            raise ValueError(f"pool must be a multiple of the batch size {self.batch}, got {self.pool}")
        if self.processes is not None:
            check_shares(self.batch, self.processes.count)

    @property
    def ours(self) -> slice:
        """The part of a batch that this process takes: as much as every other."""
        if self.processes is None:
            return slice(None)
        share = self.batch // self.processes.count
        return slice(self.processes.index * share, (self.processes.index + 1) * share)


def check_shares(batch: int, count: int) -> None:
    """Every process takes as many crops as the others: the mean of their gradients is then that of all crops.

    Raises:
        ValueError: the batch cannot be shared out evenly among so many processes.
    """
    if batch % count:
        fitting = ", ".join(str(n) for n in range(1, batch + 1) if batch % n == 0)
        raise ValueError(
            f"{batch} crops a step cannot be shared evenly among {count} processes; "
            f"expected {fitting} processes, or a --batch that {count} divides"
        )


class CropStream(ABC, Generic[AnyCrops]):
    """Batches of crops; each pool of crops is made from its own seed and used a few times.

    Making crops on a CPU costs about as much as a training step, hence the reuse: every pass over a pool flips and
    turns its crops anew. A position in the stream (`step`) alone decides a batch, so training resumes exactly.

    Several processes share each batch. They take turns at making pools, all at the same time, and hand them round, so
    that the crops of a step are the same however many processes there are; all must ask for the same steps in the same
    order. On a CUDA device the next pool is made in a thread while the current one is used; `close` gives it up.

    Args:
        options: how crops are cut and served.
    """

    def __init__(self, options: StreamOptions) -> None:
        self.options = options
        self.processes = options.processes or Processes(options.device)
        self.ahead = options.device.type == "cuda"  # on a CPU a thread would take from the step what it gives the pool
        self._number = -1
        self._crops: AnyCrops | None = None
        self._ahead: tuple[int, Future[AnyCrops]] | None = None
        self._thread = ThreadPoolExecutor(1)  # starts nothing before it is given work
        self._given_up = threading.Event()

    @abstractmethod
    def make_pool(self, number: int) -> AnyCrops:
        """Pool number `number`: uint8 blurred and sharp crops, and half-precision radii where known, on the device."""

    def check_wanted(self) -> None:
        """For `make_pool` to call now and then: the work ends here when the pool was given up meanwhile."""
        if self._given_up.is_set():
            raise CancelledError

    def close(self) -> None:
        """Give up the pool that is made ahead: a process ends only when its threads do. The stream can go on after."""
        if self._ahead is not None:
            self._given_up.set()
            wait([self._ahead[1]])
            self._given_up.clear()
            self._ahead = None

    @property
    def steps_per_pool(self) -> int:
        """Training steps served by one pool."""
        return self.options.pool * self.options.reuse // self.options.batch

    def at(self, step: int, *, side: int | None = None) -> AnyCrops:
        """This process's part of a step's batch; `side` cuts a random window of that many pixels from each crop."""
        options = self.options
        number, within = divmod(step, self.steps_per_pool)
        lap, position = divmod(within * options.batch, options.pool)
        chance = np.random.default_rng((options.seed, 2, number, lap))
        order = chance.permutation(options.pool)[position : position + options.batch][options.ours]
        turns = chance.integers(0, 8, options.pool)[order]
        crops = self._pool_of(number)
        index = torch.from_numpy(order).to(crops.blurred.device)
        batch = crops.each(lambda x: x[index])
        if side is not None and side != options.size:
            window = np.random.default_rng((options.seed, 3, number, within))
            corners = window.integers(0, options.size - side + 1, (options.batch, 2))[options.ours]
            batch = batch.each(partial(_windows, corners=corners, side=side))
        return batch.floats().each(partial(_turned, turns=turns))

    def _pool_of(self, number: int) -> AnyCrops:
        if self._crops is None or number != self._number:
            self._crops, self._number = self._new_pool(number), number
        return self._crops

    def _new_pool(self, number: int) -> AnyCrops:
        """The pool as the process makes it whose turn it is."""
        count, maker = self.processes.count, number % self.processes.count
        mine = number + (self.processes.index - maker) % count  # the next one that is this process's turn
        if self._ahead is not None and self._ahead[0] != mine:
            self.close()  # nobody asks for what is made there
        if self._ahead is None and (self.ahead or mine // count == number // count):
            self._begin(mine, in_thread=self.ahead and mine != number)
        made = None
        if self._ahead is not None and mine == number:
            made, self._ahead = self._ahead[1].result(), None
            if self.ahead:
                self._begin(number + count, in_thread=True)
        return self._handed_round(made, maker)

    def _begin(self, number: int, *, in_thread: bool) -> None:
        """Make a pool, in the thread, or now: without threads all processes make theirs when a turn begins."""
        if in_thread:
            self._ahead = number, self._thread.submit(self.make_pool, number)
        else:
            made: Future[AnyCrops] = Future()
            made.set_result(self.make_pool(number))
            self._ahead = number, made

    def _handed_round(self, made: AnyCrops | None, maker: int) -> AnyCrops:
        """The pool that process `maker` has made, on the device of each."""
        if made is not None and self.processes.count == 1:
            return made
        outline = self.processes.share(None if made is None else made.each(lambda x: x.to("meta")), source=maker)
        if made is None:
            assert outline is not None
            made = outline.each(lambda x: torch.empty_like(x, device=self.options.device))
        return made.each(lambda x: self.processes.spread(x, source=maker))


class RenderedCrops(CropStream[Batch]):
    """Crops of sharp photos, defocused by the renderer.

    Args:
        photos: (3,H,W) uint8 sharp photos.
        options: how crops are cut and served.
        margin: pixels rendered around a crop and cut off, so that its border holds blur from outside.
        defocus: the renderer's distribution.
        jpeg_chance: share of the blurred crops that are stored as JPEG of quality 60 to 97, as cameras do.
        softness: of each photo, what is out of focus already; crops with much of that are passed over.
    """

    def __init__(
        self,
        photos: list[Tensor],
        options: StreamOptions,
        *,
        margin: int,
        defocus: DefocusConfig,
        jpeg_chance: float = 0.0,
        softness: Sequence[Softness] = (),
    ) -> None:
        super().__init__(options)
        self.photos, self.margin, self.defocus, self.jpeg_chance = photos, margin, defocus, jpeg_chance
        self.softness = softness

    def make_pool(self, number: int) -> Batch:
        """Pool number `number`: uint8 blurred and sharp crops and half-precision radii, on the device."""
        chance = np.random.default_rng((self.options.seed, 1, number))
        generator = torch.Generator().manual_seed(int(chance.integers(2**62)))
        parts = []
        for _ in range(0, self.options.pool, 4):
            self.check_wanted()
            crops = torch.stack([self._sharp_crop(chance) for _ in range(4)]).to(self.options.device)
            scene = render_scene(crops.float() / 255, self.defocus, generator)
            inner = slice(self.margin, self.margin + self.options.size)
            blurred = scene.blurred.mul(255).round().byte()
            for i in np.flatnonzero(chance.random(len(blurred)) < self.jpeg_chance):
                blurred[i] = _through_jpeg(blurred[i], int(chance.integers(60, 98)))
            parts.append(
                Batch(
                    blurred[..., inner, inner],
                    scene.sharp[..., inner, inner].mul(255).round().byte(),
                    scene.radius[..., inner, inner].half(),
                )
            )
        names, count = ("blurred", "sharp", "radius"), self.options.pool
        return Batch(*(torch.cat([getattr(p, name) for p in parts])[:count] for name in names))

    def _sharp_crop(self, chance: np.random.Generator) -> Tensor:
        """A random, randomly reduced crop of a random photo: (3,S+2m,S+2m) uint8."""
        side = self.options.size + 2 * self.margin
        for _ in range(MOST_TRIES):
            index = int(chance.integers(len(self.photos)))
            photo = self.photos[index]
            least = side / min(photo.shape[1:])
            scale = 1.0 if least >= 1 or chance.random() < 0.3 else chance.uniform(max(least, 0.4), 1.0)
            cut = min(round(side / scale), *photo.shape[1:])
            top, left = (int(chance.integers(0, n - cut + 1)) for n in photo.shape[1:])
            if not self.softness or self.softness[index].share(top, left, cut) <= MOST_SOFT:
                break
        else:
            raise ValueError(
                f"of {MOST_TRIES} random crops of the training photos each is out of focus in more than "
                f"{MOST_SOFT:.0%} of its visible part; expected sharp photos"
            )
        crop = photo[:, top : top + cut, left : left + cut]
        if cut != side:
            crop = F.interpolate(crop[None].float(), (side, side), mode="bicubic", antialias=True)[0]
            crop = crop.clamp_(0, 255).round_().byte()
        return crop.flip(-1) if chance.random() < 0.5 else crop


def _through_jpeg(crop: Tensor, quality: int) -> Tensor:
    """A (3,h,w) uint8 crop as JPEG of that quality gives it back."""
    file = io.BytesIO()
    Image.fromarray(crop.permute(1, 2, 0).cpu().numpy()).save(file, "JPEG", quality=quality)
    with Image.open(file) as stored:
        return torch.from_numpy(np.array(stored)).permute(2, 0, 1).to(crop.device)


def _windows(x: Tensor, *, corners: np.ndarray, side: int) -> Tensor:
    """A square window of each image of (B,C,S,S), given the top left corners (B,2)."""
    cuts = [p[:, top : top + side, left : left + side] for p, (top, left) in zip(x, corners.tolist(), strict=True)]
    return torch.stack(cuts)


def _turned(x: Tensor, *, turns: np.ndarray) -> Tensor:
    """Each image of (B,C,S,S) turned by one of the eight symmetries of the square."""
    rows = [torch.rot90(p, int(t) % 4, (-2, -1)) for p, t in zip(x, turns, strict=True)]
    return torch.stack([p.flip(-1) if t >= 4 else p for p, t in zip(rows, turns, strict=True)])
