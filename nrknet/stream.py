"""Streams of crops to train on: a seed decides them, and several processes share them."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from nrknet.processes import Processes

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


def _windows(x: Tensor, *, corners: np.ndarray, side: int) -> Tensor:
    """A square window of each image of (B,C,S,S), given the top left corners (B,2)."""
    cuts = [p[:, top : top + side, left : left + side] for p, (top, left) in zip(x, corners.tolist(), strict=True)]
    return torch.stack(cuts)


def _turned(x: Tensor, *, turns: np.ndarray) -> Tensor:
    """Each image of (B,C,S,S) turned by one of the eight symmetries of the square."""
    rows = [torch.rot90(p, int(t) % 4, (-2, -1)) for p, t in zip(x, turns, strict=True)]
    return torch.stack([p.flip(-1) if t >= 4 else p for p, t in zip(rows, turns, strict=True)])
