"""Start a network from the weights of a smaller one: what it has learned is kept, what it has not starts at zero."""

import torch
from torch import Tensor

from nrknet.model import NRKNet


@torch.no_grad()
def grow(model: NRKNet, smaller: NRKNet) -> list[str]:
    """Copy a smaller network into a freshly built one, so that both give the same image before training goes on.

    A wider layer keeps its old weights in its first channels; old outputs read the new inputs with weight zero, new
    outputs keep their random start. Layers that the smaller network lacks keep the start they were built with; further
    residual blocks of the U-Net begin as the identity.

    Args:
        model: freshly built; changed.
        smaller: of the same atoms, table, number of scales and levels; its layers are at most as wide.

    Returns:
        Names of the parameters that the smaller network does not have.

    Raises:
        ValueError: a parameter of the smaller network has no place in `model`; the message names it.
    """
    target, source = model.state_dict(), smaller.state_dict()
    moved = smaller.config.widths[0], model.config.widths[0] - smaller.config.widths[0]
    for name, old in source.items():
        if name not in target:
            raise ValueError(f"{name} of the network to start from has no place in this one")
        if target[name].shape == old.shape:
            target[name].copy_(old)
        elif _fits(target[name], old, name):
            _copy_wider(target[name], old, name, *moved)
        else:
            sizes = f"{list(old.shape)} in the network to start from and {list(target[name].shape)} here"
            raise ValueError(f"{name} is {sizes}")
    fresh = sorted(target.keys() - source.keys())
    for name in fresh:
        if name.startswith("unet.") and name.endswith(".second.weight"):
            target[name].zero_()  # a further residual block begins as the identity
    return fresh


def _fits(new: Tensor, old: Tensor, name: str) -> bool:
    """A convolution may read more channels, and in the U-Net also write more."""
    if new.ndim != 4 or new.shape[2:] != old.shape[2:]:
        return False
    if name.startswith("unet."):
        return all(n >= o for n, o in zip(new.shape, old.shape, strict=True))
    return new.shape[0] == old.shape[0] and new.shape[1] >= old.shape[1]


def _copy_wider(new: Tensor, old: Tensor, name: str, features: int, shift: int) -> None:
    """One convolution; transposed ones have inputs first, and all but the U-Net's read features before other maps."""
    if name.startswith("unet.ups."):
        new, old = new.transpose(0, 1), old.transpose(0, 1)
    outputs, inputs = old.shape[:2]
    reads = torch.arange(inputs)
    if not name.startswith("unet."):
        reads[features:] += shift
    new[:outputs] = 0
    new[:outputs, reads] = old
