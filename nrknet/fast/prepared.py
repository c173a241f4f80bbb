"""A network's weights as the fast convolutions take them."""

import numpy as np

from nrknet.arrays import Floats
from nrknet.config import CORRECTION_STEP
from nrknet.fast.compiler import library
from nrknet.fast.elements import Table
from nrknet.fast.operations import Blur, CompiledBlur, Convolution, convolution
from nrknet.fast.rows import CHANNELS
from nrknet.parameters import Parameters

NORM_FLOOR = 1e-5
"""What PyTorch's batch norm adds to variances."""


class Prepared:
    """A network and what is computed from its weights once.

    Args:
        parameters: read now, so that what is learned afterwards is not seen.
        integers: let convolutions multiply 16-bit integers where they can.

    Attributes:
        parameters: the same.
        version: theirs, as read.
        config: the network's configuration.
        layers: its convolutions by the names of their modules, each with the activation that follows; the memory
            cell's and the gated head's under "memory" and "head".
        blur: D_t.
        tables: the radius head's, by scale, the finest first.
    """

    def __init__(self, parameters: Parameters, *, integers: bool = False) -> None:
        self.parameters, self.config, self._integers = parameters, parameters.config, integers
        self.version, self._weights = parameters.version, parameters.arrays()
        self.layers: dict[str, Convolution] = {}
        self.tables: list[Table] = []
        self.blur = self._blur()
        self._prepare_unet()
        self._prepare_memory()
        self._prepare_head()
        if self.config.image_blocks:
            self._prepare_image_head()
        del self._weights

    def _convolution(self, name: str, *, step: float = 1, **options: int) -> None:
        weight, bias = self._weights[f"{name}.weight"], self._weights.get(f"{name}.bias")
        if step != 1:
            weight, bias = np.float32(step) * weight, None if bias is None else np.float32(step) * bias
        self._prepare(name, weight, bias, **options)

    def _prepare(self, name: str, weight: Floats, bias: Floats | None = None, **options: int) -> None:
        self.layers[name] = convolution(weight, bias, integers=self._integers, **options)  # type: ignore[arg-type]

    def _blocks(self, name: str, count: int) -> None:
        """`ResidualBlock`s."""
        for i in range(count):
            self._convolution(f"{name}.{i}.first", relu=True)
            self._convolution(f"{name}.{i}.second")

    def _prepare_unet(self) -> None:
        counts = self.config.num_blocks
        for i, count in enumerate(counts):
            self._convolution(f"unet.entries.{i}", stride=2 if i else 1, relu=True)
            self._blocks(f"unet.encoders.{i}", count)
            self._blocks(f"unet.decoders.{i}", count)
        for i in range(len(counts) - 1):
            name = f"unet.ups.{i}"
            self._prepare(name, _as_convolution(self._weights[f"{name}.weight"]), relu=True, enlarge=True)
        self._convolution("unet.bottleneck_entry", relu=True)
        self._blocks("unet.bottleneck", counts[-1])

    def _prepare_memory(self) -> None:
        if self.config.memory == "convlstm":
            weight, bias = (self._weights[f"memory.gates.{part}"] for part in ("weight", "bias"))
            self._prepare("memory", weight, bias)
        else:
            self._prepare("memory", *self._folded("memory"), relu=True)

    def _prepare_head(self) -> None:
        if self.config.head == "gated":
            self._prepare("head", *self._folded("head"), relu=True)
            return
        self._convolution("head.posterior")
        weight, bias = (self._weights[f"head.residual.{part}"] for part in ("weight", "bias"))
        self._prepare("head.residual", self._by_pixels(weight), self._by_pixels(bias))
        whole = self.config.coefficients == "unit_sum"
        basis, stem = self._weights["head.basis"], self.config.stem
        self.tables = [Table(table, basis, unit_sum=whole, stem=stem) for table in self._weights["head.table"]]

    def _by_pixels(self, x: Floats) -> Floats:
        """What writes coordinates for stem x stem pixels: those of a pixel together, instead of one for all pixels."""
        return x.reshape(-1, self.config.stem**2, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)

    def _prepare_image_head(self) -> None:
        self._convolution("image_head.entry", relu=True)
        self._blocks("image_head.blocks", self.config.image_blocks)
        self._convolution("image_head.exit", step=CORRECTION_STEP)

    def _folded(self, name: str) -> tuple[Floats, Floats]:
        """Weight and bias of a convolution and the batch norm that follows it, in evaluation mode."""
        of = {part: self._weights[f"{name}.norm.{part}"] for part in ("weight", "bias", "running_mean", "running_var")}
        gain = of["weight"] / np.sqrt(of["running_var"] + np.float32(NORM_FLOOR))
        weight = self._weights[f"{name}.conv.weight"] * gain[:, None, None, None]
        return weight, of["bias"] - of["running_mean"] * gain

    def _blur(self) -> Blur:
        """The fastest blur that there is here for the network's atoms."""
        if not library() or self.config.atoms != "recursive":
            from nrknet.fast.plain import TorchBlur

            return TorchBlur(self.parameters.model.atoms, self.parameters.model.fusion)
        mix = None
        if self.config.fusion == "learned":
            mix = self._weights["fusion.conv.weight"], self._weights["fusion.conv.bias"]
        return CompiledBlur(taps(self._weights["atoms.logits"], symmetric=self.config.taps == "symmetric"), mix)


def taps(logits: Floats, *, symmetric: bool) -> Floats:
    """`RecursiveAtoms.taps` (Eq. 3): (J, sets, 2 or 3) -> (J, sets, 3) positive numbers of unit sum."""
    if symmetric:
        logits = np.concatenate([logits, logits[..., :1]], axis=-1)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


_FILTERS = ((3, 1, None), (None, 2, 0))
"""Taps of a transposed convolution (4 wide, stride 2, padding 1) over the pixels -1, 0, +1, by parity of the output."""


def _as_convolution(weight: Floats) -> Floats:
    """A transposed convolution's (C,K,4,4) weight as that of a 3x3 convolution to 2x2 sub-pixels: (4K',C,3,3).

    K' is K rounded up to what a map holds.
    """
    inputs, outputs = weight.shape[:2]
    result = np.zeros((2, 2, -(-outputs // CHANNELS) * CHANNELS, inputs, 3, 3), np.float32)
    for py, rows in enumerate(_FILTERS):
        for px, columns in enumerate(_FILTERS):
            for i, row in enumerate(rows):
                for j, column in enumerate(columns):
                    if row is not None and column is not None:
                        result[py, px, :outputs, :, i, j] = weight[:, :, row, column].T
    return result.reshape(-1, inputs, 3, 3)
