"""What happens pixel by pixel between the convolutions: compiled, or by `nrknet.fast.plain` in PyTorch.

Maps are (rows, columns, channels), planar ones (channels, rows, columns). Of a window its first row's number goes
along; a window has all rows that are needed, or ends where its map ends.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nrknet.arrays import Floats, Map, Pixels
from nrknet.config import RESIDUAL_STEP
from nrknet.fast import bindings
from nrknet.fast.bindings import call, call_once, image, planes, pointer, source
from nrknet.fast.compiler import library
from nrknet.fast.memory import copy
from nrknet.fast.parts import BLOCKS, ENLARGE, Blocks, Part
from nrknet.fast.rows import CHANNELS


def join(parts: Sequence[Part | Blocks], out: Map, *, start: int, stop: int) -> None:
    """Put up to three maps side by side in the channels of rows [start, stop) of another, and zeros into the rest."""
    if library():
        sizes = (start, stop, *out.shape[1:], out.dtype == np.float16, len(parts))
        call("join", bindings.Join(image(out, halves=True), *sizes, tuple(map(_part, parts))))
        return
    from nrknet.fast import plain

    plain.join(parts, out, start=start, stop=stop)


def _part(part: Part | Blocks) -> Any:
    if isinstance(part, Blocks):
        one, other = planes(part.one), planes(part.other)
        return bindings.Part(source(None), one, other, BLOCKS, False, part.stem, part.gain, part.shift)
    halves = part.window.dtype == np.float16
    assert not (halves and part.mode == ENLARGE)
    window = source(part.window, part.first, part.channels, halves=True)
    return bindings.Part(window, planes(None), planes(None), part.mode, halves)


def state(gates: Map, previous: tuple[Map, int] | None, out: Map, *, start: int, stop: int, hidden: int) -> None:
    """The ConvLSTM's hidden and cell state (n,w,2H) from its gates and the coarser scale's state (window, first)."""
    if library():
        before = source(None) if previous is None else source(*previous)
        arguments = (source(gates, start), before, image(out), start, stop, out.shape[1], hidden)
        call("state", bindings.State(*arguments))
        return
    from nrknet.fast import plain

    plain.state(gates, previous, out, start=start, stop=stop, hidden=hidden)


def gate(attention: Map, hidden: Map, first: int, out: Map, *, start: int, stop: int, pool: int) -> None:
    """h attention + h, planar (K,n,w); h is the hidden state (window from row `first`) repeated `pool` times."""
    if library():
        held = source(attention, start), source(hidden, first)
        call("gate", bindings.Gate(*held, planes(out), start, stop, out.shape[2], len(out), pool))
        return
    from nrknet.fast import plain

    plain.gate(attention, hidden, first, out, start=start, stop=stop, pool=pool)


class Table:
    """`RadiusHead` for one scale, prepared: from logits to coordinates, and from these to coefficients.

    Args:
        table: (R-1,P) coordinates of each radius but 0, whose are zero.
        basis: (P,J) what each coordinate adds to the coefficients beside the delta's.
        unit_sum: whether coefficients sum to 1, the delta's making up for the others.
        stem: coefficients are at so many times the resolution of logits.
    """

    def __init__(self, table: Floats, basis: Floats, *, unit_sum: bool, stem: int) -> None:
        self.coordinates, self.stem = table.shape[1], stem
        self.table = filled(table)
        delta = -basis.sum(axis=1, keepdims=True) * unit_sum
        self.basis = filled(np.concatenate([delta, basis], axis=1))

    def look_up(self, logits: Map, out: Map, *, start: int, stop: int) -> None:
        """Softmax over the radii of (n,w,R), times the table: (n,w,P)."""
        look_up(logits, self.table, out, start=start, stop=stop)

    def coefficients(
        self, looked_up: tuple[Map, int], residual: tuple[Map, int], out: Map, *, start: int, stop: int
    ) -> None:
        """Planar coefficients (K,n,w) from looked-up coordinates and residual, both windows with their first row.

        Channels of the residual are P coordinates of the first of stem x stem pixels, then those of the next.
        """
        if library():
            sizes = (out.shape[2], self.coordinates, len(out), self.basis.shape[1], self.stem)
            held = source(*looked_up), source(*residual), planes(out), pointer(self.basis)
            call("coefficients", bindings.Coefficients(*held, start, stop, *sizes, RESIDUAL_STEP))
            return
        from nrknet.fast import plain

        where = {"start": start, "stop": stop, "stem": self.stem}
        plain.coefficients(looked_up, residual, self.basis[: self.coordinates], out, **where, step=RESIDUAL_STEP)


def filled(x: Floats) -> Floats:
    """A copy of (n,P), columns filled up with zeros to a multiple of 16."""
    return np.pad(x, ((0, 0), (0, -x.shape[1] % CHANNELS))).astype(np.float32)


def look_up(logits: Map, table: Floats, out: Map, *, start: int, stop: int) -> None:
    """Softmax over the radii of (n,w,R), times a table (R-1,P) whose first row, of zeros, is left out: (n,w,P)."""
    radii = len(table) + 1
    if library():
        sizes = (out.shape[1], radii, table.shape[1])
        call("look_up", bindings.LookUp(source(logits, start), image(out), pointer(table), start, stop, *sizes))
        return
    from nrknet.fast import plain

    plain.look_up(logits, table, out, radii=radii)


def shuffle_add(x: Map, pixels: tuple[Map, int], out: Map, *, stem: int, start: int, stop: int) -> None:
    """Planar x (3,n,w) plus the sub-pixels of a window (m,w/stem,3 stem^2) with its first row."""
    if library():
        held = planes(x), planes(out), source(*pixels)
        call("shuffle", bindings.Shuffle(*held, start, stop, out.shape[2], stem))
        return
    from nrknet.fast import plain

    plain.shuffle_add(x, pixels, out, stem=stem, start=start, stop=stop)


def enlarge_add(window: Map, first: int, base: Map, out: Map, *, factor: int, start: int, stop: int) -> None:
    """Planar (C,n,w) plus a planar window's bilinear enlargement; `out` may be `base`."""
    if library():
        sizes = (first, window.shape[1], window.shape[2], start, stop, out.shape[2], factor, len(out))
        call("enlarge", bindings.Enlarge(planes(window), planes(base), planes(out), *sizes))
        return
    from nrknet.fast import plain

    plain.enlarge_add(window, first, base, out, factor=factor, start=start, stop=stop)


