"""The two operations that take nearly all the time, compiled, and in PyTorch: convolution and blur by atoms."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from nrknet.atoms import AtomBank, RecursiveAtoms
from nrknet.fast import bindings
from nrknet.fast.bindings import call, image, planes, pointer
from nrknet.fast.compiler import library
from nrknet.fast.memory import zeros
from nrknet.fast.rows import CHANNELS
from nrknet.neumann import BlurOperator, LearnedFusion


class Convolution(Protocol):
    """A convolution of padded rows with what follows it: bias, ReLU, a sum."""

    writes_halves: bool
    """Whether `out` may be float16, too."""
    reads_halves: bool
    """Whether `window` and `residual` may be float16, too."""

    def __call__(self, window: Tensor, out: Tensor, residual: Tensor | None = None) -> None:
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

    def __call__(self, x: Tensor, coefficients: Tensor, out: Tensor, *, first: int, last: int, height: int) -> None:
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
    weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, relu: bool = False, enlarge: bool = False
) -> Convolution:
    """The fastest convolution that there is here.

    Args:
        weight: (K,C,kh,kw).
        bias: (K,).
        stride: 1 or 2.
        relu: cut negative results off, before a residual is added.
        enlarge: the K outputs are K/4 channels of the four pixels, row by row, that a pixel becomes; K/4 is a
            multiple of 16. The weights are 3x3, those of upper pixels zero in the last row, of lower ones in the
            first, and so with the columns.
    """
    kind = CompiledConvolution if library() else TorchConvolution
    return kind(weight.detach().float().cpu(), bias, stride=stride, relu=relu, enlarge=enlarge)


def blur(bank: AtomBank, fusion: LearnedFusion | None) -> Blur:
    """The fastest blur that there is here for these atoms."""
    return CompiledBlur(bank, fusion) if library() and isinstance(bank, RecursiveAtoms) else TorchBlur(bank, fusion)


def _filled(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Inputs and outputs filled up with zeros to multiples of 16."""
    outputs, inputs = (-n % CHANNELS for n in weight.shape[:2])
    weight = F.pad(weight, (0, 0, 0, 0, 0, inputs, 0, outputs))
    return weight, None if bias is None else F.pad(bias.detach().float().cpu(), (0, outputs)).contiguous()


