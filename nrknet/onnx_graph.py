"""A network as an ONNX graph for any number, height and width of photos."""

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from nrknet import onnx_nodes
from nrknet.analysis import blur_radius, to_rgb
from nrknet.atoms import AtomBank, NonSeparableAtoms, RecursiveAtoms, SeparableAtoms
from nrknet.config import NRKNetConfig
from nrknet.model import MIN_SIZE, NRKNet
from nrknet.neumann import BlurOperator

INPUT, IMAGE, RADIUS = "blurred", "image", "radius"
_PADDED = "padded_{}".format  # their names inside, with sides that divide by the size multiple


def build_graph(model: NRKNet, *, opset: int) -> Any:
    """A network as an ONNX model: `blurred` (N,3,H,W) RGB -> `image` (N,3,H,W) RGB and `radius` (N,1,H,W).

    Args:
        model: any NRKNet; it is not changed.
        opset: version of ONNX's operations.
    """
    network = _Traced.of(model)
    multiple = model.config.size_multiple
    fewest = network.smallest_padded // multiple
    height, width = (torch.export.Dim(axis, min=fewest, max=1 << 14) for axis in ("rows", "columns"))
    shapes = {0: torch.export.Dim("batch", min=1), 2: multiple * height, 3: multiple * width}
    example = torch.rand(2, 3, (fewest + 1) * multiple, (fewest + 3) * multiple)
    with _silence(), torch.no_grad():
        program = torch.onnx.export(
            network, (example,), dynamo=True, dynamic_shapes=(shapes,), opset_version=opset, verbose=False,
            input_names=[_PADDED(INPUT)], output_names=[_PADDED(IMAGE), _PADDED(RADIUS)],
            custom_translation_table=onnx_nodes.translations(),
        )  # fmt: skip
    assert program is not None  # it is, with dynamo
    proto = program.model_proto
    _take_any_size(proto, multiple)
    return proto


def _take_any_size(proto: Any, multiple: int) -> None:
    """Pad the input as `NRKNet` does, by repeating its last row and column, and cut the outputs to its size."""
    from onnx import TensorProto, helper

    graph = proto.graph

    def integers(name: str, values: Sequence[int]) -> str:
        graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
        return name

    multiples = integers("size/multiple", [multiple] * 2)
    before = [
        helper.make_node("Shape", [INPUT], ["size"], start=2),
        helper.make_node("Add", ["size", integers("size/less_one", [multiple - 1] * 2)], ["size/above"]),
        helper.make_node("Div", ["size/above", multiples], ["size/blocks"]),
        helper.make_node("Max", ["size/blocks", integers("size/fewest", [2, 2])], ["size/enough"]),
        helper.make_node("Mul", ["size/enough", multiples], ["size/padded"]),
        helper.make_node("Sub", ["size/padded", "size"], ["size/added"]),
        helper.make_node("Concat", [integers("size/none", [0] * 6), "size/added"], ["size/pads"], axis=0),
        helper.make_node("Pad", [INPUT, "size/pads"], [_PADDED(INPUT)], mode="edge"),
    ]
    corner, axes = integers("size/corner", [0, 0]), integers("size/axes", [2, 3])
    after = [helper.make_node("Slice", [_PADDED(name), corner, "size", axes], [name]) for name in (IMAGE, RADIUS)]
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)

    def value(name: str, channels: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, "height", "width"])

    graph.input.append(value(INPUT, 3))
    graph.output.extend([value(IMAGE, 3), value(RADIUS, 1)])


class _Operator(BlurOperator):
    """D_t as one operation, for the exporter."""

    def __init__(self, network: "_Traced", coefficients: Tensor) -> None:
        super().__init__(network.known, coefficients)
        self._network = network

    def __call__(self, x: Tensor, *, responses: Tensor | None = None) -> Tensor:
        network = self._network
        recursive = isinstance(network.atoms, RecursiveAtoms)
        return onnx_nodes.blur(
            x, self.coefficients, list(network.kernels), list(network.mixers), recursive, network.smallest
        )


