"""The two operations that take nearly all the time: convolution and blur by atoms.

Compiled ones are here, those of PyTorch in `nrknet.fast.plain`.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nrknet.arrays import Floats, Map
from nrknet.fast import bindings
from nrknet.fast.bindings import call, image, planes, pointer
from nrknet.fast.compiler import library
from nrknet.fast.memory import zeros
from nrknet.fast.rows import CHANNELS


class Convolution(Protocol):
    """A convolution of padded rows with what follows it: bias, ReLU, a sum."""

    writes_halves: bool
    """Whether `out` may be float16, too."""
    reads_halves: bool
    """Whether `window` and `residual` may be float16, too."""

    def __call__(self, window: Map, out: Map, residual: Map | None = None) -> None:
        """Convolve.

        Args:
            window: (n', w', C) float32, from the first row and column that the first output needs; what lies beyond
                those that the last one needs is ignored. C is a multiple of 16.
            out: (n,w,K) to be written, K a multiple of 16.
            residual: (n,w,K) added in the end.
        """
        ...


class Blur(Protocol):
    """D_t, or I - D_t, on a band of rows."""

    def __call__(self, x: Map, coefficients: Map, out: Map, *, first: int, last: int, height: int) -> None:
        """Write t - D t (Eq. 7) on rows [first, last) of an image.

        Args:
            x: (3,n,w) rows of t from max(0, first - J) to min(height, last + J).
            coefficients: (K,last-first,w).
            out: (3,last-first,w).
            first, last: the rows.
            height: of the image.
        """
        ...


def convolution(
    weight: Floats, bias: Floats | None = None, *, stride: int = 1, relu: bool = False, enlarge: bool = False,
    integers: bool = False,
) -> Convolution:  # fmt: skip
    """The fastest convolution that there is here.

    Args:
        weight: (K,C,kh,kw).
        bias: (K,).
        stride: 1 or 2.
        relu: cut negative results off, before a residual is added.
        enlarge: the K outputs are K/4 channels of the four pixels, row by row, that a pixel becomes; K/4 is a
            multiple of 16. The weights are 3x3, those of upper pixels zero in the last row, of lower ones in the
            first, and so with the columns.
        integers: multiply 16-bit integers where the kernels can: less exact, and faster.
    """
    if library():
        return CompiledConvolution(weight, bias, stride=stride, relu=relu, enlarge=enlarge, integers=integers)
    from nrknet.fast.plain import TorchConvolution

    return TorchConvolution(*_filled(weight, bias), stride=stride, relu=relu, enlarge=enlarge)


def halves_are_kept() -> bool:
    """Whether the kernels here can keep maps in half precision."""
    kernels = library()
    return kernels is not None and bool(kernels.nrknet_halves())


def integers_summed() -> int:
    """Over how many channels the kernels here sum products of 16-bit integers; 0 where they multiply none."""
    kernels = library()
    return 0 if kernels is None else int(kernels.nrknet_integers())


def _filled(weight: Floats, bias: Floats | None) -> tuple[Floats, Floats | None]:
    """Copies with inputs and outputs filled up with zeros to multiples of 16."""
    outputs, inputs = (-n % CHANNELS for n in weight.shape[:2])
    weight = np.pad(weight, ((0, outputs), (0, inputs), (0, 0), (0, 0)))
    return weight, None if bias is None else np.pad(bias, (0, outputs))


_POINTS = ((0, 1), (1, -2 / 9), (-1, -2 / 9), (2, 1 / 90), (-2, 1 / 90), (1 / 2, 32 / 45), (-1 / 2, 32 / 45))
"""Where Winograd's algorithm evaluates polynomials, and a factor for each; one more point is infinity."""


def winograd_transform(taps: int) -> NDArray[np.float64]:
    """(8,taps) the transform of a filter."""
    rows = [[factor * point**i for i in range(taps)] for point, factor in _POINTS]
    return np.array([*rows, [0] * (taps - 1) + [1]], np.float64)


_ENOUGH = 64
"""Inputs, and outputs, from which on integers take less time than floats."""


def quantized(matrices: NDArray[np.float64], *, summed: int, levels: int) -> tuple[NDArray[np.int16], Floats]:
    """Weights as 16-bit integers, so small that no sum of products runs over in 32 bits, whatever the inputs.

    Args:
        matrices: (P,C,K) weights of C inputs and K outputs at P points.
        summed: inputs whose products are summed up.
        levels: how large integers that stand for inputs are.

    Returns:
        (P,C,K) the integers, and (P,K) the steps that they count.
    """
    integers, steps = np.empty(matrices.shape, np.int16), np.empty(matrices[:, 0].shape, np.float32)
    room = ((1 << 31) - 1) // (levels + 1) - summed  # rounding adds up to half a step to each
    groups = range(0, matrices.shape[1], summed)
    for matrix, counts, step in zip(matrices, integers, steps, strict=True):  # what fits into a cache
        weights = np.ascontiguousarray(matrix, np.float32)
        size = np.abs(weights)
        largest_sum = np.add.reduceat(size, groups).max(axis=0)
        np.maximum(largest_sum / room, size.max(axis=0) / np.iinfo(np.int16).max, out=step).clip(1e-30, out=step)
        with np.errstate(invalid="ignore"):  # steps that are no numbers are noticed in what the network gives
            counts[...] = np.rint(weights / step)
    return integers, steps


def _in_pairs(integers: NDArray[np.int16]) -> NDArray[np.int32]:
    """(P,C,K) integers as (P,C/2,K) of 32 bits, each two of neighbouring inputs, the first in the lower half."""
    lower, upper = integers[:, ::2].astype(np.int32), integers[:, 1::2].astype(np.int32)
    return lower & 0xFFFF | upper << 16


