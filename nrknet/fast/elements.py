"""What happens pixel by pixel between the convolutions: compiled, and the same in PyTorch.

Maps are (rows, columns, channels), planar ones (channels, rows, columns). Of a window its first row's number goes
along; a window has all rows that are needed, or ends where its map ends.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nrknet.analysis import Pixels
from nrknet.fast import bindings
from nrknet.fast.bindings import call, image, planes, pointer, source
from nrknet.fast.compiler import library
from nrknet.fast.rows import CHANNELS
from nrknet.layers import RESIDUAL_STEP, RadiusHead, blur_evidence, upsample
from nrknet.neumann import downsample

COPY, AVERAGE, ENLARGE, REPEAT = range(4)
"""How `join` takes a map: as it is, or averaged, bilinearly enlarged or repeated by 2 in both directions."""


class Part(NamedTuple):
    """The first channels of a window of a map, and how `join` takes it."""

    window: Tensor
    first: int
    channels: int
    mode: int


def enlarged(window: Tensor, first: int, factor: int, start: int, stop: int) -> Tensor:
    """Rows [start, stop) of the bilinear enlargement of a map (n,w,C) as (m, factor w, C)."""
    larger = upsample(window.permute(2, 0, 1)[None], factor)[0].permute(1, 2, 0)
    return larger[start - first * factor : stop - first * factor]


def repeated(window: Tensor, first: int, factor: int, start: int, stop: int) -> Tensor:
    """Rows [start, stop) of a map (n,w,C) with every pixel `factor` times in both directions."""
    if factor > 1:
        window = window.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    return window[start - first * factor : stop - first * factor]


def _shuffled(pixels: Tensor, first: int, stem: int, start: int, stop: int) -> Tensor:
    """Rows [start, stop) of the image (C,m,W) whose stem x stem blocks are a map's (n,w,C stem^2) channels."""
    return F.pixel_shuffle(pixels.permute(2, 0, 1), stem)[:, start - first * stem : stop - first * stem]


