"""What a network costs: its parameters, the multiply-accumulates and bytes of one photo part by part, and its time."""

import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from nrknet.config import NRKNetConfig
from nrknet.inference import Deblurrer
from nrknet.model import NRKNet

HEIGHT, WIDTH = 720, 1280
"""The photo of the paper's Table 1."""
_MODULES = {"unet": "U-Net", "memory": "memory", "head": "coefficients", "image_head": "image head"}


@dataclass(frozen=True)
class Complexity:
    """What each part of a network costs: U-Net, memory, coefficients, image head, RKR.

    Parameters are learned numbers, macs the multiply-accumulates of one photo.
    Bytes are those that layers read and write in float32 when each layer reads its inputs and weights once and writes
    its outputs once: what has to pass through memory where no layer finds anything in a cache.
    """

    parameters: dict[str, int]
    macs: dict[str, int]
    bytes: dict[str, int]

    @property
    def total_parameters(self) -> int:
        """All learned numbers."""
        return sum(self.parameters.values())

    @property
    def total_macs(self) -> int:
        """All multiply-accumulates of one photo."""
        return sum(self.macs.values())

    @property
    def total_bytes(self) -> int:
        """All bytes that layers read and write for one photo."""
        return sum(self.bytes.values())


@dataclass(frozen=True)
class Timing:
    """Seconds that one photo takes: the median, the shortest and the longest of the repeats."""

    median: float
    shortest: float
    longest: float


def complexity(config: NRKNetConfig, *, height: int = HEIGHT, width: int = WIDTH) -> Complexity:
    """Count parameters and multiply-accumulates (Table 1's last columns but one).

    Convolutions and matrix products are counted by PyTorch on tensors that hold no numbers; RKR, the blurring by atoms
    and the sum over j in all applications of all D_t, as `rkr_macs` has it. Activations, pooling, resizing and the
    products of gates are not counted, as usual; neither are their bytes. Of an application of D_t the image in, the
    coefficients and the image out are.

    Args:
        config: the network's structure.
        height, width: of the photo in pixels, at least 16.
    """
    with FakeTensorMode(), torch.no_grad():
        model = NRKNet(config).eval()
        moved = {part: _count_bytes(getattr(model, name)) for name, part in _MODULES.items()}
        counter = FlopCounterMode(display=False)
        with counter:
            model(torch.empty(1, 3, height, width))
    found = counter.get_flop_counts()
    macs = {part: sum(found.get(f"NRKNet.{name}", {}).values()) // 2 for name, part in _MODULES.items()}
    macs["RKR"] = rkr_macs(config, height=height, width=width)
    moved["RKR"] = [4 * (6 + config.num_coefficients) * _applied_pixels(config, height=height, width=width)]
    return Complexity(count_parameters(model), macs, {part: sum(counts) for part, counts in moved.items()})


def _count_bytes(part: nn.Module | None) -> list[int]:
    """What every call of a convolution in this part of a network is going to read and write."""
    counts: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counts.append(4 * sum(x.numel() for x in (*inputs, *layer.parameters(), output)))

    for layer in part.modules() if part is not None else ():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            layer.register_forward_hook(count)
    return counts


def count_parameters(model: NRKNet) -> dict[str, int]:
    """Learned numbers by part of the network, named as in `Complexity`; this takes no time."""
    parameters = {part: _learned(getattr(model, name)) for name, part in _MODULES.items()}
    parameters["RKR"] = _learned(model.atoms) + _learned(model.fusion)
    return parameters


def time_photo(deblurrer: Deblurrer, *, height: int = HEIGHT, width: int = WIDTH, repeats: int = 5) -> Timing:
    """Measure the seconds that one photo takes (Table 1's last column).

    From 8-bit pixels in memory to 8-bit pixels in memory: the network, its padding and tiles, the conversions, and on a
    GPU the way there and back. Reading and writing files, loading the network and a first photo as warm-up are not in
    it. What the photo shows, here noise, and what the weights are changes nothing.

    Args:
        deblurrer: the network, on its device, with its precision and tile; a tile as large as the photo takes it whole.
        height, width: of the photo in pixels, at least 16.
        repeats: photos that are timed after the warm-up, 1 or more.

    Raises:
        ValueError: no repeats, or a photo that is too small.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be 1 or more, got {repeats}")
    photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    deblurrer(photo)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        deblurrer(photo)
        seconds.append(time.perf_counter() - started)
    return Timing(statistics.median(seconds), min(seconds), max(seconds))


def rkr_macs(config: NRKNetConfig, *, height: int = HEIGHT, width: int = WIDTH) -> int:
    """Multiply-accumulates of Eq. 11 in all its applications: scale t applies D_t `config.powers(t)` times.

    Per pixel and colour an atom costs the taps that its structure needs (`atom_macs`), and the sum over j a product per
    coefficient; where the sum is learned, 3K more.

    Args:
        config: the network's structure.
        height, width: of the photo in pixels; padded to the network's multiple.
    """
    count = config.num_coefficients
    per_pixel = 3 * (atom_macs(config) + count + (3 * count if config.fusion == "learned" else 0))
    return per_pixel * _applied_pixels(config, height=height, width=width)


def _applied_pixels(config: NRKNetConfig, *, height: int, width: int) -> int:
    """Pixels that all applications of all D_t make."""
    multiple = config.size_multiple
    height, width = (max(-(-n // multiple), 2) * multiple for n in (height, width))
    return sum(config.powers(t) * (height >> (t - 1)) * (width >> (t - 1)) for t in _scales(config))


def atom_macs(config: NRKNetConfig) -> int:
    """Products per pixel and colour to blur by all J atoms.

    recursive: two passes of 3 taps per atom, from the last atom's image (Eq. 5). nonrecursive and gaussian: two passes
    of 2j + 1 taps. nonseparable: (2j + 1)^2 taps.
    """
    sides = [2 * j + 1 for j in range(1, config.num_atoms + 1)]
    if config.atoms == "recursive":
        return 6 * config.num_atoms
    if config.atoms == "nonseparable":
        return sum(side**2 for side in sides)
    return sum(2 * side for side in sides)


def _scales(config: NRKNetConfig) -> range:
    return range(1, config.num_scales + 1)


def _learned(module: nn.Module | None) -> int:
    return 0 if module is None else sum(p.numel() for p in module.parameters())