def _in_panels(matrices: NDArray[Any], kind: type[np.generic], panel: int) -> NDArray[Any]:
    """(P,C,K) matrices as a kernel reads them: panels of columns, each row by row."""
    points, depth, outputs = matrices.shape
    weights = zeros(matrices.size).view(kind).reshape(points, -1)
    for k in range(0, outputs, panel):
        part = matrices[..., k : k + panel].reshape(points, -1)
        weights[:, k * depth : k * depth + part.shape[1]] = part
    return weights


class CompiledConvolution:
    """`Convolution` by our kernels: Winograd's algorithm for 3x3 and 5x5, directly otherwise.

    Colours alone are too few inputs for it to pay, and those that fill them up to 16 are then left out. With `integers`
    Winograd's algorithm multiplies 16-bit integers where there are enough products to make up for their making. They
    count steps, which have a size for each point of a tile, and one for each point of an output's filter.
    """

    def __init__(
        self, weight: Floats, bias: Floats | None, *, stride: int, relu: bool, enlarge: bool, integers: bool
    ) -> None:
        kernels = library()
        assert kernels is not None
        counted = weight.shape[1]
        weight, self._bias = _filled(weight, bias)
        self._outputs, self._inputs, high, wide = weight.shape
        self._depth = self._inputs
        self._window = bindings.Window(high, wide, stride)
        self._relu, self._enlarge = relu, enlarge
        self._taps = 0
        if enlarge:  # the 2x2 taps of each sub-pixel
            phases = weight.reshape(2, 2, -1, *weight.shape[1:])
            parts = [phases[y, x, :, :, y : y + 2, x : x + 2] for y in range(2) for x in range(2)]
            weight, self._taps = np.concatenate(parts), 2
        elif counted <= 4:
            self._depth, weight = counted, weight[:, :counted]
        elif (high, wide, stride) == (3, 3, 2):
            weight, self._taps, self._depth = _as_blocks(weight), 2, 4 * self._inputs
        elif high == wide and high in (3, 5) and stride == 1:
            self._taps = high
        if self._taps:
            g = winograd_transform(self._taps)
            points = np.kron(g, g) @ weight.astype(np.float64).reshape(-1, self._taps**2).T  # (64, outputs inputs)
            matrices = points.reshape(-1, self._outputs, self._depth).swapaxes(1, 2)
        else:
            matrices = weight.transpose(2, 3, 1, 0).reshape(1, -1, self._outputs)
        self.writes_halves = halves_are_kept()
        self.reads_halves = self.writes_halves and (self._taps > 0 or (high, wide) == (1, 1))
        self._steps: Floats | None = None
        panel = kernels.nrknet_panel()
        if integers and self._taps and min(self._depth, self._outputs) >= _ENOUGH and integers_summed():
            counts, self._steps = quantized(matrices, summed=integers_summed(), levels=kernels.nrknet_levels())
            self._weights = _in_panels(_in_pairs(counts), np.int32, panel)
        else:
            self._weights = _in_panels(matrices, np.float32, panel)

    def __call__(self, window: Map, out: Map, residual: Map | None = None) -> None:
        assert window.shape[2] == self._inputs and window.strides[1] == self._inputs * window.itemsize
        assert out.shape[2] == self._outputs // (4 if self._enlarge else 1)
        rows, columns = (n // 2 for n in out.shape[:2]) if self._enlarge else out.shape[:2]
        halves = [x is not None and x.dtype == np.float16 for x in (window, out, residual)]
        maps = [image(x, halves=half) for x, half in zip((window, out, residual), halves, strict=True)]
        assert self.reads_halves or not (halves[0] or halves[2])
        layer = bindings.Layer(
            pointer(self._weights), pointer(self._steps), pointer(self._bias),
            *maps, rows, columns, self._depth, self._outputs,
            self._relu, self._taps, self._window.stride, self._enlarge, *halves,
        )  # fmt: skip
        if self._taps:
            call("winograd", layer)
        else:
            call("direct", layer, self._window)


def _as_blocks(weight: Floats) -> Floats:
    """A 3x3 convolution's (K,C,3,3) weight at stride 2 as a 2x2 one's (K,4C,2,2), whose inputs are blocks of 2x2."""
    outputs, inputs = weight.shape[:2]
    taps = np.pad(weight, ((0, 0), (0, 0), (0, 1), (0, 1))).reshape(outputs, inputs, 2, 2, 2, 2)
    return taps.transpose(0, 3, 5, 1, 2, 4).reshape(outputs, 4 * inputs, 2, 2)  # from (K, C, tap, row, tap, column)


class CompiledBlur:
    """`Blur` by our kernel, for recursive atoms.

    Args:
        taps: (J, 1 or 3, 3) the recursive atoms' one-dimensional factors a_j (Eq. 3), for all colours or for each.
        mix: (3,3K,1,1) the weight and (3,) the bias of `LearnedFusion`, or None for the plain sum over j.
    """

    def __init__(self, taps: Floats, mix: tuple[Floats, Floats] | None = None) -> None:
        self._atoms = len(taps)
        self._taps = np.broadcast_to(taps, (len(taps), 3, 3)).copy()
        self._mix = self._bias = None
        if mix is not None:
            weight, bias = mix
            self._mix = weight.reshape(3, -1, 3).swapaxes(0, 1).copy()  # (K, to, from)
            self._bias = bias.copy()

    def __call__(self, x: Map, coefficients: Map, out: Map, *, first: int, last: int, height: int) -> None:
        above = min(self._atoms, first)
        held = planes(x[:, above:]), planes(coefficients), planes(out)
        sizes = (self._atoms, first, last, height, x.shape[2], True)
        call("blur", bindings.Blur(pointer(self._taps), pointer(self._mix), pointer(self._bias), *held, *sizes))
