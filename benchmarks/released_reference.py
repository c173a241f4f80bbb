"""The authors' released network, written a second time as plain functions under their parameter names.

An independent reading of what it computes in evaluation mode (BGR input, sides that divide by 16), operation by
operation as the authors run it, 66-channel stacks and all. The tests compare `load_released` with it, and
benchmarks/speed.py its time with ours. Beside it the rule that fills its weights for the conformance vectors.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

NUM_ATOMS = 21
COEFFICIENTS = NUM_ATOMS + 1
Weights = dict[str, Tensor]


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Every parameter of the released state dict and its shape."""
    k = COEFFICIENTS
    shapes: dict[str, tuple[int, ...]] = {
        "GCM.kernels": (3 * NUM_ATOMS, 1, 1, 2),
        "SummationLayer.conv.weight": (3, 3 * k, 1, 1),
        "SummationLayer.conv.bias": (3,),
        "APU.conv_atten.conv.weight": (4 * k, 64 + k, 5, 5),
        "APU.conv_atten.conv.bias": (4 * k,),
        "APU.conv.main.0.weight": (k, 64, 3, 3),
        "APU.conv.main.1.num_batches_tracked": (),
        "feat_extract.0.main.0.weight": (64, 3, 3, 3),
        "feat_extract.1.main.0.weight": (128, 64, 3, 3),
        "feat_extract.2.main.0.weight": (256, 128, 3, 3),
        "feat_extract.3.main.0.weight": (256, 128, 4, 4),
        "feat_extract.4.main.0.weight": (128, 64, 4, 4),
        "bottleneck.0.main.0.weight": (256, 256, 3, 3),
    }
    for part in ("weight", "bias", "running_mean", "running_var"):
        shapes[f"APU.conv.main.1.{part}"] = (k,)
    blocks = {"bottleneck.1.layers.0": 256}
    for level, width in enumerate((64, 128, 256)):
        blocks |= {f"Encoder.{level}.layers.0": width, f"Decoder.{2 - level}.layers.0": width}
    for block, width in blocks.items():
        for position in (0, 1):
            shapes[f"{block}.main.{position}.main.0.weight"] = (width, width, 3, 3)
    return shapes


def fill_weights(seed: int, shapes: dict[str, tuple[int, ...]] | None = None) -> Weights:
    """The state dict that the conformance vectors' rule gives for a seed: names in order, one draw each."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in sorted((shapes or parameter_shapes()).items()):
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
            continue
        n = rng.standard_normal(tuple(shape))
        if name.endswith("running_var"):
            value = 1 + 0.1 * np.abs(n)
        elif name.endswith("running_mean"):
            value = 0.1 * n
        elif name.endswith("main.1.weight"):
            value = 1 + 0.1 * n
        elif name == "GCM.kernels":
            value = n
        elif name == "APU.conv_atten.conv.bias":
            value = 0.5 * n
        elif name == "APU.conv_atten.conv.weight":
            value = 3 * n * np.sqrt(2 / (25 * (shape[0] + shape[1])))
        elif name == "SummationLayer.conv.weight":
            value = 0.3 * n
        elif len(shape) >= 2:
            value = n * np.sqrt(2 / ((shape[0] + shape[1]) * np.prod(shape[2:])))
        else:
            value = 0.05 * n
        state[name] = torch.from_numpy(value.astype(np.float32))
    return state


def _same(x: Tensor, weight: Tensor, *, stride: int = 1) -> Tensor:
    """3x3 convolution with reflecting borders."""
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), weight, stride=stride)


def _features(w: Weights, x: Tensor) -> Tensor:
    def entry(name: str, x: Tensor, stride: int = 1) -> Tensor:
        return _same(x, w[f"{name}.main.0.weight"], stride=stride).relu()

    def block(name: str, x: Tensor) -> Tensor:
        first = _same(x, w[f"{name}.layers.0.main.0.main.0.weight"]).relu()
        return x + _same(first, w[f"{name}.layers.0.main.1.main.0.weight"])

    def up(name: str, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, w[f"{name}.main.0.weight"], stride=2, padding=1).relu()

    fine = block("Encoder.0", entry("feat_extract.0", x))
    middle = block("Encoder.1", entry("feat_extract.1", fine, 2))
    coarse = block("Encoder.2", entry("feat_extract.2", middle, 2))
    z = block("bottleneck.1", entry("bottleneck.0", coarse))
    z = up("feat_extract.3", block("Decoder.0", z + coarse))
    z = up("feat_extract.4", block("Decoder.1", z + middle))
    return block("Decoder.2", z + fine)


def _coefficients(w: Weights, features: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
    """(B,22,h,w) coefficients and the new state at half that size."""
    small = F.avg_pool2d(features, 2)
    h, c = state or (small.new_zeros(small.shape[0], COEFFICIENTS, *small.shape[-2:]),) * 2
    joint = torch.cat((small, h), 1)
    gates = F.conv2d(joint, w["APU.conv_atten.conv.weight"], w["APU.conv_atten.conv.bias"], padding=2)
    keep_new, keep_old, show, new = torch.split(gates, COEFFICIENTS, dim=1)
    c = torch.sigmoid(keep_old) * c + torch.sigmoid(keep_new) * torch.tanh(new)
    h = torch.sigmoid(show) * torch.tanh(c)
    large = h.repeat_interleave(2, 2).repeat_interleave(2, 3)
    mean, var, weight, bias = (w[f"APU.conv.main.1.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
    attention = F.batch_norm(_same(features, w["APU.conv.main.0.weight"]), mean, var, weight, bias).relu()
    return large * attention + large, h, c


def _blur(w: Weights, x: Tensor, coefficients: Tensor) -> Tensor:
    """D x: 21 blurs one after another, each per colour by [a, b, a]; 66 weighted channels through a 1x1 convolution."""
    ab = w["GCM.kernels"].reshape(NUM_ATOMS, 3, 2)
    stack = [x]
    for a_b in ab:
        taps = torch.softmax(torch.stack((a_b[:, 0], a_b[:, 1], a_b[:, 0]), dim=1), dim=1)
        kernel = torch.einsum("ci,cj->cij", taps, taps).unsqueeze(1)
        stack.append(F.conv2d(F.pad(stack[-1], (1, 1, 1, 1), mode="reflect"), kernel, groups=3))
    weighted = [blurred * coefficients[:, j].unsqueeze(1) for j, blurred in enumerate(stack)]
    return F.conv2d(torch.cat(weighted, 1), w["SummationLayer.conv.weight"], w["SummationLayer.conv.bias"])


def released_output(w: Weights, image: Tensor) -> Tensor:
    """The restored image of the authors' network in evaluation mode: (B,3,H,W) BGR, sides that divide by 16."""
    size = image.shape[-2:]
    total = image.clone()
    state = None
    for power in (3, 2, 1):
        step = 2 ** (power - 1)
        term = image[..., ::step, ::step]
        coefficients, h, c = _coefficients(w, _features(w, term), state)
        for _ in range(power):
            term = term - _blur(w, term, coefficients)
        if step > 1:
            term = F.interpolate(term, size=size, mode="bilinear", align_corners=False)
            h, c = (F.interpolate(s, scale_factor=2, mode="bilinear", align_corners=False) for s in (h, c))
        state = (h, c)
        total += term
    return total
