"""Small networks for the tests: the structure of any configuration at a width that a CPU runs in milliseconds."""

from dataclasses import replace

import torch
from torch import Tensor

from nrknet.basis import coefficient_basis
from nrknet.config import PRESETS, VARIANTS, NRKNetConfig
from nrknet.layers import RadiusHead
from nrknet.model import NRKNet

_FIRST_NAMES = {config: name for name, config in reversed([*PRESETS.items(), *VARIANTS.items()])}
ALL_CONFIGS = {name: config for config, name in reversed(_FIRST_NAMES.items())}
"""Every structure once, by the first of its names."""


def narrow(config: NRKNetConfig) -> NRKNetConfig:
    """The same network with few U-Net channels."""
    return replace(config, widths=(8, 10, 12)[: len(config.widths)])


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Uniform random numbers in [0, 1]."""
    return torch.rand(*shape, generator=seeded(seed))


def randomise(model: NRKNet, *, seed: int = 0) -> NRKNet:
    """Give every parameter and every running statistic a random value; zero-initialised heads become active.

    Convolutions keep the size of what they are given and D stays near the identity (coefficients around 0.1, or
    coordinates that change a pixel by about as much), so that (I - D)^3 does not blow rounding errors up. The basis of
    a radius head is that of the random atoms.
    """
    generator = seeded(seed)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith("running_var"):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif tensor.is_floating_point() and name not in ("head.radii", "head.basis", "atoms.fixed"):
                scale = tensor[0].numel() ** -0.5 if tensor.ndim == 4 else 0.2
                if name.startswith("head.residual"):
                    scale *= 0.2
                tensor.copy_(scale * torch.randn(tensor.shape, generator=generator))
        tame_coordinates(model)
    return model


@torch.no_grad()
def tame_coordinates(model: NRKNet) -> None:
    """Give the radius head its atoms' basis, and scale down what writes coordinates: 1 may change a pixel by 1."""
    head = model.head
    if not isinstance(head, RadiusHead) or not model.config.num_coordinates:
        return
    kernels = model.atoms.kernels()
    head.basis.copy_(coefficient_basis(kernels, len(head.basis)))
    change = torch.einsum("pj,jsxy->psxy", head.basis, kernels[1:] - kernels[:1])
    gain = change.abs().sum((-1, -2)).amax(1)
    head.table /= gain
    gain = gain.repeat_interleave(head.stem**2)
    head.residual.weight /= gain[:, None, None, None]
    head.residual.get_parameter("bias").div_(gain)


def random_network(config: NRKNetConfig, *, seed: int = 0) -> NRKNet:
    """A narrow network of this structure with random weights, in evaluation mode."""
    return randomise(NRKNet(narrow(config)), seed=seed).eval()


def one_line(error: BaseException) -> str:
    """The message of an error, which must be one line and not empty."""
    message = str(error)
    assert message.strip() and "\n" not in message, message
    return message


def random_alexnet(seed: int = 0) -> dict[str, Tensor]:
    """AlexNet's convolutions, named as torchvision does, with random weights that keep the size of activations."""
    shapes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    generator, state = seeded(seed), {}
    for index, shape in shapes.items():
        scale = (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        state[f"features.{index}.weight"] = scale * torch.randn(shape, generator=generator)
        state[f"features.{index}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    return state
