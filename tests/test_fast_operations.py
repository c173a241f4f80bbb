"""Convolutions and blur by atoms give what PyTorch's own operators give, compiled or not."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from kernels import without_kernels
from networks import random_network
from torch import Tensor

from nrknet.atoms import ATOM_BANKS, RecursiveAtoms
from nrknet.config import PRESETS
from nrknet.fast import compiler, operations
from nrknet.fast.operations import CompiledConvolution, Convolution
from nrknet.fast.prepared import Prepared, _as_convolution, taps
from nrknet.model import NRKNet
from nrknet.neumann import BlurOperator
from nrknet.parameters import Parameters


@pytest.fixture(params=["compiled", "torch"], autouse=True)
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "torch":
        with without_kernels():
            yield
    elif compiler.library() is None:
        pytest.skip("no C++ compiler here")
    else:
        yield


@pytest.fixture(params=[1, 2, 3], ids="{} threads".format)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def as_map(x: Tensor, channels: int, slack: int = 13) -> Tensor:
    """(C,h,w) -> (h + slack, w + slack, channels), zeros around."""
    return F.pad(x.permute(1, 2, 0), (0, channels - len(x), 0, slack, 0, slack)).contiguous()


def convolution(weight: Tensor, bias: Tensor | None = None, **options: Any) -> Convolution:
    return operations.convolution(weight.numpy(), None if bias is None else bias.numpy(), **options)


def transposed(weight: Tensor) -> Tensor:
    return torch.from_numpy(_as_convolution(weight.numpy()))


def run(layer: Convolution, window: Tensor, out: Tensor, residual: Tensor | None = None) -> None:
    layer(window.numpy(), out.numpy(), None if residual is None else residual.numpy())


def filled(count: int) -> int:
    return -(-count // 16) * 16


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 4), (13, 37), (30, 61)], ids=str)
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (13, 48), (96, 10), (40, 64)])
@pytest.mark.parametrize(("taps", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1)])
def test_a_convolution(size: tuple[int, int], inputs: int, outputs: int, taps: int, stride: int) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(outputs, inputs, taps, taps), torch.randn(outputs)
    high, wide = ((n - 1) * stride + taps for n in size)
    x, residual = torch.randn(inputs, high, wide), torch.randn(outputs, *size)
    for relu in (False, True):
        y = F.conv2d(x.double()[None], weight.double(), bias.double(), stride)[0].float()
        expected = (y.relu() if relu else y) + residual
        layer = convolution(weight, bias, stride=stride, relu=relu)
        out = torch.full((*size, filled(outputs)), torch.nan)
        run(layer, as_map(x, filled(inputs)), out, as_map(residual, filled(outputs), slack=0))
        assert torch.allclose(out[..., :outputs].permute(2, 0, 1), expected, atol=4e-5 * float(y.abs().max()))
        assert (out[..., outputs:] == 0).all()  # what the next layer's zero weights are multiplied with


@pytest.mark.parametrize("size", [(1, 1), (13, 37), (30, 61)], ids=str)
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (48, 80), (3, 64)])
@pytest.mark.parametrize(("taps", "stride", "enlarge"), [(3, 1, False), (3, 2, False), (5, 1, False), (4, 1, True)])
def test_maps_in_half_precision(
    size: tuple[int, int], inputs: int, outputs: int, taps: int, stride: int, enlarge: bool
) -> None:
    """What is computed from them is as from the same numbers in float32, and rounded when it is kept."""
    torch.manual_seed(0)
    weight = torch.randn(*((inputs, outputs) if enlarge else (outputs, inputs)), taps, taps)
    weight = transposed(weight) if enlarge else weight
    layer = convolution(weight, stride=stride, relu=True, enlarge=enlarge)
    if not layer.writes_halves:
        assert not layer.reads_halves
        pytest.skip("halves are not for these")
    high, wide = ((n - 1) * stride + weight.shape[2] for n in size)
    window = as_map(torch.randn(inputs, high, wide).half().float(), filled(inputs))
    made = [n * (2 if enlarge else 1) for n in size]
    residual = as_map(torch.randn(outputs, *made).half().float(), filled(outputs), slack=0)
    expected, found = torch.empty(*made, filled(outputs)), torch.full((*made, filled(outputs)), torch.nan).half()
    run(layer, window, expected, residual if layer.reads_halves else None)
    if layer.reads_halves:
        run(layer, window.half(), found, residual.half())
    else:
        run(layer, window, found)
    # rounded once, and never more; compilers may fuse one of both another way
    assert torch.allclose(found.float(), expected, rtol=2**-11 + 1e-5, atol=1e-5 * float(expected.abs().max()))
    too_much = window * 1e6
    run(layer, too_much, found)
    assert found.isinf().any()  # nothing is cut off where nobody would see it


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (11, 26)], ids=str)
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (48, 24), (96, 48)])
@pytest.mark.parametrize("with_residual", [False, True])
def test_a_transposed_convolution(size: tuple[int, int], inputs: int, outputs: int, with_residual: bool) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(inputs, outputs, 4, 4), torch.randn(inputs, *size)
    expected = F.conv_transpose2d(x.double()[None], weight.double(), stride=2, padding=1)[0].relu().float()
    layer = convolution(transposed(weight), relu=True, enlarge=True)
    out = torch.full((2 * size[0], 2 * size[1], filled(outputs)), torch.nan)
    residual = torch.randn(outputs, *out.shape[:2]) if with_residual else None
    window = as_map(F.pad(x, (1, 1, 1, 1)), filled(inputs))
    run(layer, window, out, None if residual is None else as_map(residual, filled(outputs), slack=0))
    expected = expected if residual is None else expected + residual
    assert torch.allclose(out[..., :outputs].permute(2, 0, 1), expected, atol=4e-5 * float(expected.abs().max()))


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(48, 32, 3, 3), as_map(torch.randn(32, 42, 102), 32)
    layer, results, before = convolution(weight), [], torch.get_num_threads()
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        out = torch.empty(40, 100, 48)
        run(layer, x, out)
        results.append(out)
    torch.set_num_threads(before)
    assert torch.allclose(results[0], results[1], atol=1e-4) and torch.allclose(results[0], results[2], atol=1e-4)


def _in_bands(model: NRKNet, x: Tensor, coefficients: Tensor, cuts: list[int]) -> Tensor:
    """t - D t, a band of rows at a time, with no more rows than the blur says it reads."""
    reach, height = model.atoms.support // 2, x.shape[1]
    layer, out = Prepared(Parameters(model)).blur, torch.full_like(x, torch.nan)
    for first, last in zip([0, *cuts], [*cuts, height], strict=True):
        window = x[:, max(0, first - reach) : min(height, last + reach)].numpy()
        held = window, coefficients[:, first:last].numpy(), out[:, first:last].numpy()
        layer(*held, first=first, last=last, height=height)
    return out


@pytest.mark.parametrize("name", ["paper", "released", "lite"])
@pytest.mark.parametrize(("size", "cuts"), [((32, 16), []), ((90, 333), [7, 30, 31, 60]), ((45, 500), [40])], ids=str)
@torch.no_grad()
def test_a_blur_by_recursive_atoms(name: str, size: tuple[int, int], cuts: list[int], threads: None) -> None:
    torch.manual_seed(0)
    model = random_network(PRESETS[name])
    model.atoms.get_parameter("logits").normal_()
    x, coefficients = torch.randn(3, *size), torch.randn(model.config.num_coefficients, *size)
    expected = x - BlurOperator(model.atoms, coefficients[None], model.fusion)(x[None])[0]
    found = _in_bands(model, x, coefficients, cuts)
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", sorted(ATOM_BANKS))
@torch.no_grad()
def test_a_blur_by_any_atoms(name: str) -> None:
    torch.manual_seed(0)
    model = random_network(replace(PRESETS["paper"], num_atoms=4, atoms=name))
    x, coefficients = torch.randn(3, 40, 50), torch.randn(model.config.num_coefficients, 40, 50)
    expected = x - BlurOperator(model.atoms, coefficients[None], None)(x[None])[0]
    assert torch.allclose(_in_bands(model, x, coefficients, [13, 27]), expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["free", "symmetric"])
@pytest.mark.parametrize("shared", [True, False])
@torch.no_grad()
def test_the_taps_are_those_of_the_atoms(kind: str, shared: bool) -> None:
    bank = random_network(replace(PRESETS["paper"], taps=kind, shared_atoms=shared)).atoms
    assert isinstance(bank, RecursiveAtoms)
    logits = 30 * bank.logits
    bank.logits.copy_(logits)
    assert np.allclose(taps(logits.numpy(), symmetric=kind == "symmetric"), bank.taps().numpy(), atol=1e-6)


def test_the_compiled_ones_are_what_is_used_where_there_are_any() -> None:
    layer = convolution(torch.zeros(16, 16, 3, 3))
    assert isinstance(layer, CompiledConvolution) == (compiler.library() is not None)