def from_pixels(photo: Pixels, out: Map, *, start: int, stop: int, swap: bool) -> None:
    """Planar rows [start, stop) of a photo (H,W,3) in [0, 1]; beyond its ends the last row and column repeat.

    `swap` turns RGB into BGR.
    """
    height, width = photo.shape[:2]
    part = photo[min(start, height - 1) : stop]
    if library() and _in_rows(part):
        where = (part.ctypes.data, part.strides[0] // part.itemsize)
        sizes = (start, stop, height, width, out.shape[2], part.itemsize == 2, swap)
        call_once("from_pixels", bindings.FromPixels(*where, planes(out), *sizes))
        return
    pixels = part.astype(np.float32).transpose(2, 0, 1) / np.float32(np.iinfo(part.dtype).max)
    held = pixels.shape[1]
    out[:, :held, :width] = pixels[::-1] if swap else pixels
    out[:, held:, :width] = out[:, held - 1 : held, :width]
    out[..., width:] = out[..., width - 1 : width]


def to_pixels(image: Map, out: Pixels, *, swap: bool) -> None:
    """Planar (3,n,w) in [0, 1], clipped and rounded into (n,w,3) of 8 or 16 bits; `swap` turns BGR into RGB."""
    if library() and _in_rows(out):
        where = (out.ctypes.data, out.strides[0] // out.itemsize)
        call_once("to_pixels", bindings.ToPixels(planes(image), *where, *out.shape[:2], out.itemsize == 2, swap))
        return
    rounded = np.rint(image.clip(0, 1) * np.float32(np.iinfo(out.dtype).max)).transpose(1, 2, 0)
    out[...] = rounded[..., ::-1] if swap else rounded


def _in_rows(pixels: Pixels) -> bool:
    """Whether rows lie in memory as the kernels take them."""
    return pixels.strides[1:] == (3 * pixels.itemsize, pixels.itemsize) and pixels.strides[0] % pixels.itemsize == 0


def halve(window: Map, first: int, height: int, out: Map, *, start: int, stop: int, mode: str) -> None:
    """Rows [start, stop) of the next level (3,n,w) from a planar window that holds rows from `first` of `height` on."""
    if library() and mode == "antialias":
        sizes = (first, window.shape[1], window.shape[2], start, stop, out.shape[2], height)
        call("halve", bindings.Halve(planes(window), planes(out), *sizes))
        return
    if mode == "nearest":
        copy(out, window[:, 2 * start - first : 2 * stop - first : 2, ::2])
        return
    from nrknet.fast import plain

    plain.halve(window, first, out, start=start, stop=stop, mode=mode)


def evidence(
    level: Map, first: int, height: int, out: Map, *, stem: int, channel: int, start: int, stop: int
) -> None:
    """`blur_evidence` of a planar level (3,n,w), from row `first` of `height`: four channels of rows [start, stop)."""
    if library():
        sizes = (first, first + level.shape[1], height, level.shape[2], start, stop, stem, channel)
        call("evidence", bindings.Evidence(planes(level), image(out), *sizes))
        return
    from nrknet.fast import plain

    plain.evidence(level, first, out, stem=stem, channel=channel, start=start, stop=stop)
