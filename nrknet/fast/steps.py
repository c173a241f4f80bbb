"""The steps of the streamed network beside its convolutions; each names the part of `NRKNet` that it does."""

from collections.abc import Sequence

import numpy as np

from nrknet.arrays import Map, Pixels
from nrknet.config import EVIDENCE_REACH, RESPONSE_GAIN
from nrknet.fast.elements import (
    Table,
    enlarge_add,
    evidence,
    filled,
    from_pixels,
    gate,
    halve,
    join,
    look_up,
    shuffle_add,
    state,
)
from nrknet.fast.memory import add, copy
from nrknet.fast.operations import Blur, CompiledBlur, Convolution
from nrknet.fast.parts import AVERAGE, COPY, ENLARGE, REPEAT, Blocks, Part
from nrknet.fast.rows import CHANNELS, Rows, Step
from nrknet.fast.tape import do
from nrknet.parameters import Parameters

Reach = Sequence[tuple[int, int]]
Windows = list[tuple[int, int]]


def _around(start: int, stop: int, factor: int) -> tuple[int, int]:
    """The rows of a small map that rows [start, stop) of its bilinear enlargement are made from."""
    return (start, stop) if factor == 1 else (start // factor - 1, -(-stop // factor) + 1)


def _covering(start: int, stop: int, factor: int) -> tuple[int, int]:
    """The rows of a small map that cover rows [start, stop) of a larger one."""
    return start // factor, -(-stop // factor)


class Photo(Step):
    """The finest level Y_1: floats in the network's order of colours, padded right and below by repetition."""

    repeats = True
    photo: Pixels

    def __init__(self, rows: Rows, band: int, order: str) -> None:
        super().__init__((), rows, band)
        self._swap = order == "bgr"

    def reach(self, start: int, stop: int) -> Reach:
        return ()

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        do(self._convert, start, stop, out)

    def _convert(self, start: int, stop: int, out: Map) -> None:
        from_pixels(self.photo, out, start=start, stop=stop, swap=self._swap)


class Halve(Step):
    """The next level of the pyramid."""

    def __init__(self, level: Step, rows: Rows, band: int, *, mode: str) -> None:
        super().__init__((level,), rows, band)
        self._mode, self.repeats = mode, mode in ("antialias", "nearest")

    def reach(self, start: int, stop: int) -> Reach:
        return ((2 * start - 2, 2 * stop + 2),)

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        rows, (first, last) = self.inputs[0].rows, windows[0]
        halve(rows.window(first, last), first, rows.height, out, start=start, stop=stop, mode=self._mode)


TILE_INPUTS = 8
"""Rows and columns that a tile of kernels/convolution.cpp reads; at stride 2 these are blocks of 2x2 pixels."""
TILED_TAPS = 2, 3, 5


class UNetInput(Step):
    """`NRKNet._unet_input`: pixels in blocks of stem x stem, and what tells blurred from sharp."""

    repeats = True

    def __init__(self, level: Step, rows: Rows, band: int, stem: int, *, evidence: bool) -> None:
        super().__init__((level,), rows, band)
        self._stem, self._evidence = stem, evidence

    def reach(self, start: int, stop: int) -> Reach:
        more = EVIDENCE_REACH if self._evidence else 0
        return ((start * self._stem - more, stop * self._stem + more),)

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        first, last = windows[0]
        rows, stem = self.inputs[0].rows, self._stem
        level = rows.window(first, last)
        inside = level[:, start * stem - first : stop * stem - first]
        join([Blocks(inside, None, stem, shift=-0.5 if self._evidence else 0)], out, start=start, stop=stop)
        if self._evidence:
            evidence(level, first, rows.height, out, stem=stem, channel=3 * stem**2, start=start, stop=stop)


class Convolve(Step):
    """A convolution, and what it is added to."""

    repeats = True

    def __init__(
        self, layer: Convolution, source: Step, rows: Rows, band: int, *,
        kernel: int, stride: int, enlarge: bool, residual: Step | None,
    ) -> None:  # fmt: skip
        inputs = (source,) if residual is None else (source, residual)
        super().__init__(inputs, rows, band, unit=2 if enlarge else 1)
        self._layer, self._kernel, self._stride, self._enlarge = layer, kernel, stride, enlarge
        self.writes_halves, self.reads_halves = layer.writes_halves, layer.reads_halves
        self._skip = source.rows.pad - kernel // 2  # columns of padding that this kernel does not reach

    def reach(self, start: int, stop: int) -> Reach:
        half = self._kernel // 2
        if self._enlarge:
            read = (start // 2 - half, stop // 2 + half)
        else:
            read = (start * self._stride - half, (stop - 1) * self._stride + half + 1)
        return (read, (start, stop))[: len(self.inputs)]

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        source, (first, last) = self.inputs[0].rows, windows[0]
        source.clear(last, first + self._reached(stop - start))
        window = source.window(*windows[0])[:, self._skip :]
        residual = self.inputs[1].rows.inside(*windows[1]) if len(self.inputs) > 1 else None
        self._layer(window, out, residual)

    def _reached(self, count: int) -> int:
        """Rows of the input that the tiles of the compiled kernels read for `count` rows of the output."""
        taps = 2 if self._enlarge or self._stride == 2 else self._kernel
        if taps not in TILED_TAPS:
            return 0
        side = TILE_INPUTS + 1 - taps
        tiles = -(-(count // 2 + 1 if self._enlarge else count) // side)
        return ((tiles - 1) * side + TILE_INPUTS) * self._stride


class Add(Step):
    """The sum of two maps."""

    repeats = True

    def __init__(self, one: Step, other: Step, rows: Rows, band: int) -> None:
        super().__init__((one, other), rows, band)

    def reach(self, start: int, stop: int) -> Reach:
        return ((start, stop), (start, stop))

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        one, other = (step.rows.inside(start, stop) for step in self.inputs)
        add(one, other, out, planar=False)


class MemoryInput(Step):
    """What the memory cell's convolution reads: pooled features, and the hidden state of the coarser scale."""

    repeats = True
    writes_halves = reads_halves = True

    def __init__(
        self, features: Step, previous: Step | None, rows: Rows, band: int, *, pool: int, width: int, hidden: int
    ) -> None:
        super().__init__((features,) if previous is None else (features, previous), rows, band)
        self._pool, self._width, self._hidden = pool, width, hidden

    def reach(self, start: int, stop: int) -> Reach:
        return ((start * self._pool, stop * self._pool), _around(start, stop, 2))[: len(self.inputs)]

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        held = [step.rows.inside(*w) for step, w in zip(self.inputs, windows, strict=True)]
        parts = [Part(held[0], windows[0][0], self._width, AVERAGE if self._pool > 1 else COPY)]
        if len(held) > 1:
            parts.append(Part(held[1], windows[1][0], self._hidden, ENLARGE))
        join(parts, out, start=start, stop=stop)


class State(Step):
    """The memory cell's new hidden and cell state, in this order, from its gates and the coarser scale's cell state."""

    repeats = True

    def __init__(self, gates: Step, previous: Step | None, rows: Rows, band: int, *, hidden: int) -> None:
        super().__init__((gates,) if previous is None else (gates, previous), rows, band)
        self._hidden = hidden

    def reach(self, start: int, stop: int) -> Reach:
        return ((start, stop), _around(start, stop, 2))[: len(self.inputs)]

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        held = [(step.rows.inside(*w), w[0]) for step, w in zip(self.inputs, windows, strict=True)]
        previous = held[1] if len(held) > 1 else None
        state(held[0][0], previous, out, start=start, stop=stop, hidden=self._hidden)


class Gate(Step):
    """`GatedHead` before its enlargement: h * ReLU(BN(conv(features))) + h, planar."""

    repeats = True

    def __init__(self, attention: Step, state: Step, rows: Rows, band: int, *, pool: int) -> None:
        super().__init__((attention, state), rows, band)
        self._pool = pool

    def reach(self, start: int, stop: int) -> Reach:
        return ((start, stop), _covering(start, stop, self._pool))

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        attention, hidden = (step.rows.inside(*w) for step, w in zip(self.inputs, windows, strict=True))
        gate(attention, hidden, windows[1][0], out, start=start, stop=stop, pool=self._pool)


class GatedCoefficients(Step):
    """The rest of `GatedHead`: enlargement, and the delta's coefficient where all are to sum to 1."""

    def __init__(self, gated: Step, rows: Rows, band: int, *, stem: int, whole: bool) -> None:
        super().__init__((gated,), rows, band)
        self._stem, self._whole = stem, whole

    def reach(self, start: int, stop: int) -> Reach:
        return (_around(start, stop, self._stem),)

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        from nrknet.fast import plain

        gated, first = self.inputs[0].rows.window(*windows[0]), windows[0][0]
        plain.gated_coefficients(gated, first, out, stem=self._stem, whole=self._whole, start=start, stop=stop)


class Joint(Step):
    """Features and hidden state beside each other, at the features' resolution."""

    repeats = True
    writes_halves = reads_halves = True

    def __init__(
        self, features: Step, state: Step, rows: Rows, band: int, *, pool: int, width: int, hidden: int
    ) -> None:
        super().__init__((features, state), rows, band)
        self._pool, self._width, self._hidden = pool, width, hidden

    def reach(self, start: int, stop: int) -> Reach:
        return ((start, stop), _covering(start, stop, self._pool))

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        features, hidden = (step.rows.inside(*w) for step, w in zip(self.inputs, windows, strict=True))
        parts = [
            Part(features, start, self._width, COPY),
            Part(hidden, windows[1][0], self._hidden, REPEAT if self._pool > 1 else COPY),
        ]
        join(parts, out, start=start, stop=stop)


class LookedUp(Step):
    """Coordinates from the table, at the features' resolution."""

    repeats = True

    def __init__(self, logits: Step, rows: Rows, band: int, table: Table) -> None:
        super().__init__((logits,), rows, band)
        self._table = table

    def reach(self, start: int, stop: int) -> Reach:
        return ((start, stop),)

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        self._table.look_up(self.inputs[0].rows.inside(start, stop), out, start=start, stop=stop)


class RadiusCoefficients(Step):
    """The rest of `RadiusHead`: enlargement, the learned residual, and from coordinates to coefficients, planar."""

    repeats = True

    def __init__(self, looked_up: Step, residual: Step, rows: Rows, band: int, table: Table) -> None:
        super().__init__((looked_up, residual), rows, band)
        self._table = table

    def reach(self, start: int, stop: int) -> Reach:
        stem = self._table.stem
        return (_around(start, stop, stem), _covering(start, stop, stem))

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        looked_up, residual = ((step.rows.inside(*w), w[0]) for step, w in zip(self.inputs, windows, strict=True))
        self._table.coefficients(looked_up, residual, out, start=start, stop=stop)


class Term(Step):
    """t - D t: the next term of the Neumann series (Eq. 7)."""

    def __init__(
        self, term: Step, coefficients: Step, rows: Rows, band: int, *, applied: Blur, num_atoms: int
    ) -> None:
        super().__init__((term, coefficients), rows, band)
        self._applied, self._half = applied, num_atoms  # the largest atom has 2J + 1 pixels
        self.repeats = isinstance(applied, CompiledBlur)

    def reach(self, start: int, stop: int) -> Reach:
        return ((start - self._half, stop + self._half), (start, stop))

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        term, coefficients = (step.rows.window(*w) for step, w in zip(self.inputs, windows, strict=True))
        self._applied(term, coefficients, out, first=start, last=stop, height=self.rows.height)


class Series(Step):
    """Z_0 = Y_1 + what each scale adds, enlarged (Eq. 10)."""

    repeats = True

    def __init__(self, photo: Step, parts: Sequence[tuple[Sequence[Step], int]], rows: Rows, band: int) -> None:
        self._factors = [factor for steps, factor in parts for _ in steps]
        super().__init__((photo, *(step for steps, _ in parts for step in steps)), rows, band)

    def reach(self, start: int, stop: int) -> Reach:
        return ((start, stop), *(_around(start, stop, factor) for factor in self._factors))

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        base = self.inputs[0].rows.window(start, stop)
        for step, factor, window in zip(self.inputs[1:], self._factors, windows[1:], strict=True):
            held = step.rows.window(*window)
            if factor == 1:
                add(base, held, out, planar=True)
            else:
                enlarge_add(held, window[0], base, out, factor=factor, start=start, stop=stop)
            base = out


class ImageInput(Step):
    """What the image head reads: features, hidden state, photo and what the series adds to it."""

    repeats = True
    writes_halves = reads_halves = True

    def __init__(
        self, joint: Step, photo: Step, series: Step, rows: Rows, band: int, *, channels: int, stem: int
    ) -> None:
        super().__init__((joint, photo, series), rows, band)
        self._channels, self._stem = channels, stem

    def reach(self, start: int, stop: int) -> Reach:
        pixels = (start * self._stem, stop * self._stem)
        return ((start, stop), pixels, pixels)

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        photo, series = (step.rows.window(*w) for step, w in zip(self.inputs[1:], windows[1:], strict=True))
        joint = Part(self.inputs[0].rows.inside(start, stop), start, self._channels, COPY)
        pixels = Blocks(photo, None, self._stem, shift=-0.5), Blocks(series, photo, self._stem, gain=RESPONSE_GAIN)
        join([joint, *pixels], out, start=start, stop=stop)


class Correct(Step):
    """Z_0 with the image head's correction."""

    repeats = True

    def __init__(self, series: Step, correction: Step, rows: Rows, band: int, *, stem: int) -> None:
        super().__init__((series, correction), rows, band)
        self._stem = stem

    def reach(self, start: int, stop: int) -> Reach:
        return ((start, stop), _covering(start, stop, self._stem))

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        series, correction = self.inputs
        pixels = correction.rows.inside(*windows[1]), windows[1][0]
        shuffle_add(series.rows.window(start, stop), pixels, out, stem=self._stem, start=start, stop=stop)


class ExpectedRadius(Step):
    """`RadiusHead.expected_radius`, planar."""

    repeats = True

    def __init__(self, logits: Step, rows: Rows, band: int, *, radii: Sequence[float], stem: int) -> None:
        super().__init__((logits,), rows, band)
        self._radii, self._stem = filled(np.array(radii[1:], np.float32)[:, None]), stem
        self._means, self._plane = np.empty((0, 0, CHANNELS), np.float32), np.empty((1, 0, 0), np.float32)

    def reach(self, start: int, stop: int) -> Reach:
        return (_around(start, stop, self._stem),)

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        logits, (first, last) = self.inputs[0].rows.inside(*windows[0]), windows[0]
        count, width = logits.shape[:2]
        if len(self._means) < count:  # what is repeated has the memory of before, if that was smaller
            self._means = np.empty((count, width, CHANNELS), np.float32)
            self._plane = np.empty((1, count, width), np.float32)
        means, plane = self._means[:count], self._plane[:, :count]
        look_up(logits, self._radii, means, start=first, stop=last)
        copy(plane[0], means[..., 0])
        copy(out, 0)
        enlarge_add(plane, first, out, out, factor=self._stem, start=start, stop=stop)


class DiscRadius(Step):
    """The radius of the disc as wide as the kernel at each pixel, planar."""

    def __init__(self, coefficients: Step, rows: Rows, band: int, parameters: Parameters) -> None:
        super().__init__((coefficients,), rows, band)
        self._parameters = parameters

    def reach(self, start: int, stop: int) -> Reach:
        return ((start, stop),)

    def make(self, start: int, stop: int, windows: Windows, out: Map) -> None:
        from nrknet.fast import plain

        plain.radius_of_discs(self.inputs[0].rows.window(start, stop), out, bank=self._parameters.model.atoms)