def join(parts: list[Part], out: Tensor, *, start: int, stop: int) -> None:
    """Put maps side by side in the channels of rows [start, stop) of another."""
    if library():
        listed = [bindings.Part(source(p.window, p.first, p.channels), p.mode) for p in parts]
        call("join", bindings.Join(image(out), start, stop, out.shape[1], len(parts), tuple(listed)))
        return
    channel = 0
    for window, first, channels, mode in parts:
        x = window[..., :channels]
        if mode == AVERAGE:
            x = F.avg_pool2d(x.permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0)[start - first // 2 : stop - first // 2]
        elif mode == ENLARGE:
            x = enlarged(x, first, 2, start, stop)
        else:
            x = repeated(x, first, 2 if mode == REPEAT else 1, start, stop)
        out[..., channel : channel + channels] = x
        channel += channels


def state(
    gates: Tensor, previous: tuple[Tensor, int] | None, out: Tensor, *, start: int, stop: int, hidden: int
) -> None:
    """The ConvLSTM's hidden and cell state (n,w,2H) from its gates and the coarser scale's state (window, first)."""
    if library():
        before = source(None) if previous is None else source(*previous)
        arguments = (source(gates, start), before, image(out), start, stop, out.shape[1], hidden)
        call("state", bindings.State(*arguments))
        return
    i, f, o = gates[..., : 3 * hidden].sigmoid().chunk(3, dim=2)
    cell = i * gates[..., 3 * hidden : 4 * hidden].tanh()
    if previous is not None:
        window, first = previous
        cell.addcmul_(f, enlarged(window[..., hidden : 2 * hidden], first, 2, start, stop))
    out[..., hidden : 2 * hidden] = cell
    torch.mul(o, cell.tanh_(), out=out[..., :hidden])


def gate(attention: Tensor, hidden: Tensor, first: int, out: Tensor, *, start: int, stop: int, pool: int) -> None:
    """h attention + h, planar (K,n,w); h is the hidden state (window from row `first`) repeated `pool` times."""
    count = len(out)
    if library():
        held = source(attention, start), source(hidden, first)
        call("gate", bindings.Gate(*held, planes(out), start, stop, out.shape[2], count, pool))
        return
    h = repeated(hidden[..., :count], first, pool, start, stop).permute(2, 0, 1)
    torch.addcmul(h, h, attention[..., :count].permute(2, 0, 1), out=out)


class Table:
    """`RadiusHead` for one scale, prepared: from logits to coordinates, and from these to coefficients."""

    def __init__(self, head: RadiusHead, scale: int) -> None:
        self.head = head
        table = head.table[scale - 1].detach().float().cpu()
        self.radii, self.coordinates = len(table) + 1, table.shape[1]
        self.table = F.pad(table, (0, -self.coordinates % CHANNELS)).contiguous()
        # per coordinate what it adds to every coefficient
        nothing = table.new_zeros(1, self.coordinates, 1, 1)
        basis = head.coefficients(torch.eye(self.coordinates)[None, :, :, None]) - head.coefficients(nothing)
        self.basis = F.pad(basis[0, :, :, 0].t(), (0, -basis.shape[1] % CHANNELS)).detach().contiguous()

    def look_up(self, logits: Tensor, out: Tensor, *, start: int, stop: int) -> None:
        """Softmax over the radii of (n,w,R), times the table: (n,w,P)."""
        if library():
            sizes = (out.shape[1], self.radii, self.table.shape[1])
            held = source(logits, start), image(out), pointer(self.table)
            call("look_up", bindings.LookUp(*held, start, stop, *sizes))
            return
        out.copy_(logits[..., : self.radii].softmax(dim=2)[..., 1:] @ self.table)

    def coefficients(
        self, looked_up: tuple[Tensor, int], residual: tuple[Tensor, int], out: Tensor, *, start: int, stop: int
    ) -> None:
        """Planar coefficients (K,n,w) from looked-up coordinates and residual, both windows with their first row."""
        stem, count = self.head.stem, self.coordinates
        if library():
            sizes = (out.shape[2], count, len(out), self.basis.shape[1], stem)
            held = source(*looked_up), source(*residual), planes(out), pointer(self.basis)
            call("coefficients", bindings.Coefficients(*held, start, stop, *sizes, RESIDUAL_STEP))
            return
        window, first = looked_up
        coordinates = enlarged(window[..., :count], first, stem, start, stop).permute(2, 0, 1)
        learned = _shuffled(residual[0][..., : count * stem**2], residual[1], stem, start, stop)
        out.copy_(self.head.coefficients(coordinates.add(learned, alpha=RESIDUAL_STEP)[None])[0])


def unshuffle(
    one: Tensor, other: Tensor | None, out: Tensor, *, stem: int, channel: int, gain: float = 1, shift: float = 0
) -> None:
    """gain (one - other) + shift of planar (3,n,w), blocks of stem x stem pixels into channels from `channel` on."""
    if library():
        held = planes(one), planes(other), image(out)
        call("unshuffle", bindings.Unshuffle(*held, *out.shape[:2], stem, channel, gain, shift))
        return
    x = one if other is None else one - other
    pixels = F.pixel_unshuffle(x, stem).permute(1, 2, 0)
    torch.add(pixels * gain, shift, out=out[..., channel : channel + pixels.shape[2]])


def shuffle_add(x: Tensor, pixels: tuple[Tensor, int], out: Tensor, *, stem: int, start: int, stop: int) -> None:
    """Planar x (3,n,w) plus the sub-pixels of a window (m,w/stem,3 stem^2) with its first row."""
    if library():
        held = planes(x), planes(out), source(*pixels)
        call("shuffle", bindings.Shuffle(*held, start, stop, out.shape[2], stem))
        return
    window, first = pixels
    torch.add(x, _shuffled(window[..., : 3 * stem**2], first, stem, start, stop), out=out)


def enlarge_add(window: Tensor, first: int, out: Tensor, *, factor: int, start: int, stop: int) -> None:
    """Add to planar (C,n,w) a planar window's bilinear enlargement."""
    if library():
        sizes = (first, window.shape[1], window.shape[2], start, stop, out.shape[2], factor, len(out))
        call("enlarge", bindings.Enlarge(planes(window), planes(out), *sizes))
        return
    out += upsample(window[None], factor)[0, :, start - first * factor : stop - first * factor]


def from_pixels(photo: Pixels, out: Tensor, *, start: int, stop: int, swap: bool) -> None:
    """Planar rows [start, stop) of a photo (H,W,3) in [0, 1]; beyond its ends the last row and column repeat.

    `swap` turns RGB into BGR.
    """
    height, width = photo.shape[:2]
    part = photo[min(start, height - 1) : stop]
    if library() and _in_rows(part):
        where = (part.ctypes.data, part.strides[0] // part.itemsize)
        sizes = (start, stop, height, width, out.shape[2], part.itemsize == 2, swap)
        call("from_pixels", bindings.FromPixels(*where, planes(out), *sizes))
        return
    pixels = torch.from_numpy(part.astype(np.float32)).permute(2, 0, 1).div_(float(np.iinfo(part.dtype).max))
    held = pixels.shape[1]
    out[:, :held, :width] = pixels.flip(0) if swap else pixels
    out[:, held:, :width] = out[:, held - 1 : held, :width].clone()
    out[..., width:] = out[..., width - 1 : width].clone()


def to_pixels(image: Tensor, out: Pixels, *, swap: bool) -> None:
    """Planar (3,n,w) in [0, 1], clipped and rounded into (n,w,3) of 8 or 16 bits; `swap` turns BGR into RGB."""
    if library() and _in_rows(out):
        where = (out.ctypes.data, out.strides[0] // out.itemsize)
        call("to_pixels", bindings.ToPixels(planes(image), *where, *out.shape[:2], out.itemsize == 2, swap))
        return
    top = float(np.iinfo(out.dtype).max)
    rounded = image.clamp(0, 1).mul(top).round_().permute(1, 2, 0).numpy()
    out[...] = rounded[..., ::-1] if swap else rounded


def _in_rows(pixels: Pixels) -> bool:
    """Whether rows lie in memory as the kernels take them."""
    return pixels.strides[1:] == (3 * pixels.itemsize, pixels.itemsize) and pixels.strides[0] % pixels.itemsize == 0


def halve(window: Tensor, first: int, height: int, out: Tensor, *, start: int, stop: int, mode: str) -> None:
    """Rows [start, stop) of the next level (3,n,w) from a planar window that holds rows from `first` of `height` on."""
    if mode == "antialias" and library():
        sizes = (first, window.shape[1], window.shape[2], start, stop, out.shape[2], height)
        call("halve", bindings.Halve(planes(window), planes(out), *sizes))
        return
    out.copy_(downsample(window[None], mode=mode)[0, :, start - first // 2 : stop - first // 2])


def evidence(
    level: Tensor, first: int, height: int, out: Tensor, *, stem: int, channel: int, start: int, stop: int
) -> None:
    """`blur_evidence` of a planar level (3,n,w), from row `first` of `height`: four channels of rows [start, stop)."""
    if library():
        sizes = (first, first + level.shape[1], height, level.shape[2], start, stop, stem, channel)
        call("evidence", bindings.Evidence(planes(level), image(out), *sizes))
        return
    found = blur_evidence(level[None], stem)[0].permute(1, 2, 0)
    out[..., channel : channel + found.shape[2]] = found[start - first // stem : stop - first // stem]
