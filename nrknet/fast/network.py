"""NRKNet as a chain of steps: what `NRKNet.forward` computes, a band of rows at a time (the same equations, Fig. 1)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nrknet.arrays import Floats, Map, Pixels
from nrknet.bands import Band
from nrknet.config import EVIDENCE_BANDS, powers_taken
from nrknet.fast import steps
from nrknet.fast.compiler import library
from nrknet.fast.memory import zeros
from nrknet.fast.operations import halves_are_kept
from nrknet.fast.prepared import Prepared
from nrknet.fast.rows import Rows, Step, in_order
from nrknet.fast.tape import Record
from nrknet.parameters import Parameters

if TYPE_CHECKING:
    from nrknet.analysis import ScaleDetails

BAND_NUMBERS = 4_000_000
"""The widest maps have about so many numbers in a band at most."""
BANDS = 24, 48, 96, 192
"""Rows of the photo in a band: with these, those of half its size and so on are multiples of TILE too.

More rows of a narrow photo at once take less time, since every step begins and ends less often, but more memory, which
the first photo has to wait for.
"""
TILE = 6
"""Rows that a convolution makes at once."""

ALIGNMENT = 16
"""Maps start at multiples of so many numbers: a line of the cache."""
KEPT_BYTES = 3 << 29
"""Up to so much memory is kept for the next photo; fresh memory costs as much time as what is written to it."""


class StreamedNetwork:
    """An NRKNet prepared for photos on a CPU; it holds a copy of the weights in the order that the kernels like.

    Args:
        parameters: of the network, which is on the CPU and in evaluation mode. When they have changed, the next photo
            sees it.
        halves: keep maps that pass from convolution to convolution in half precision, and multiply 16-bit integers in
            wide convolutions, where the kernels can: that takes half the memory and less time. Everything else is
            computed and kept in float32.

    Attributes:
        keeps_halves: whether there are such maps.
    """

    def __init__(self, parameters: Parameters, *, halves: bool = False) -> None:
        self.keeps_halves = halves and halves_are_kept()
        self._prepared = Prepared(parameters, integers=self.keeps_halves)
        self._spare: list[_Wiring] = []

    def __getstate__(self) -> dict[str, Any]:
        """Of a copy, which begins without what the last photo has left: that knows where its memory lies."""
        return {**self.__dict__, "_spare": []}

    def __call__(
        self, photo: Pixels, *, radius: bool = False, details: list[ScaleDetails] | None = None,
        highest: int | None = None,
    ) -> Iterator[Band]:  # fmt: skip
        """As `BandedNetwork`."""
        height, width = photo.shape[:2]
        wiring = self._wiring(photo, radius, highest)
        if details is not None:
            wiring.keep()
        start = 0
        while start < height:
            stop = min(height, start + wiring.rows_at_once)
            image, *seen = (part[..., :width] for part in wiring.pull(start, stop))
            yield Band(start, stop, image, seen[0] if radius else None)
            start = stop
        if details is not None:
            wiring.pull(wiring.height, wiring.height)  # the padding is seen too
            details += wiring.details()
        wiring.forget()
        if wiring.memory.nbytes <= KEPT_BYTES:
            self._spare = [wiring]

    def _wiring(self, photo: Pixels, radius: bool, highest: int | None) -> _Wiring:
        """The steps of the last photo if this one has its size; else new ones, in the same memory if it is enough."""
        prepared = self._prepared
        if prepared.parameters.version != prepared.version:
            self._spare.clear()
            self._prepared = prepared = Prepared(prepared.parameters, integers=self.keeps_halves)
        try:
            wiring: _Wiring | None = self._spare.pop()  # so that no other thread has it
        except IndexError:
            wiring = None
        if wiring is None or wiring.network is not prepared or not wiring.fits(photo, radius, highest):
            memory = zeros(0) if wiring is None else wiring.memory
            wiring = _Wiring(prepared, photo.shape[:2], radius=radius, highest=highest, halves=self.keeps_halves)
            if memory.size < wiring.numbers:
                del memory  # before more is taken
                memory = zeros(wiring.numbers)
            else:
                memory[: wiring.numbers] = 0
            wiring.take(memory)
        wiring.start(photo)
        return wiring


class _Scale(NamedTuple):
    """The steps of one scale that tell what the network saw."""

    terms: list[Step]
    coefficients: Step

    def kept(self) -> tuple[list[Floats], Floats]:
        """All rows of the terms and of the coefficients."""
        *terms, coefficients = (step.kept for step in (*self.terms, self.coefficients))
        assert coefficients is not None
        return [term for term in terms if term is not None], coefficients


class _Wiring:
    """The steps for one photo, which have to `take` memory before they `start`.

    Attributes:
        numbers: of 32 bits that the memory of all maps has to hold.
        memory: of all maps.
    """

    def __init__(
        self, network: Prepared, size: tuple[int, int], *, radius: bool, highest: int | None, halves: bool
    ) -> None:
        self.network, self.config = network, network.config
        self.radius, self.highest = radius, highest
        self.height, self.width = self._padded(size)
        per_row = self.width * self.config.widths[0] // self.config.stem**2
        self.rows_at_once = max((n for n in BANDS if n * per_row <= BAND_NUMBERS), default=BANDS[0])
        # one for the coarser scales, which run far ahead, so that what they have passed need not wait for the finest
        self._photos = [steps.Photo(self._planar(3, 1), self._band(1), self.config.channel_order) for _ in range(2)]
        self._scales: list[_Scale] = []
        image, seen = self._last_steps(radius=radius)
        self._last = [image] if seen is None else [image, seen]
        self._readers = [step.rows.add_reader() for step in self._last]
        self._steps = in_order(self._last)
        for step in self._last:
            step.lead(self.rows_at_once)
        for step in reversed(self._steps):
            step.lead_inputs()
        if halves:
            self._choose_halves()
        for start in range(0, self.height, self.rows_at_once):  # a rehearsal
            self._pull(start, start + self.rows_at_once)
        sizes = [math.prod(step.rows.shape) * step.rows.dtype.itemsize for step in self._steps]
        self._counts = [-(-size // (4 * ALIGNMENT)) * ALIGNMENT for size in sizes]
        self.numbers, self.memory = sum(self._counts), zeros(0)
        self._repeated = Record() if library() and all(step.repeats for step in self._steps) else None
        self._record: Record | None = None

    def keep(self) -> None:
        """From now on, keep what this photo's terms and coefficients are; so all has to be made anew."""
        self._record = None
        for scale in self._scales:
            for step in (*scale.terms, scale.coefficients):
                step.keep()

    def details(self) -> list[ScaleDetails]:
        """What was kept."""
        from nrknet.fast.plain import scale_details

        model = self.network.parameters.model
        return [scale_details(*scale.kept(), model) for scale in self._scales]

    def forget(self) -> None:
        """Keep nothing, and let go of the photo."""
        if self._record:
            self._record.finish()
        for photo in self._photos:
            del photo.photo
        for step in self._steps:
            step.kept = None

    def take(self, memory: Floats) -> None:
        """Give every map its part of this memory, at least `numbers` zeros."""
        self.memory = memory
        for step, part in zip(self._steps, np.split(memory, np.cumsum(self._counts)), strict=False):
            shape = step.rows.shape
            step.rows.allocate(part.view(step.rows.dtype)[: math.prod(shape)].reshape(shape))

    def fits(self, photo: Pixels, radius: bool, highest: int | None) -> bool:
        """Whether these steps can take the photo."""
        wired = (self.height, self.width), self.radius, self.highest
        return wired == (self._padded(photo.shape[:2]), radius, highest)

    def _padded(self, size: tuple[int, int]) -> tuple[int, ...]:
        multiple = self.config.size_multiple
        return tuple(max(-(-n // multiple), 2) * multiple for n in size)

    def start(self, photo: Pixels) -> None:
        """Begin at the top of a photo."""
        for first in self._photos:
            first.photo = photo
        for step in self._steps:
            step.rows.restart()
        self._record = self._repeated
        if self._record:
            self._record.start(len(photo))

    def _choose_halves(self) -> None:
        """Half precision for the maps that convolutions write and read, joint ones among them, and nothing else."""
        asked = set(self._last)
        for step in self._steps:
            readers = [reader for reader in self._steps if step in reader.inputs]
            if step.writes_halves and all(reader.reads_halves for reader in readers) and step not in asked:
                step.rows.dtype = np.dtype(np.float16)

    def _pull(self, start: int, stop: int) -> None:
        for step, reader in zip(self._last, self._readers, strict=True):
            step.rows.release(reader, start)
            step.pull(stop)

    def pull(self, start: int, stop: int) -> list[Map]:
        """Rows [start, stop) of the image and, where it is wanted, the radius; rows are asked for in order."""

        def make() -> list[Map]:
            self._pull(start, stop)
            return [step.rows.window(start, stop) for step in self._last]

        return self._record.band(make) if self._record else make()

    def _last_steps(self, *, radius: bool) -> tuple[Step, Step | None]:
        """The steps that make the image and, where it is wanted, the radius."""
        config = self.config
        levels: list[Step] = [self._photos[0]]
        for scale in range(2, config.num_scales + 1):
            larger = self._photos[1] if scale == 2 else levels[-1]
            levels.append(steps.Halve(larger, self._planar(3, scale), self._band(scale), mode=config.pyramid))
        state: Step | None = None
        parts: list[tuple[Sequence[Step], int]] = []
        for scale in range(config.num_scales, 0, -1):
            level = levels[scale - 1]
            taken = powers_taken(config.powers(scale), expansion=config.expansion, highest=self.highest)
            # a step that nobody asks for would keep what it reads for ever
            if not taken and config.memory != "convlstm":
                continue
            features = self._features(level, scale)
            state = self._state(features, state, scale)
            if not taken:
                continue
            joint, coefficients, seen = self._coefficients(features, state, scale)
            terms = [level]
            for _ in range(taken[-1]):
                rows, band = self._planar(3, scale), self._band(scale)
                terms.append(
                    steps.Term(
                        terms[-1], coefficients, rows, band, applied=self.network.blur, num_atoms=config.num_atoms
                    )
                )
            self._scales.append(_Scale(terms, coefficients))
            parts.append(([terms[k] for k in taken], 2 ** (scale - 1)))
        image: Step = steps.Series(levels[0], parts, self._planar(3, 1), self._band(1))
        if config.image_blocks and self.highest is None:
            assert joint is not None
            image = self._correct(levels[0], image, joint)
        return image, self._radius(coefficients, seen) if radius else None

    # ------------------------------------------------------------------------------------------------------- sizes

    def _size(self, scale: int, shrunk: int = 1) -> tuple[int, int]:
        """Height and width of scale t over a whole number."""
        step = 2 ** (scale - 1) * shrunk
        return self.height // step, self.width // step

    def _band(self, scale: int, shrunk: int = 1) -> int:
        return max(TILE, self.rows_at_once // (2 ** (scale - 1) * shrunk) // TILE * TILE)

    def _planar(self, channels: int, scale: int, shrunk: int = 1) -> Rows:
        return Rows(self._size(scale, shrunk), channels, planar=True)

    def _convolve(
        self, name: str, source: Step, channels: int, scale: int, shrunk: int, *,
        kernel: int = 3, stride: int = 1, enlarge: bool = False, residual: Step | None = None, pad: int = 1,
    ) -> Step:  # fmt: skip
        """A convolution whose output is at 1/shrunk of the scale, padded as the U-Net pads."""
        rows = Rows(self._size(scale, shrunk), channels, pad=pad, mode=self.config.padding)
        band = self._band(scale, shrunk)
        return steps.Convolve(
            self.network.layers[name], source, rows, band,
            kernel=kernel, stride=stride, enlarge=enlarge, residual=residual,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------------- parts

    def _features(self, level: Step, scale: int) -> Step:
        """`UNet`."""
        config = self.config
        stem, widths, counts = config.stem, config.widths, config.num_blocks
        channels = 3 * stem**2 + (EVIDENCE_BANDS if config.evidence else 0)
        rows = Rows(self._size(scale, stem), channels, pad=1, mode=config.padding)
        x: Step = steps.UNetInput(level, rows, self._band(scale, stem), stem, evidence=config.evidence)
        skips = []
        for i, width in enumerate(widths):
            shrunk = stem * 2**i
            x = self._convolve(f"unet.entries.{i}", x, width, scale, shrunk, stride=2 if i else 1)
            x = self._blocks(f"unet.encoders.{i}", counts[i], x, width, scale, shrunk)
            skips.append(x)
        x = self._convolve("unet.bottleneck_entry", x, widths[-1], scale, shrunk)
        x = self._blocks("unet.bottleneck", counts[-1], x, widths[-1], scale, shrunk)
        x = steps.Add(x, skips[-1], Rows(x.rows.size, widths[-1], pad=1, mode=config.padding), x.band)
        for i in reversed(range(len(widths))):
            shrunk = stem * 2**i
            x = self._blocks(f"unet.decoders.{i}", counts[i], x, widths[i], scale, shrunk)
            if i:
                x.rows.mode = "zeros"  # what transposed convolutions see beyond the ends; nothing else reads x
                up, skip = f"unet.ups.{i - 1}", skips[i - 1]
                x = self._convolve(up, x, widths[i - 1], scale, shrunk // 2, enlarge=True, residual=skip)
        return x

    def _blocks(self, name: str, count: int, x: Step, width: int, scale: int, shrunk: int) -> Step:
        """`ResidualBlock`s."""
        for i in range(count):
            first = self._convolve(f"{name}.{i}.first", x, width, scale, shrunk)
            x = self._convolve(f"{name}.{i}.second", first, width, scale, shrunk, residual=x)
        return x

    def _state(self, features: Step, previous: Step | None, scale: int) -> Step:
        """The memory cell: hidden and cell state (without memory, hidden alone) at 1/(stem pool) of the scale."""
        config = self.config
        pool, hidden, kernel = config.memory_pool, config.hidden_channels, config.memory_kernel
        recurrent, shrunk, width = config.memory == "convlstm", config.stem * pool, config.widths[0]
        previous = previous if recurrent else None
        size, band = self._size(scale, shrunk), self._band(scale, shrunk)
        rows = Rows(size, width + (hidden if recurrent else 0), pad=kernel // 2)
        joint = steps.MemoryInput(features, previous, rows, band, pool=pool, width=width, hidden=hidden)
        if not recurrent:
            return self._convolve("memory", joint, hidden, scale, shrunk, kernel=kernel, pad=0)
        gates = self._convolve("memory", joint, 4 * hidden, scale, shrunk, kernel=kernel, pad=0)
        return steps.State(gates, previous, Rows(size, 2 * hidden), band, hidden=hidden)

    def _coefficients(self, features: Step, state: Step, scale: int) -> tuple[Step | None, Step, Step | None]:
        """Features beside hidden state, where a head reads them so; the coefficients; the radius' logits, if any."""
        config = self.config
        stem, pool, count = config.stem, config.memory_pool, config.num_coefficients
        width, hidden = config.widths[0], config.hidden_channels
        size, band, band_full = self._size(scale, stem), self._band(scale, stem), self._band(scale)
        joint: Step | None = None
        if config.head == "radius" or (config.image_blocks and self.highest is None):
            rows = Rows(size, width + hidden, pad=1)
            joint = steps.Joint(features, state, rows, band, pool=pool, width=width, hidden=hidden)
        if config.head == "gated":
            attention = self._convolve("head", features, count, scale, stem, pad=0)
            x: Step = steps.Gate(attention, state, self._planar(count, scale, stem), band, pool=pool)
            whole = config.coefficients == "unit_sum"
            if whole or stem > 1:
                x = steps.GatedCoefficients(x, self._planar(count, scale), band_full, stem=stem, whole=whole)
            return joint, x, None
        assert joint is not None
        logits = self._convolve("head.posterior", joint, len(config.radii), scale, stem, kernel=1, pad=0)
        table = self.network.tables[scale - 1]
        coordinates = table.coordinates
        residual = self._convolve("head.residual", joint, coordinates * stem**2, scale, stem, pad=0)
        looked_up = steps.LookedUp(logits, Rows(size, coordinates), band, table)
        full = self._planar(count, scale)
        return joint, steps.RadiusCoefficients(looked_up, residual, full, band_full, table), logits

    def _radius(self, coefficients: Step, logits: Step | None) -> Step:
        """The blur radius at full size."""
        rows, band = self._planar(1, 1), self._band(1)
        if logits is None:
            return steps.DiscRadius(coefficients, rows, band, self.network.parameters)
        return steps.ExpectedRadius(logits, rows, band, radii=self.config.radii, stem=self.config.stem)

    def _correct(self, photo: Step, series: Step, joint: Step) -> Step:
        """`ImageHead`."""
        config = self.config
        stem, width, channels = config.stem, config.widths[0], config.widths[0] + config.hidden_channels
        rows = Rows(self._size(1, stem), channels + 6 * stem**2, pad=1, mode=config.padding)
        band = self._band(1, stem)
        x: Step = steps.ImageInput(joint, photo, series, rows, band, channels=channels, stem=stem)
        x = self._convolve("image_head.entry", x, width, 1, stem)
        x = self._blocks("image_head.blocks", config.image_blocks, x, width, 1, stem)
        x.rows.mode = "zeros"  # its exit's padding
        correction = self._convolve("image_head.exit", x, 3 * stem**2, 1, stem, pad=0)
        return steps.Correct(series, correction, self._planar(3, 1), self._band(1), stem=stem)
