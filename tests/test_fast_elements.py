"""What happens pixel by pixel gives the same compiled as in PyTorch."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from kernels import difference, needs_kernels, without_kernels
from networks import random_network, seeded

from nrknet.arrays import Floats, Map
from nrknet.config import PRESETS
from nrknet.fast import elements
from nrknet.fast.operations import halves_are_kept
from nrknet.fast.parts import AVERAGE, COPY, ENLARGE, REPEAT, Blocks, Part
from nrknet.fast.prepared import Prepared
from nrknet.layers import RadiusHead
from nrknet.parameters import Parameters

pytestmark = needs_kernels
EXACT = 2e-6


def noise(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def blank(*shape: int) -> Floats:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize("window", [(0, 8, 0, 16), (3, 12, 8, 22), (5, 12, 12, 24)], ids=str)
@pytest.mark.parametrize("mode", [COPY, AVERAGE, ENLARGE, REPEAT], ids=["copy", "average", "enlarge", "repeat"])
def test_join(mode: int, window: tuple[int, int, int, int]) -> None:
    # of a map of 12 rows that is enlarged to 24, or halves, or keeps its size, the window [first, last)
    first, last, start, stop = window
    whole, other = noise(12, 9, 32), noise(24, 18, 16, seed=1)
    if mode == COPY:
        first, last, start, stop, other = start // 2, stop // 2, start // 2, stop // 2, other[:, :9]
    elif mode == AVERAGE:
        first, last, start, stop, other = 2, 10, 1, 5, other[:, :4]
        whole = whole[:, :8]
    width = other.shape[1]

    def work() -> Map:
        out = blank(stop - start, width, 48)
        parts = [Part(whole[first:last], first, 20, mode), Part(other[start:stop], start, 16, COPY)]
        elements.join(parts, out, start=start, stop=stop)
        assert (out[..., 36:] == 0).all()
        return out

    assert difference(work) < EXACT


@pytest.mark.parametrize("previous", [None, (0, 8, 0, 14), (4, 12, 10, 24)], ids=str)
def test_state(previous: tuple[int, int, int, int] | None) -> None:
    first, last, start, stop = previous or (0, 0, 0, 10)
    gates, before = 5 * noise(stop - start, 18, 64), noise(12, 9, 32, seed=1)

    def work() -> Map:
        out = blank(stop - start, 18, 32)
        held = None if previous is None else (before[first:last], first)
        elements.state(gates, held, out, start=start, stop=stop, hidden=13)
        return out

    assert difference(work) < 1e-5  # exp and tanh of our own


@pytest.mark.parametrize("pool", [1, 2])
def test_gate(pool: int) -> None:
    attention, hidden = noise(7, 18, 32), noise(10, 18 // pool, 32, seed=1)

    def work() -> Map:
        out = blank(21, 7, 18)
        elements.gate(attention, hidden, 6 // pool, out, start=6, stop=13, pool=pool)
        return out

    assert difference(work) < EXACT


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return Prepared(Parameters(random_network(PRESETS["lite"])))


@pytest.mark.parametrize("scale", [1, 3])
def test_look_up(prepared: Prepared, scale: int) -> None:
    table = prepared.tables[scale - 1]
    logits = 4 * noise(9, 21, 32)

    def work() -> Map:
        out = blank(9, 21, table.table.shape[1])
        table.look_up(logits, out, start=5, stop=14)
        return out

    assert difference(work) < 1e-5


@pytest.mark.parametrize("window", [(0, 7, 0, 12), (4, 12, 11, 24)], ids=str)
def test_coefficients(prepared: Prepared, window: tuple[int, int, int, int]) -> None:
    first, last, start, stop = window
    table = prepared.tables[0]
    count = table.coordinates
    looked_up, residual = noise(12, 9, table.table.shape[1]), noise(12, 9, 64, seed=1)
    assert 4 * count <= 64

    def work() -> Map:
        out = blank(prepared.config.num_coefficients, stop - start, 18)
        held = (looked_up[first:last], first), (residual[first:last], first)
        table.coefficients(*held, out, start=start, stop=stop)
        return out

    assert difference(work) < EXACT


@pytest.mark.parametrize("whole", [True, False])
@torch.no_grad()
def test_a_table_gives_the_coefficients_of_the_radius_head(whole: bool) -> None:
    config = replace(PRESETS["lite"], coefficients="unit_sum" if whole else "free", stem=1)
    model = random_network(config)
    head, (table, *_) = model.head, Prepared(Parameters(model)).tables
    assert isinstance(head, RadiusHead)
    coordinates = torch.randn(1, table.coordinates, 5, 20, generator=seeded(0))
    expected = head.coefficients(coordinates.clone())[0].numpy()
    out, nothing = blank(*expected.shape), blank(5, 20, 16)
    looked_up = np.zeros((5, 20, table.table.shape[1]), np.float32)
    looked_up[..., : table.coordinates] = coordinates[0].permute(1, 2, 0).numpy()
    table.coefficients((looked_up, 0), (nothing, 0), out, start=0, stop=5)
    assert np.allclose(out, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("both", [False, True])
def test_join_blocks_of_pixels(stem: int, both: bool) -> None:
    one, other, beside = noise(3, 8, 20), noise(3, 8, 20, seed=1), noise(8 // stem, 20 // stem, 16, seed=2)

    def work() -> Map:
        out = np.full((8 // stem, 20 // stem, 48), np.nan, np.float32)
        blocks = Blocks(one, other if both else None, stem, gain=3, shift=-0.5)
        elements.join([Part(beside, 4, 5, COPY), blocks, blocks], out, start=4, stop=4 + 8 // stem)
        assert (out[..., 5 + 6 * stem**2 :] == 0).all()
        return out

    assert difference(work) < EXACT


@pytest.mark.parametrize("mode", [COPY, AVERAGE, REPEAT], ids=["copy", "average", "repeat"])
def test_join_in_half_precision(mode: int) -> None:
    whole, pixels = noise(12, 9, 32), noise(3, 8, 36, seed=1)
    start, width = {COPY: (4, 9), AVERAGE: (2, 4), REPEAT: (8, 18)}[mode]
    pixels = pixels[:, :4, :width]

    def joined(window: Map, kept: Any) -> Map:
        out = np.full((4, width, 48), np.nan, kept)
        elements.join([Part(window, 0, 20, mode), Blocks(pixels, None, 1)], out, start=start, stop=start + 4)
        return out

    if not halves_are_kept():
        pytest.skip("halves are not for these")
    halves = whole.astype(np.float16)
    exact = joined(halves.astype(np.float32), np.float32)
    assert np.array_equal(joined(halves, np.float32), exact)
    assert np.array_equal(joined(halves, np.float16), exact.astype(np.float16))


@pytest.mark.parametrize("stem", [1, 2])
def test_shuffle_add(stem: int) -> None:
    image, pixels, start = noise(3, 7, 20), noise(9, 20 // stem, 16, seed=1), 3 * stem + 1

    def work() -> Map:
        out = blank(3, 7, 20)
        elements.shuffle_add(image, (pixels, 3), out, stem=stem, start=start, stop=start + 7)
        return out

    assert difference(work) < EXACT


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("window", [(0, 6, 0, 9), (2, 8, 15, 32)], ids=str)
@pytest.mark.parametrize("in_place", [False, True])
def test_enlarge_add(factor: int, window: tuple[int, int, int, int], in_place: bool) -> None:
    # of a map of 8 rows
    first, last, start, stop = window
    start, stop = start * factor // 4, stop * factor // 4
    small, large = noise(3, 8, 11)[:, first:last], noise(3, stop - start, 11 * factor, seed=1)

    def work() -> Map:
        base = large.copy()
        out = base if in_place else np.full_like(base, np.nan)
        elements.enlarge_add(small, first, base, out, factor=factor, start=start, stop=stop)
        assert in_place or (base == large).all()
        return out

    assert difference(work) < EXACT


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("rows", [(0, 5), (9, 16), (12, 16)], ids=str)
def test_from_pixels(dtype: Any, swap: bool, rows: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (13, 30, 3)).astype(dtype)
    for view in (photo, photo[:, 4:25], photo[:, ::2]):

        def work(view: Any = view) -> Map:
            out = blank(3, rows[1] - rows[0], 32)
            elements.from_pixels(view, out, start=rows[0], stop=rows[1], swap=swap)
            return out

        assert difference(work) < EXACT


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("swap", [False, True])
def test_to_pixels(dtype: Any, swap: bool) -> None:
    # halves round to even in both
    edges = (np.arange(57, dtype=np.float32).reshape(3, 1, 19) + 0.5) / 255
    image = np.concatenate([noise(3, 5, 19), edges], axis=1)
    found = []
    for _ in range(2):
        out = np.zeros((6, 40, 3), dtype)
        elements.to_pixels(image, out[:, 7:26], swap=swap)
        found.append(out)
        with without_kernels():
            other = np.zeros_like(out)
            elements.to_pixels(image, other[:, 7:26], swap=swap)
    assert np.array_equal(found[0], other) and found[0].max() == np.iinfo(dtype).max
    assert (found[0][:, :7] == 0).all() and (found[0][:, 26:] == 0).all()


@pytest.mark.parametrize("size", [(4, 6), (2, 2), (20, 34)], ids=str)
def test_halve(size: tuple[int, int]) -> None:
    height, width = size
    image = noise(3, height, width)
    for start, stop in ((0, height // 2), (0, height // 4), (height // 4, height // 2)):
        if start == stop:
            continue
        first, last = max(0, 2 * start - 2), min(height, 2 * stop + 2)

        def work(start: int = start, stop: int = stop, first: int = first, last: int = last) -> Map:
            out = blank(3, stop - start, width // 2)
            elements.halve(image[:, first:last], first, height, out, start=start, stop=stop, mode="antialias")
            return out

        with without_kernels():
            whole = blank(3, height // 2, width // 2)
            elements.halve(image, 0, height, whole, start=0, stop=height // 2, mode="antialias")
        assert np.allclose(work(), whole[:, start:stop], atol=1e-6)


@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("size", [(32, 32), (96, 340)], ids=str)
def test_evidence(stem: int, size: tuple[int, int]) -> None:
    height, width = size
    image = np.abs(noise(3, height, width))
    with without_kernels():
        whole = blank(height // stem, width // stem, 16)
        elements.evidence(image, 0, height, whole, stem=stem, channel=7, start=0, stop=height // stem)
    for start, stop in ((0, 8), (8, height // stem)):
        first, last = max(0, start * stem - 24), min(height, stop * stem + 24)
        out = blank(stop - start, width // stem, 16)
        held = image[:, first:last].copy()
        elements.evidence(held, first, height, out, stem=stem, channel=7, start=start, stop=stop)
        assert np.allclose(out, whole[start:stop], atol=1e-5)
