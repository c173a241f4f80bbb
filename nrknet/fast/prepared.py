"""An NRKNet's weights as the fast convolutions take them."""

import torch
from torch import Tensor, nn

from nrknet.fast.elements import Table
from nrknet.fast.operations import Blur, Convolution, blur, convolution
from nrknet.fast.rows import CHANNELS
from nrknet.layers import CORRECTION_STEP, ConvLSTM, GatedHead, RadiusHead, ResidualBlock, UNet
from nrknet.model import NRKNet


class Prepared:
    """A network and what is computed from its weights once.

    Args:
        model: in evaluation mode; read now, so that what is learned afterwards is not seen.

    Attributes:
        model: the same.
        layers: its convolutions, each with the activation that follows; the memory cell's and the gated head's under
            these modules themselves.
        blur: D_t.
        tables: the radius head's, by scale, the finest first.
    """

    def __init__(self, model: NRKNet) -> None:
        self.model = model
        self.layers: dict[nn.Module, Convolution] = {}
        self.blur: Blur = blur(model.atoms, model.fusion)
        self.tables: list[Table] = []
        with torch.no_grad():
            self._prepare_unet(model.unet)
            self._prepare_heads(model)

    def _prepare_unet(self, unet: UNet) -> None:
        for module in (*unet.entries, unet.bottleneck_entry):
            assert isinstance(module, nn.Conv2d)
            self.layers[module] = convolution(module.weight, stride=module.stride[0], relu=True)
        for module in unet.ups:
            assert isinstance(module, nn.ConvTranspose2d)
            self.layers[module] = convolution(_as_convolution(module.weight), relu=True, enlarge=True)
        self._prepare_blocks(unet)

    def _prepare_blocks(self, parent: nn.Module) -> None:
        for block in parent.modules():
            if isinstance(block, ResidualBlock):
                self.layers[block.first] = convolution(block.first.weight, relu=True)
                self.layers[block.second] = convolution(block.second.weight)

    def _prepare_heads(self, model: NRKNet) -> None:
        memory, head, image_head = model.memory, model.head, model.image_head
        if isinstance(memory, ConvLSTM):
            self.layers[memory] = convolution(memory.gates.weight, memory.gates.bias)
        else:
            self.layers[memory] = convolution(*_folded(memory.conv, memory.norm), relu=True)
        if isinstance(head, GatedHead):
            self.layers[head] = convolution(*_folded(head.conv, head.norm), relu=True)
        elif isinstance(head, RadiusHead):
            self.layers[head.posterior] = convolution(head.posterior.weight, head.posterior.bias)
            self.layers[head.residual] = convolution(head.residual.weight, head.residual.bias)
            self.tables = [Table(head, scale) for scale in range(1, model.config.num_scales + 1)]
        if image_head is not None:
            self.layers[image_head.entry] = convolution(image_head.entry.weight, relu=True)
            self._prepare_blocks(image_head)
            exit_bias = image_head.exit.get_parameter("bias")
            self.layers[image_head.exit] = convolution(
                CORRECTION_STEP * image_head.exit.weight, CORRECTION_STEP * exit_bias
            )


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution and the batch norm that follows it, in evaluation mode."""
    assert norm.running_mean is not None and norm.running_var is not None
    gain = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return conv.weight * gain[:, None, None, None], norm.bias - norm.running_mean * gain


_FILTERS = ((3, 1, None), (None, 2, 0))
"""Taps of a transposed convolution (4 wide, stride 2, padding 1) over the pixels -1, 0, +1, by parity of the output."""


def _as_convolution(weight: Tensor) -> Tensor:
    """A transposed convolution's (C,K,4,4) weight as that of a 3x3 convolution to 2x2 sub-pixels: (4K',C,3,3).

    K' is K rounded up to what a map holds.
    """
    inputs, outputs = weight.shape[:2]
    result = weight.new_zeros(2, 2, -(-outputs // CHANNELS) * CHANNELS, inputs, 3, 3)
    for py, rows in enumerate(_FILTERS):
        for px, columns in enumerate(_FILTERS):
            for i, row in enumerate(rows):
                for j, column in enumerate(columns):
                    if row is not None and column is not None:
                        result[py, px, :outputs, :, i, j] = weight[:, :, row, column].t()
    return result.flatten(0, 2)
