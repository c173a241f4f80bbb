"""Maps that are made a few rows at a time, and steps that make them when somebody asks for them.

A network is a chain of steps. Each makes a map, a band of rows at a time, from the maps before it, and keeps no more of
its rows than those after it still need. So a photo of any height passes in little memory, every number is computed
once, and there are no seams, for nothing is cut.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nrknet.arrays import Floats, Map
from nrknet.fast.memory import copy, shift

CHANNELS = 16
"""Channels-last maps have multiples of this many channels; what is beyond those that count is zero."""
ENOUGH = 5120
"""Pixels that a band has at least, where the map has so many: less keeps neither the kernels nor two cores busy."""
_SLACK = 13  # rows and columns of zeros beyond the padding, so far do tiles reach; odd, or rows would evict each other


class Rows:
    """The rows of a map that are held at the moment, with padding around the map.

    Args:
        size: height and width of the whole map.
        channels: of a map (rows, columns, channels), rounded up to a multiple of 16; with `planar`, of a map
            (channels, rows, columns), exactly so many.
        planar: which of these.
        pad: rows and columns beyond each end of the map that readers see; channels-last maps only.
        mode: what they see there: "zeros" or "reflect".
    """

    def __init__(
        self, size: tuple[int, int], channels: int, *, planar: bool = False, pad: int = 0, mode: str = "zeros"
    ) -> None:
        self.size = self.height, self.width = size
        self.planar, self.pad, self.mode = planar, pad, mode
        self.channels = channels if planar else -(-channels // CHANNELS) * CHANNELS
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self.made = 0
        self._first = -pad  # the row of the map that the first row of the memory holds
        self._wanted: list[int] = []  # per reader, the first row it still needs
        self._capacity = 0  # most rows that are held together, padding included
        self._kept = 0  # most rows that are kept for later
        self._memory: Map | None = None

    def restart(self) -> None:
        """Forget all rows and keep the memory, for another image of the same size."""
        self.made, self._first = 0, -self.pad
        self._wanted = [-self.pad] * len(self._wanted)
        if self.pad and self._memory is not None:
            self._memory[: self.pad] = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of memory for as many rows as a rehearsal (`Step.pull`) has found that are held together."""
        # what is kept for long is moved in memory half as often if there is half as much room again
        capacity = self._capacity + (self._capacity // 2 if self._kept > self._capacity // 4 else 0)
        if self.planar:
            return self.channels, capacity, self.width
        return capacity + _SLACK, self.width + 2 * self.pad + _SLACK, self.channels

    def allocate(self, memory: Map) -> None:
        """Take memory of this `shape` and `dtype`, filled with zeros."""
        self._capacity = memory.shape[1] if self.planar else memory.shape[0] - _SLACK
        self._memory = memory

    def add_reader(self) -> int:
        """The number of a new reader, who has to say what it is done with."""
        self._wanted.append(-self.pad)
        return len(self._wanted) - 1

    def release(self, reader: int, row: int) -> None:
        """A reader needs nothing before `row` any more."""
        self._wanted[reader] = row

    def window(self, start: int, stop: int) -> Map:
        """Rows [start, stop): (n, columns with padding and slack, channels), or planar (channels, n, columns)."""
        assert self._first <= start and stop <= self.made + (self.pad if self.made == self.height else 0)
        assert self._memory is not None
        start, stop = start - self._first, stop - self._first
        return self._memory[:, start:stop] if self.planar else self._memory[start:stop]

    def clear(self, start: int, stop: int) -> None:
        """Fill the memory of rows [start, stop) with zeros, as far as they are not made.

        Tiles of a convolution may reach there. What they read has no weight in what they give, but the rounding would
        depend on what the memory held before, and an infinity would spread.
        """
        start = max(start, self.made + (self.pad if self.made == self.height else 0))
        if start < stop and self._memory is not None:
            copy(self._memory[start - self._first : stop - self._first], 0)

    def inside(self, start: int, stop: int) -> Map:
        """The same without padding and slack."""
        window = self.window(start, stop)
        return window if self.planar else window[:, self.pad : self.pad + self.width]

    def room(self, count: int) -> Map | None:
        """Where the next `count` rows are to be written, without padding; `finish` says that they are.

        None in a rehearsal, which only finds out how much memory it takes.
        """
        end = self.made + count + (self.pad if self.made + count == self.height else 0)
        keep = min([*self._wanted, self.made])
        if self._memory is None:
            self._capacity = max(self._capacity, end - keep)
            self._kept = max(self._kept, self.made - keep)
            return None
        if end - self._first > self._capacity:
            shift(self._memory, keep - self._first, self.made - keep, planar=self.planar)
            self._first = keep
        start = self.made - self._first
        if self.planar:
            return self._memory[:, start : start + count]
        return self._memory[start : start + count, self.pad : self.pad + self.width]

    def finish(self, count: int) -> None:
        """The next `count` rows are written: pad them."""
        first, self.made = self.made, self.made + count
        if not self.pad or self._memory is None:
            return
        last = self.made == self.height
        if self.mode == "zeros":
            if last:  # the memory there may have held other rows
                copy(self._memory[self.made - self._first : self.made - self._first + self.pad], 0)
            return
        memory = self._memory
        band = memory[first - self._first : self.made - self._first]
        for i in range(1, self.pad + 1):
            copy(band[:, self.pad - i], band[:, self.pad + i])
            copy(band[:, self.pad + self.width - 1 + i], band[:, self.pad + self.width - 1 - i])
        for i in range(1, self.pad + 1):
            if first <= i < self.made:
                copy(memory[-i - self._first], memory[i - self._first])
            if last:
                copy(memory[self.made - 1 + i - self._first], memory[self.made - 1 - i - self._first])


class Step:
    """Makes a map from others, when asked.

    Subclasses call `super().__init__` with what they read and make, and write bands in `make`.

    Args:
        inputs: the steps whose maps are read.
        rows: the map that is made.
        band: rows that are made at a time, at most.
        unit: bands start and end at multiples of so many rows, unless the map ends.
    """

    repeats = False
    """Whether all that `make` does is on a tape (`nrknet.fast.tape`): kernels, at work on the memory of maps."""
    writes_halves = reads_halves = False
    """Whether the map may be in half precision, as far as this step is concerned; whether all that are read may be."""

    def __init__(self, inputs: Sequence["Step"], rows: Rows, band: int, *, unit: int = 1) -> None:
        self.inputs, self.rows, self._unit = tuple(inputs), rows, unit
        self.band = band
        # a multiple of the band, so that neighbours keep step
        self._advance = band * -(-ENOUGH // (rows.width * band))
        self._lead = 0
        self.kept: Floats | None = None
        self._readers = [step.rows.add_reader() for step in self.inputs]

    def keep(self) -> Floats:
        """From now on, collect all rows of the (planar) map in what is returned: (1,channels,height,width)."""
        self.kept = np.empty((1, self.rows.channels, *self.rows.size), np.float32)
        return self.kept

    def lead(self, rows: int) -> None:
        """Rows of the map that are needed before the first band of the result can be made; the most counts."""
        self._lead = max(self._lead, -(-rows // self._unit) * self._unit)

    def lead_inputs(self) -> None:
        """Tell the inputs what this step needs for its own lead."""
        for step, (_, rows) in zip(self.inputs, self.reach(0, self._lead), strict=True):
            step.lead(rows)

    def reach(self, start: int, stop: int) -> Sequence[tuple[int, int]]:
        """Per input, the rows (from, to) that rows [start, stop) of the output are made from; may pass the ends."""
        raise NotImplementedError

    def make(self, start: int, stop: int, windows: list[tuple[int, int]], out: Map) -> None:
        """Write rows [start, stop) of the map to `out`.

        Args:
            start, stop: the rows.
            windows: per input what `reach` said, without what lies outside the map and its padding.
            out: (n, columns, channels), or planar (channels, n, columns).
        """
        raise NotImplementedError

    def pull(self, stop: int) -> None:
        """See to it that the rows before `stop` are made; while the maps have no memory, only count them."""
        stop = min(stop, self.rows.height)
        while self.rows.made < stop:
            start = self.rows.made
            end = self._next(start, stop)
            windows = []
            for step, (first, last) in zip(self.inputs, self.reach(start, end), strict=True):
                step.pull(last)
                rows = step.rows
                windows.append((max(first, -rows.pad), min(last, rows.height + rows.pad)))
            room = self.rows.room(end - start)
            if room is not None:
                self.make(start, end, windows, room)
                if self.kept is not None:
                    self.kept[0, :, start:end] = room
            self.rows.finish(end - start)
            for step, reader, (first, _) in zip(self.inputs, self._readers, self.reach(end, end + 1), strict=True):
                # never forward past what is there: the next band may start before rows that are not made yet
                step.rows.release(reader, min(max(first, -step.rows.pad), step.rows.height + step.rows.pad))

    def _next(self, start: int, stop: int) -> int:
        """Where the band from `start` ends: at the lead and then at every stride, with whole bands between.

        So each step makes what the next one asks for, and no rows pile up before branches that are slower.
        """
        goal = max(self._lead, stop)
        goal = self._lead + -(-(goal - self._lead) // self._advance) * self._advance
        most = max(self.band, self._advance) // self._unit * self._unit
        end = goal if goal - start <= most + most // 4 else start + most
        return min(self.rows.height, -(-end // self._unit) * self._unit)


def in_order(last: Sequence[Step]) -> list[Step]:
    """These steps and all that they read from, inputs before those that read them, each once."""
    found: dict[Step, None] = {}
    for step in last:
        _visit(step, found)
    return list(found)


def _visit(step: Step, found: dict[Step, None]) -> None:
    if step not in found:
        for before in step.inputs:
            _visit(before, found)
        found[step] = None