class _KnownAtoms(AtomBank):
    """Atoms whose kernels are numbers, no longer made from parameters."""

    def __init__(self, config: NRKNetConfig, kernels: Tensor) -> None:
        super().__init__(config)
        self.register_buffer("fixed", kernels.detach().clone())

    def kernels(self) -> Tensor:
        return self.get_buffer("fixed")


class _Traced(NRKNet):
    """A network as the exporter sees it: RGB in and out, sides that divide by the size multiple, two operations."""

    known: "_KnownAtoms"
    kernels: nn.ParameterList
    mixers: nn.ParameterList

    @classmethod
    def of(cls, model: NRKNet) -> "_Traced":
        """A copy of a network, on the CPU, in float32 and evaluation mode."""
        traced = cls(model.config)
        traced.load_state_dict({k: v.detach().cpu() for k, v in model.state_dict().items()})
        traced.float().eval().requires_grad_(False)
        traced.known = _KnownAtoms(model.config, traced.atoms.kernels())
        traced.kernels = nn.ParameterList(_constants(convolution_kernels(traced.atoms)))
        traced.mixers = nn.ParameterList(_constants(_fusion_weights(traced)))
        return traced

    @property
    def smallest_padded(self) -> int:
        """No side of a padded photo is below this."""
        multiple = self.config.size_multiple
        return max(2, -(-MIN_SIZE // multiple)) * multiple

    @property
    def smallest(self) -> int:
        """No side at any scale is below this."""
        return self.smallest_padded >> (self.config.num_scales - 1)

    def forward(self, blurred: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(N,3,h,w) RGB -> image (N,3,h,w) RGB, radius (N,1,h,w)."""
        output = super().forward(to_rgb(blurred, self.config))
        return to_rgb(output.image, self.config), blur_radius(output.scales[-1])

    def _pad(self, x: Tensor) -> Tensor:
        return x  # the graph does it: sizes that are rounded up take the exporter very long

    def _operator(self, coefficients: Tensor) -> BlurOperator:
        return _Operator(self, coefficients)

    def _evidence(self, level: Tensor) -> Tensor:
        return onnx_nodes.evidence(level, self.config.stem, self.smallest)


def _constants(tensors: Sequence[Tensor]) -> Iterator[nn.Parameter]:
    return (nn.Parameter(t.detach().clone(), requires_grad=False) for t in tensors)


def convolution_kernels(bank: AtomBank) -> list[Tensor]:
    """The atoms without the delta, for convolutions in three groups.

    Returns:
        recursive atoms: J kernels (3,1,3,3), each for the last one's response; other separable ones: 2J, rows
        (3,1,1,n) and columns (3,1,n,1) in turn; else J kernels (3,1,n,n).
    """
    if isinstance(bank, RecursiveAtoms):
        return [(t[:, :, None] * t[:, None, :])[:, None] for t in bank.taps().expand(-1, 3, -1)]
    if isinstance(bank, SeparableAtoms):
        kernels, middle = [], bank.num_atoms
        for j, row in enumerate(bank.profiles()[1:].expand(-1, 3, -1), start=1):
            taps = row[:, None, middle - j : middle + j + 1]
            kernels += [taps[:, :, None, :], taps[:, :, :, None]]
        return kernels
    assert isinstance(bank, NonSeparableAtoms)
    return [atom.expand(3, -1, -1)[:, None] for atom in bank.atoms()]


def _fusion_weights(network: NRKNet) -> list[Tensor]:
    """The learned sum over j in parts, K weights (3,3,1,1) and the bias; nothing for a plain sum."""
    if network.fusion is None:
        return []
    conv = network.fusion.conv
    return [*conv.weight.split(3, dim=1), conv.get_parameter("bias")]


@contextmanager
def _silence() -> Iterator[None]:
    """The exporter reports its steps on both streams and warns of packages that this does not need."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
