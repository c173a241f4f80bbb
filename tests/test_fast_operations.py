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


@pytest.mark.parametrize("size", [(1, 1), (13, 37), (30, 61)], ids=str)
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 64), (96, 80), (512, 64), (57, 150)])
@pytest.mark.parametrize(("taps", "stride", "enlarge"), [(3, 1, False), (3, 2, False), (5, 1, False), (4, 1, True)])
def test_products_of_integers(
    size: tuple[int, int], inputs: int, outputs: int, taps: int, stride: int, enlarge: bool
) -> None:
    torch.manual_seed(0)
    weight = torch.randn(*((inputs, outputs) if enlarge else (outputs, inputs)), taps, taps)
    weight, bias = transposed(weight) if enlarge else weight, None if enlarge else torch.randn(outputs)
    layers = [convolution(weight, bias, stride=stride, enlarge=enlarge, integers=kind) for kind in (False, True)]
    high, wide = ((n - 1) * stride + weight.shape[2] for n in size)
    # noise, the hardest there is, from dark to bright, which the steps have to follow
    x = torch.randn(inputs, high, wide).relu() * torch.linspace(-2, 2, wide).exp()
    window, made = as_map(x, filled(inputs)), [n * (2 if enlarge else 1) for n in size]
    residual = as_map(torch.randn(outputs, *made), filled(outputs), slack=0)
    expected, found = (torch.full((*made, filled(outputs)), torch.nan) for _ in layers)
    for layer, out in zip(layers, (expected, found), strict=True):
        run(layer, window, out, residual)
    assert torch.equal(found, expected) is not multiplies_integers(layers[1])
    for part, whole in zip((found - expected).split(12, 1), expected.split(12, 1), strict=True):
        assert part.norm() < 1e-2 * whole.norm()
    assert (found[..., outputs:] == 0).all()


def multiplies_integers(layer: Convolution) -> bool:
    return isinstance(layer, CompiledConvolution) and layer._weights.dtype == np.int32


def test_few_products_are_of_floats() -> None:
    for outputs, inputs in ((48, 512), (512, 48)):
        assert not multiplies_integers(convolution(torch.randn(outputs, inputs, 3, 3), integers=True))
    wide = convolution(torch.randn(64, 64, 3, 3), integers=True)
    assert multiplies_integers(wide) == (operations.integers_summed() > 0)


def test_the_largest_sums_of_integers_do_not_run_over() -> None:
    """Inputs and weights that all have the sign and size for it."""
    layer, x = convolution(torch.ones(64, 1024, 3, 3), integers=True), torch.ones(1024, 14, 14)
    out = torch.empty(12, 12, 64)
    run(layer, as_map(x, 1024), out)
    assert torch.allclose(out, torch.tensor(9.0 * 1024), rtol=1e-3)
    run(layer, as_map(-1e30 * x, 1024), out)
    assert torch.allclose(out, torch.tensor(-9e30 * 1024), rtol=1e-3)


@pytest.mark.parametrize("kind", ["normal", "one", "equal", "zero", "tiny"])
@pytest.mark.parametrize("inputs", [16, 2048])
def test_weights_as_integers_count_steps_and_leave_room_for_sums(kind: str, inputs: int) -> None:
    matrices = np.random.default_rng(0).standard_normal((64, inputs, 32))
    if kind == "one":
        matrices[:, 1:] *= 1e-12
    elif kind != "normal":
        matrices[:] = {"equal": 1, "zero": 0, "tiny": 1e-41}[kind]
    integers, steps = operations.quantized(matrices, summed=64, levels=11580)
    assert integers.dtype == np.int16 and steps.dtype == np.float32 and steps.shape == (64, 32)
    sums = np.abs(integers.astype(np.int64)).reshape(64, -1, min(inputs, 64), 32).sum(axis=2)
    assert sums.max() * 11580 < 1 << 31
    wrong = np.abs(integers * steps[:, None].astype(np.float64) - matrices)
    assert (wrong <= 0.505 * steps[:, None] + 1e-38).all()
    assert kind == "zero" or kind == "tiny" or np.abs(integers).max() > 100


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_not_finite_as_an_integer(value: float) -> None:
    layer, x = convolution(torch.randn(64, 64, 3, 3), relu=True, integers=True), torch.ones(64, 62, 62)
    x[7, 4, 50] = value
    out = torch.empty(60, 60, 64)
    run(layer, as_map(x, 64), out)
    assert not out[2:5, 48:51].isfinite().all(dim=2).any() and out[12:, :36].isfinite().all()


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
