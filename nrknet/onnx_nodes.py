"""The two parts of the network that PyTorch's exporter would unroll into a thousand nodes, as operations of our own.

Each says twice what it is: in PyTorch, and as ONNX nodes for any height and width. The exporter sees one operation.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nrknet.atoms import reflect_pad
from nrknet.layers import ENERGY_FLOOR, EVIDENCE_BANDS, blur_evidence

Value = Any  # an ONNX value while a graph is being built; the types belong to the exporter


@torch.library.custom_op("nrknet::blur", mutates_args=())
def blur(
    x: Tensor, coefficients: Tensor, kernels: Sequence[Tensor], fusion: Sequence[Tensor], recursive: bool, smallest: int
) -> Tensor:
    """D x = sum_j Gamma_j . (x * A_j) with one running sum, never the whole K x 3 stack (Eq. 4, 11).

    Args:
        x: (B,3,h,w).
        coefficients: (B,K,h,w), the delta's first.
        kernels: per atom one kernel (3,1,n,n), or two, (3,1,1,n) and (3,1,n,1), for both directions.
        fusion: K weights (3,3,1,1) and a bias (3,) that replace the plain sum over j; or nothing.
        recursive: whether each kernel blurs the last response, not x.
        smallest: h and w are never below this.

    Returns:
        (B,3,h,w).
    """
    total = _mixed(x * coefficients[:, :1], fusion, 0)
    step = len(kernels) // (coefficients.shape[1] - 1)
    response = x
    for j in range(coefficients.shape[1] - 1):
        own = kernels[j * step : (j + 1) * step]
        response = reflect_pad(response if recursive else x, max(own[0].shape) // 2)
        for kernel in own:
            response = F.conv2d(response, kernel, groups=3)
        total = total + _mixed(response * coefficients[:, j + 1 : j + 2], fusion, j + 1)
    return total


def _mixed(weighted: Tensor, fusion: Sequence[Tensor], j: int) -> Tensor:
    if not fusion:
        return weighted
    return F.conv2d(weighted, fusion[j], fusion[-1] if j == 0 else None)


@blur.register_fake
def _(
    x: Tensor, coefficients: Tensor, kernels: Sequence[Tensor], fusion: Sequence[Tensor], recursive: bool, smallest: int
) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("nrknet::evidence", mutates_args=())
def evidence(image: Tensor, stem: int, smallest: int) -> Tensor:
    """`nrknet.layers.blur_evidence` of an image whose sides are never below `smallest`."""
    return blur_evidence(image, stem)


@evidence.register_fake
def _(image: Tensor, stem: int, smallest: int) -> Tensor:
    batch, _, height, width = image.shape
    return image.new_empty(batch, EVIDENCE_BANDS, height // stem, width // stem)


def translations() -> dict[Any, Any]:
    """How the exporter writes these operations, and one of PyTorch's, as ONNX nodes: its `custom_translation_table`."""
    return {
        torch.ops.nrknet.blur.default: _blur_nodes,
        torch.ops.nrknet.evidence.default: _evidence_nodes,
        torch.ops.aten.select_scatter.default: _replace_channel,
    }


def _blur_nodes(
    x: Value, coefficients: Value, kernels: Sequence[Value], fusion: Sequence[Value], recursive: bool, smallest: int
) -> Value:
    from onnxscript import opset18 as op

    def weighted(response: Value, j: int) -> Value:
        product = op.Mul(response, _channels(coefficients, j, j + 1))
        if not fusion:
            return product
        return op.Conv(product, fusion[j], fusion[-1]) if j == 0 else op.Conv(product, fusion[j])

    total, response = weighted(x, 0), x
    num_atoms = len(fusion) - 2 if fusion else coefficients.shape[1] - 1
    step = len(kernels) // num_atoms
    for j in range(num_atoms):
        own = kernels[j * step : (j + 1) * step]
        response = _reflect(response if recursive else x, max(own[0].shape) // 2, smallest)
        for kernel in own:
            response = op.Conv(response, kernel, group=3)
        total = op.Add(total, weighted(response, j + 1))
    return total


def _evidence_nodes(image: Value, stem: int, smallest: int) -> Value:
    from onnxscript import opset18 as op

    smooth = op.ReduceMean(image, _numbers(1), keepdims=1)
    energies = []
    for band in range(EVIDENCE_BANDS):
        smoother = _binomial_nodes(smooth, 2**band, smallest)
        difference = op.Sub(smooth, smoother)
        energy = op.Mul(difference, difference)
        if stem > 1:
            energy = op.AveragePool(energy, kernel_shape=[stem, stem], strides=[stem, stem])
        for step in (1, 2):
            energy = _binomial_nodes(energy, step, smallest // stem)
        energies.append(energy)
        smooth = smoother
    logarithm = op.Log(op.Add(op.Concat(*energies, axis=1), op.Constant(value_float=ENERGY_FLOOR)))
    return op.Div(op.Add(logarithm, op.Constant(value_float=10.0)), op.Constant(value_float=3.0))


def _binomial_nodes(x: Value, step: int, smallest: int) -> Value:
    """[1, 2, 1] / 4 both ways with taps `step` pixels apart: one convolution."""
    import onnx
    from onnxscript import opset18 as op

    taps = np.array([1, 2, 1], np.float32) / 4
    kernel = op.Constant(value=onnx.numpy_helper.from_array(np.outer(taps, taps)[None, None]))
    return op.Conv(_reflect(x, step, smallest), kernel, dilations=[step, step])


def _reflect(x: Value, pad: int, smallest: int) -> Value:
    """Reflecting ends: ONNX's own where the image is surely larger than they are, else as `reflect_index` has it."""
    from onnxscript import opset18 as op

    if pad < smallest:
        return op.Pad(x, _numbers(0, 0, pad, pad, 0, 0, pad, pad), mode="reflect")
    for axis in (2, 3):
        size = op.Squeeze(op.Shape(x, start=axis, end=axis + 1))
        period = op.Sub(op.Mul(size, _number(2)), _number(2))
        index = op.Mod(op.Range(_number(-pad), op.Add(size, _number(pad)), _number(1)), period)
        x = op.Gather(x, op.Where(op.Less(index, size), index, op.Sub(period, index)), axis=axis)
    return x


def _replace_channel(x: Value, source: Value, dim: int, index: int) -> Value:
    """x with one slice replaced, by joining parts; the exporter's own way scatters with an index for every number."""
    import sys

    from onnxscript import opset18 as op

    rest = op.Slice(x, _numbers(index + 1), _numbers(sys.maxsize), _numbers(dim))
    parts = [op.Unsqueeze(source, _numbers(dim)), rest]
    if index:
        parts.insert(0, op.Slice(x, _numbers(0), _numbers(index), _numbers(dim)))
    return op.Concat(*parts, axis=dim)


def _channels(x: Value, start: int, stop: int) -> Value:
    from onnxscript import opset18 as op

    return op.Slice(x, _numbers(start), _numbers(stop), _numbers(1))


def _numbers(*values: int) -> Value:
    """A constant of one axis."""
    from onnxscript import opset18 as op

    return op.Constant(value_ints=list(values))


def _number(value: int) -> Value:
    """A constant without axes."""
    from onnxscript import opset18 as op

    return op.Constant(value_int=value)
