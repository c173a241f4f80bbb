"""Rows pass through steps as if whole maps had been made, and few of them are held."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nrknet.arrays import Map
from nrknet.fast import rows as module
from nrknet.fast.rows import Rows, Step, in_order

HEIGHT, WIDTH = 40, 10


@pytest.fixture(autouse=True)
def narrow_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of as many rows as the tests say, though they have few pixels."""
    monkeypatch.setattr(module, "ENOUGH", 1)


class Given(Step):
    """Rows of a map that is there; counts how often each is made."""

    def __init__(self, whole: Tensor, rows: Rows, band: int) -> None:
        super().__init__((), rows, band)
        self.whole, self.made = whole, 0

    def reach(self, start: int, stop: int) -> Sequence[tuple[int, int]]:
        return ()

    def make(self, start: int, stop: int, windows: list[tuple[int, int]], out: Map) -> None:
        self.made += stop - start
        out[...] = self.whole[start:stop]


class Mean(Step):
    """Means of (2 r + 1)^2 pixels, at every stride-th pixel, plus other maps."""

    def __init__(self, source: Step, others: Sequence[Step], rows: Rows, band: int, r: int, stride: int = 1) -> None:
        super().__init__((source, *others), rows, band)
        self.r, self.stride = r, stride

    def reach(self, start: int, stop: int) -> Sequence[tuple[int, int]]:
        own = (start * self.stride - self.r, (stop - 1) * self.stride + self.r + 1)
        return (own, *[(start, stop)] * (len(self.inputs) - 1))

    def make(self, start: int, stop: int, windows: list[tuple[int, int]], out: Map) -> None:
        size = 2 * self.r + 1
        window = torch.from_numpy(self.inputs[0].rows.window(*windows[0]))[:, : self.inputs[0].rows.width + 2 * self.r]
        out[...] = F.avg_pool2d(window.permute(2, 0, 1)[None], size, self.stride)[0].permute(1, 2, 0).numpy()
        for step, rows in zip(self.inputs[1:], windows[1:], strict=True):
            out += step.rows.inside(*rows)


def whole_mean(x: Tensor, r: int, mode: str, stride: int = 1) -> Tensor:
    """The same of a whole map (h,w,C)."""
    padded = F.pad(x.permute(2, 0, 1)[None], (r, r, r, r), mode="constant" if mode == "zeros" else mode)
    return F.avg_pool2d(padded, 2 * r + 1, stride)[0].permute(1, 2, 0)


def run(last: Step, at_once: int) -> Tensor:
    """Rehearse, take memory, and pull all rows."""
    reader, result = last.rows.add_reader(), []
    steps = in_order([last])
    last.lead(at_once)
    for step in reversed(steps):
        step.lead_inputs()
    for rehearsal in (True, False):
        for start in range(0, last.rows.height, at_once):
            stop = min(last.rows.height, start + at_once)
            last.rows.release(reader, start)
            last.pull(stop)
            if not rehearsal:
                result.append(torch.from_numpy(last.rows.inside(start, stop).copy()))
        for step in steps:
            if rehearsal:
                step.rows.allocate(np.zeros(step.rows.shape, np.float32))
            step.rows.restart()
    return torch.cat(result)


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("bands", [(4, 4, 4, 4), (8, 4, 2, 4), (3, 5, 7, 2), (40, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("at_once", [1, 4, 7, 40])
def test_rows_pulled_are_those_of_whole_maps(mode: str, bands: tuple[int, int, int, int], at_once: int) -> None:
    # a -> b -> c, d = mean(c) + a: a skip over two steps
    whole = torch.rand(HEIGHT, WIDTH, 16, generator=torch.Generator().manual_seed(0))

    def rows(pad: int) -> Rows:
        return Rows((HEIGHT, WIDTH), 16, pad=pad, mode=mode)

    a = Given(whole, rows(1), bands[0])
    b = Mean(a, (), rows(2), bands[1], 1)
    c = Mean(b, (), rows(1), bands[2], 2)
    d = Mean(c, (a,), rows(0), bands[3], 1)
    expected = whole_mean(whole_mean(whole_mean(whole, 1, mode), 2, mode), 1, mode) + whole
    assert torch.allclose(run(d, at_once), expected, atol=1e-6)
    assert a.made == HEIGHT  # every row once


def test_strides() -> None:
    whole = torch.rand(HEIGHT, WIDTH, 16, generator=torch.Generator().manual_seed(0))
    a = Given(whole, Rows((HEIGHT, WIDTH), 16, pad=1), 4)
    b = Mean(a, (), Rows((HEIGHT // 2, WIDTH // 2), 16), 3, 1, stride=2)
    assert torch.allclose(run(b, 2), whole_mean(whole, 1, "zeros", 2), atol=1e-6)


def test_memory_does_not_grow_with_the_height() -> None:
    held = []
    for height in (200, 2000):
        whole = torch.rand(height, WIDTH, 16)
        a = Given(whole, Rows((height, WIDTH), 16, pad=2), 4)
        b = Mean(a, (a,), Rows((height, WIDTH), 16), 4, 2)
        run(b, 4)
        held.append(sum(step.rows._memory.nbytes for step in (a, b) if step.rows._memory is not None))
    assert 0 < held[0] == held[1] < 200 * WIDTH * 16 * 4


def test_what_is_kept_is_the_whole_map() -> None:
    whole = torch.rand(3, HEIGHT, WIDTH)

    class Planar(Given):
        def make(self, start: int, stop: int, windows: list[tuple[int, int]], out: Map) -> None:
            out[...] = self.whole[:, start:stop]

    step: Any = Planar(whole, Rows((HEIGHT, WIDTH), 3, planar=True), 4)
    reader = step.rows.add_reader()
    step.rows.allocate(np.zeros((3, 8, WIDTH), np.float32))
    kept = step.keep()
    for start in range(0, HEIGHT, 4):
        step.rows.release(reader, start)
        step.pull(start + 4)
        assert np.array_equal(step.rows.window(start, start + 4), whole[:, start : start + 4])
    assert np.array_equal(kept[0], whole)
