"""What the kernels do, in PyTorch: for where they cannot be compiled, and for what there is no kernel for.

Functions are those of `nrknet.fast.elements` and take what these take; what `nrknet.fast.operations` makes is here too.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nrknet.analysis import ScaleDetails, disc_radius
from nrknet.arrays import Floats, Map
from nrknet.atoms import AtomBank
from nrknet.fast.parts import AVERAGE, ENLARGE, REPEAT, Blocks, Part
from nrknet.layers import blur_evidence, unit_sum, upsample
from nrknet.model import NRKNet
from nrknet.neumann import BlurOperator, LearnedFusion, downsample

Function = TypeVar("Function", bound=Callable[..., Any])


def on_tensors(function: Function) -> Function:
    """Let a function of tensors take arrays, whose memory they share; nothing is recorded for gradients."""

    @wraps(function)
    @torch.inference_mode()
    def taken(*arguments: Any, **options: Any) -> Any:
        return function(*map(_as_tensors, arguments), **options)

    return cast(Function, taken)


def _as_tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return torch.from_numpy(value)
    if isinstance(value, Part | Blocks):
        return value._replace(**{name: _as_tensors(part) for name, part in value._asdict().items()})
    return type(value)(map(_as_tensors, value)) if type(value) in (list, tuple) else value


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


@on_tensors
def join(parts: Sequence[Any], out: Any, *, start: int, stop: int) -> None:
    channel = 0
    for part in parts:
        x = _blocks(part) if isinstance(part, Blocks) else _taken(part, start, stop)
        out[..., channel : channel + x.shape[2]] = x
        channel += x.shape[2]
    out[..., channel:] = 0


def _blocks(part: Any) -> Tensor:
    x = part.one if part.other is None else part.one - part.other
    return F.pixel_unshuffle(x, part.stem).permute(1, 2, 0) * part.gain + part.shift


def _taken(part: Any, start: int, stop: int) -> Tensor:
    """Rows [start, stop) of what a `Part` is."""
    x = part.window[..., : part.channels]
    if part.mode == AVERAGE:
        x = F.avg_pool2d(x.permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0)
        return x[start - part.first // 2 : stop - part.first // 2]
    if part.mode == ENLARGE:
        return enlarged(x, part.first, 2, start, stop)
    return repeated(x, part.first, 2 if part.mode == REPEAT else 1, start, stop)


@on_tensors
def state(gates: Any, previous: Any, out: Any, *, start: int, stop: int, hidden: int) -> None:
    i, f, o = gates[..., : 3 * hidden].sigmoid().chunk(3, dim=2)
    cell = i * gates[..., 3 * hidden : 4 * hidden].tanh()
    if previous is not None:
        window, first = previous
        cell.addcmul_(f, enlarged(window[..., hidden : 2 * hidden], first, 2, start, stop))
    out[..., hidden : 2 * hidden] = cell
    torch.mul(o, cell.tanh_(), out=out[..., :hidden])


@on_tensors
def gate(attention: Any, hidden: Any, first: int, out: Any, *, start: int, stop: int, pool: int) -> None:
    count = len(out)
    h = repeated(hidden[..., :count], first, pool, start, stop).permute(2, 0, 1)
    torch.addcmul(h, h, attention[..., :count].permute(2, 0, 1), out=out)


@on_tensors
def look_up(logits: Any, table: Any, out: Any, *, radii: int) -> None:
    out.copy_(logits[..., :radii].softmax(dim=2)[..., 1:] @ table)


@on_tensors
def coefficients(
    looked_up: Any, residual: Any, basis: Any, out: Any, *, start: int, stop: int, stem: int, step: float
) -> None:
    count, (window, first) = len(basis), looked_up
    coordinates = enlarged(window[..., :count], first, stem, start, stop).permute(2, 0, 1)
    pixels = residual[0][..., : count * stem**2].unflatten(2, (-1, count)).transpose(2, 3).flatten(2)
    learned = _shuffled(pixels, residual[1], stem, start, stop)
    coordinates = coordinates.add(learned, alpha=step)
    out.copy_((basis[:, : len(out)].t() @ coordinates.flatten(1)).view(out.shape))
    out[0] += 1


@on_tensors
def shuffle_add(x: Any, pixels: Any, out: Any, *, stem: int, start: int, stop: int) -> None:
    window, first = pixels
    torch.add(x, _shuffled(window[..., : 3 * stem**2], first, stem, start, stop), out=out)


@on_tensors
def enlarge_add(window: Any, first: int, base: Any, out: Any, *, factor: int, start: int, stop: int) -> None:
    larger = upsample(window[None], factor)[0, :, start - first * factor : stop - first * factor]
    torch.add(base, larger, out=out)


@on_tensors
def halve(window: Any, first: int, out: Any, *, start: int, stop: int, mode: str) -> None:
    out.copy_(downsample(window[None], mode=mode)[0, :, start - first // 2 : stop - first // 2])


@on_tensors
def evidence(level: Any, first: int, out: Any, *, stem: int, channel: int, start: int, stop: int) -> None:
    found = blur_evidence(level[None], stem)[0].permute(1, 2, 0)
    out[..., channel : channel + found.shape[2]] = found[start - first // stem : stop - first // stem]


# ----------------------------------------------------------------------------------------- what has no kernel at all


@on_tensors
def gated_coefficients(gated: Any, first: int, out: Any, *, stem: int, whole: bool, start: int, stop: int) -> None:
    """The rest of `GatedHead` for rows [start, stop): enlargement and, where `whole`, coefficients that sum to 1."""
    found = upsample(gated[None], stem)[:, :, start - first * stem : stop - first * stem]
    out.copy_(unit_sum(found)[0] if whole else found[0])


@on_tensors
def radius_of_discs(coefficients: Any, out: Any, *, bank: AtomBank) -> None:
    """`disc_radius` of planar coefficients."""
    out.copy_(disc_radius(coefficients[None], bank)[0])


def scale_details(terms: Sequence[Floats], gamma: Floats, model: NRKNet) -> ScaleDetails:
    """What was kept of a scale, as the analysis takes it."""
    coefficients = torch.from_numpy(gamma)
    operator = BlurOperator(model.atoms, coefficients, model.fusion)
    return ScaleDetails(tuple(map(torch.from_numpy, terms)), coefficients, operator)


class TorchConvolution:
    """`Convolution` by PyTorch."""

    writes_halves = reads_halves = False

    def __init__(self, weight: Floats, bias: Floats | None, *, stride: int, relu: bool, enlarge: bool) -> None:
        self.weight = torch.from_numpy(weight).contiguous(memory_format=torch.channels_last)
        self.bias = None if bias is None else torch.from_numpy(bias)
        self.stride, self.relu, self.enlarge = stride, relu, enlarge

    def __call__(self, window: Map, out: Map, residual: Map | None = None) -> None:
        self._convolve(window, out, residual)

    @torch.inference_mode()
    def _convolve(self, *maps: Map | None) -> None:
        window, out, residual = map(_as_tensors, maps)
        high, wide = self.weight.shape[-2:]
        rows, columns = (n // 2 for n in out.shape[:2]) if self.enlarge else out.shape[:2]
        window = window[: (rows - 1) * self.stride + high, : (columns - 1) * self.stride + wide]
        result = F.conv2d(window.permute(2, 0, 1)[None], self.weight, self.bias, self.stride)[0].permute(1, 2, 0)
        if self.relu:
            result = result.relu_()
        if self.enlarge:
            result = result.unflatten(2, (2, 2, -1)).permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)
        if residual is None:
            out.copy_(result)
        else:
            torch.add(result, residual, out=out)


class TorchBlur:
    """`Blur` by PyTorch, for any atoms."""

    def __init__(self, bank: AtomBank, fusion: LearnedFusion | None) -> None:
        self.bank, self.fusion = bank, fusion

    @torch.inference_mode()
    def __call__(self, x: Floats, coefficients: Floats, out: Floats, *, first: int, last: int, height: int) -> None:
        image, gamma, result = map(torch.from_numpy, (x, coefficients, out))
        above = min(self.bank.support // 2, first)
        inside = slice(above, above + last - first)
        # in what is cut away the coefficients do not matter
        padded = F.pad(gamma, (0, 0, above, image.shape[1] - above - (last - first)))
        operator = BlurOperator(self.bank, padded[None], self.fusion)
        torch.sub(image[:, inside], operator(image[None])[0, :, inside], out=result)