class TorchConvolution:
    """`Convolution` by PyTorch."""

    writes_halves = reads_halves = False

    def __init__(self, weight: Tensor, bias: Tensor | None, *, stride: int, relu: bool, enlarge: bool) -> None:
        weight, self.bias = _filled(weight, bias)
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.stride, self.relu, self.enlarge = stride, relu, enlarge

    def __call__(self, window: Tensor, out: Tensor, residual: Tensor | None = None) -> None:
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

    def __call__(self, x: Tensor, coefficients: Tensor, out: Tensor, *, first: int, last: int, height: int) -> None:
        above = min(self.bank.support // 2, first)
        inside = slice(above, above + last - first)
        # in what is cut away the coefficients do not matter
        padded = F.pad(coefficients, (0, 0, above, x.shape[1] - above - (last - first)))
        operator = BlurOperator(self.bank, padded[None], self.fusion)
        torch.sub(x[:, inside], operator(x[None])[0, :, inside], out=out)


_POINTS = ((0, 1), (1, -2 / 9), (-1, -2 / 9), (2, 1 / 90), (-2, 1 / 90), (1 / 2, 32 / 45), (-1 / 2, 32 / 45))
"""Where Winograd's algorithm evaluates polynomials, and a factor for each; one more point is infinity."""


def winograd_transform(taps: int) -> Tensor:
    """(8,taps) the transform of a filter, in float64."""
    rows = [[factor * point**i for i in range(taps)] for point, factor in _POINTS]
    return torch.tensor([*rows, [0] * (taps - 1) + [1]], dtype=torch.float64)


class CompiledConvolution:
    """`Convolution` by our kernels: Winograd's algorithm for 3x3 and 5x5, directly otherwise.

    Colours alone are too few inputs for it to pay, and those that fill them up to 16 are then left out.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, stride: int, relu: bool, enlarge: bool) -> None:
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
            phases = weight.unflatten(0, (2, 2, -1))
            parts = [phases[y, x, :, :, y : y + 2, x : x + 2] for y in range(2) for x in range(2)]
            weight, self._taps = torch.cat(parts), 2
        elif counted <= 4:
            self._depth, weight = counted, weight[:, :counted]
        elif (high, wide, stride) == (3, 3, 2):
            weight, self._taps, self._depth = _as_blocks(weight), 2, 4 * self._inputs
        elif high == wide and high in (3, 5) and stride == 1:
            self._taps = high
        if self._taps:
            g = winograd_transform(self._taps)
            matrices = torch.einsum("ai,kcij,bj->abck", g, weight.double(), g).float().flatten(0, 1)
        else:
            matrices = weight.permute(2, 3, 1, 0).reshape(1, -1, self._outputs)
        self.writes_halves = bool(kernels.nrknet_halves())
        self.reads_halves = self.writes_halves and self._taps > 0
        panel = kernels.nrknet_panel()
        parts = [matrices[..., k : k + panel].flatten(1) for k in range(0, self._outputs, panel)]
        packed = torch.cat(parts, dim=1)
        self._weights = torch.from_numpy(zeros(packed.numel())).view(packed.shape).copy_(packed)

    def __call__(self, window: Tensor, out: Tensor, residual: Tensor | None = None) -> None:
        assert window.shape[2] == window.stride(1) == self._inputs
        assert out.shape[2] == self._outputs // (4 if self._enlarge else 1)
        rows, columns = (n // 2 for n in out.shape[:2]) if self._enlarge else out.shape[:2]
        halves = [x is not None and x.dtype == torch.float16 for x in (window, out, residual)]
        maps = [image(x, halves=half) for x, half in zip((window, out, residual), halves, strict=True)]
        assert self.reads_halves or not (halves[0] or halves[2])
        layer = bindings.Layer(
            pointer(self._weights), pointer(self._bias), *maps, rows, columns, self._depth, self._outputs,
            self._relu, self._taps, self._window.stride, self._enlarge, *halves,
        )  # fmt: skip
        if self._taps:
            call("winograd", layer)
        else:
            call("direct", layer, self._window)


def _as_blocks(weight: Tensor) -> Tensor:
    """A 3x3 convolution's (K,C,3,3) weight at stride 2 as a 2x2 one's (K,4C,2,2), whose inputs are blocks of 2x2."""
    taps = F.pad(weight, (0, 1, 0, 1)).unflatten(3, (2, 2)).unflatten(2, (2, 2))  # (K, C, tap, row, tap, column)
    return taps.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)


class CompiledBlur:
    """`Blur` by our kernel, for recursive atoms."""

    def __init__(self, bank: RecursiveAtoms, fusion: LearnedFusion | None) -> None:
        self._atoms = bank.num_atoms
        self._taps = bank.taps().detach().float().cpu().expand(-1, 3, -1).contiguous()
        self._mix = self._bias = None
        if fusion is not None:
            weight = fusion.conv.weight.detach().float().cpu()
            self._mix = weight[:, :, 0, 0].unflatten(1, (-1, 3)).transpose(0, 1).contiguous()  # (K, to, from)
            assert fusion.conv.bias is not None
            self._bias = fusion.conv.bias.detach().float().cpu().contiguous()

    def __call__(self, x: Tensor, coefficients: Tensor, out: Tensor, *, first: int, last: int, height: int) -> None:
        above = min(self._atoms, first)
        held = planes(x[:, above:]), planes(coefficients), planes(out)
        sizes = (self._atoms, first, last, height, x.shape[2], True)
        call("blur", bindings.Blur(pointer(self._taps), pointer(self._mix), pointer(self._bias), *held, *sizes))
