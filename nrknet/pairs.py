"""Training on pairs of defocused and sharp photos: files checked beforehand, crops cut when a pool needs them."""

import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nrknet.data import VALIDATION_EVERY
from nrknet.datasets import Pair
from nrknet.reading import in_threads, read_pixels
from nrknet.stream import Crops, CropStream, StreamOptions

log = logging.getLogger(__name__)

CACHE_BYTES = 2**30
"""Decoded pairs kept in memory by one stream of crops; the 350 pairs of DPDD take 4 GB, so most are read anew."""


def check_pairs(pairs: Sequence[Pair], *, least_side: int) -> None:
    """Decode every file to its end, and compare the sizes of partners.

    Raises:
        ValueError: a photo cannot be read, is smaller than a crop, or is of another size than its partner; names it.
    """
    begun = time.monotonic()

    def check(pair: Pair) -> None:
        blurred, sharp = (_size(path) for path in (pair.blurred, pair.sharp))
        if blurred != sharp:
            raise ValueError(
                f"{pair.blurred} is {_text(blurred)} and its partner {pair.sharp} {_text(sharp)}; expected equal sizes"
            )
        if min(blurred) < least_side:
            raise ValueError(f"{pair.blurred} is {_text(blurred)}; expected {least_side} pixels a side, a crop")

    for _ in in_threads(check, pairs, doing="checking pairs"):
        pass
    log.info("checked %d pairs in %.1f s", len(pairs), time.monotonic() - begun)


def _size(path: Path) -> tuple[int, int]:
    height, width = read_pixels(path).shape[:2]
    return width, height


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def hold_out(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Pairs for training, and those of every tenth scene for validation; pairs that share a sharp photo stay together.

    Raises:
        ValueError: there are fewer than two scenes.
    """
    scenes = sorted({pair.sharp for pair in pairs})
    if len(scenes) < 2:
        raise ValueError(f"training needs pairs of two or more sharp photos, got {len(scenes)}")
    held_out = set(scenes[::VALIDATION_EVERY])
    return [p for p in pairs if p.sharp not in held_out], [p for p in pairs if p.sharp in held_out]


class PairedCrops(CropStream[Crops]):
    """Crops of pairs, cut at the same place from both photos; the radius is not known.

    Args:
        pairs: files that `check_pairs` has passed.
        options: how crops are cut and served.
    """

    def __init__(self, pairs: Sequence[Pair], options: StreamOptions) -> None:
        super().__init__(options)
        self.pairs = pairs
        self._decoded: OrderedDict[int, Tensor] = OrderedDict()  # the least recently used first

    def make_pool(self, number: int) -> Crops:
        """Pool number `number`: uint8 crops on the device."""
        chance = np.random.default_rng((self.options.seed, 1, number))
        chosen = chance.integers(0, len(self.pairs), self.options.pool)
        places = chance.random((self.options.pool, 2))
        crops: dict[int, Tensor] = {}
        wanted = [int(index) for index in np.unique(chosen)]
        for start in range(0, len(wanted), 16):  # a few at a time: all the pairs of a pool may be too many to hold
            self.check_wanted()
            some = wanted[start : start + 16]
            for index, pair in zip(some, in_threads(self._read, some, doing="reading pairs"), strict=True):
                crops |= self._cut(pair, np.flatnonzero(chosen == index), places)
                self._keep(index, pair)
        together = torch.stack([crops[i] for i in range(self.options.pool)]).to(self.options.device)
        return Crops(together[:, :3].contiguous(), together[:, 3:].contiguous(), None)

    def _read(self, index: int) -> Tensor:
        """Both photos of a pair: (6,H,W) uint8, the blurred one first."""
        kept = self._decoded.get(index)  # asked once: `_keep` may drop it meanwhile, from another thread
        if kept is not None:
            return kept
        pair = self.pairs[index]
        photos = [torch.from_numpy(read_pixels(path)) for path in (pair.blurred, pair.sharp)]
        return torch.cat(photos, dim=2).permute(2, 0, 1)

    def _cut(self, pair: Tensor, positions: np.ndarray, places: np.ndarray) -> dict[int, Tensor]:
        """The crops (6,S,S) of one pair, by their position in the pool; a place is a share of the room there is."""
        crops = {}
        for position in positions.tolist():
            room = np.array(pair.shape[1:]) - self.options.size + 1
            top, left = (places[position] * room).astype(int).tolist()
            crops[position] = pair[:, top : top + self.options.size, left : left + self.options.size].contiguous()
        return crops

    def _keep(self, index: int, pair: Tensor) -> None:
        self._decoded[index] = pair
        self._decoded.move_to_end(index)
        while sum(p.numel() for p in self._decoded.values()) > CACHE_BYTES:
            self._decoded.popitem(last=False)
