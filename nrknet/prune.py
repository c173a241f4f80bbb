"""Start a network from the weights of a larger one: what does most in that is kept, to be trained further."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nrknet.config import NRKNetConfig
from nrknet.model import NRKNet

PHOTOS_AT_ONCE, PROBES = 4, 4


def is_larger(network: NRKNetConfig, config: NRKNetConfig) -> bool:
    """Whether a network has channels or residual blocks that a configuration has no place for."""
    return _same_levels(network, config) and _no_larger(network, config) != _but_for_pooling(network, config)


def prune(larger: NRKNet, config: NRKNetConfig, blurred: Tensor) -> NRKNet:
    """Leave out what a configuration has no place for: residual blocks after the first, and channels that do least.

    How much a channel does is how much the image would change without it, to first order: with gates g = 1 on what its
    readers see of it, the mean over sample photos of |d image / d g|^2, a sum over all pixels, which random signs s
    estimate by the mean of (d <s, image> / d g)^2. Channels that residual blocks pass on are chosen together, those
    inside a block by themselves.

    Args:
        larger: in evaluation mode; of the same levels, head and memory cell.
        config: whose widths, num_blocks and image_blocks are the most that is kept; memory_pool is taken from it.
        blurred: (B,3,h,w) sample photos in [0,1], in the network's order of colours, on its device.

    Returns:
        A network on the CPU, in evaluation mode, that has nothing more than `config` has; `nrknet.grow` puts it into
        one that has more.

    Raises:
        ValueError: the networks have different levels.
    """
    if not _same_levels(larger.config, config):
        raise ValueError(f"a network of widths {larger.config.widths} cannot be cut down to {config.widths}")
    smaller = NRKNet(_no_larger(larger.config, config))
    groups = list(_groups(larger, smaller.config))
    effects = _effects(larger, groups, blurred)
    state = {name: value for name, value in larger.state_dict().items() if name in smaller.state_dict()}
    for group, effect in zip(groups, effects, strict=True):
        kept = effect.cpu().argsort(descending=True, stable=True)[: group.keep].sort().values
        for place in (*group.writers, *group.readers):
            weight = state[f"{place.name}.weight"]
            beside = torch.arange(group.count, weight.shape[place.axis])  # other maps that the same convolution reads
            chosen = torch.cat([kept, beside]).to(weight.device)
            state[f"{place.name}.weight"] = weight.index_select(place.axis, chosen)
    smaller.load_state_dict(state)
    return smaller.eval()


@dataclass(frozen=True)
class _Place:
    """An axis of a convolution's weight whose first numbers are a group's channels."""

    name: str
    axis: int
    module: nn.Module


@dataclass
class _Group:
    """Channels that go together, those who write them and those who read them; `keep` of `count` are to stay."""

    count: int
    keep: int
    writers: list[_Place] = field(default_factory=list)
    readers: list[_Place] = field(default_factory=list)


def _same_levels(network: NRKNetConfig, config: NRKNetConfig) -> bool:
    """Whether both U-Nets have so many levels."""
    return len(network.widths) == len(config.widths)


def _no_larger(network: NRKNetConfig, config: NRKNetConfig) -> NRKNetConfig:
    """A network's configuration, cut down to what another has."""
    return replace(
        _but_for_pooling(network, config),
        widths=tuple(map(min, network.widths, config.widths)),
        num_blocks=tuple(map(min, network.num_blocks, config.num_blocks)),
        image_blocks=min(network.image_blocks, config.image_blocks),
    )


def _but_for_pooling(network: NRKNetConfig, config: NRKNetConfig) -> NRKNetConfig:
    """A network's configuration with another's pooling, which has no parameters."""
    return replace(network, memory_pool=config.memory_pool)


def _groups(larger: NRKNet, config: NRKNetConfig) -> Iterator[_Group]:
    """The groups of channels of the parts that stay: of each level, of each block, and of the image head."""

    def place(name: str, axis: int) -> _Place:
        return _Place(name, axis, larger.get_submodule(name))

    def blocks(name: str, stream: _Group, count: int) -> Iterator[_Group]:
        for i in range(count):
            block = f"{name}.{i}"
            stream.readers.append(place(f"{block}.first", 1))
            stream.writers.append(place(f"{block}.second", 0))
            inside = [place(f"{block}.first", 0)], [place(f"{block}.second", 1)]
            yield _Group(stream.count, stream.keep, *inside)

    top = len(config.widths) - 1
    for level, (count, keep, repeats) in enumerate(
        zip(larger.config.widths, config.widths, config.num_blocks, strict=True)
    ):
        stream = _Group(count, keep, [place(f"unet.entries.{level}", 0)])
        yield from blocks(f"unet.encoders.{level}", stream, repeats)
        yield from blocks(f"unet.decoders.{level}", stream, repeats)
        if level == top:
            stream.readers.append(place("unet.bottleneck_entry", 1))
            stream.writers.append(place("unet.bottleneck_entry", 0))
            yield from blocks("unet.bottleneck", stream, repeats)
        else:
            stream.readers.append(place(f"unet.entries.{level + 1}", 1))
            stream.writers.append(place(f"unet.ups.{level}", 1))  # transposed: (inputs, outputs, 4, 4)
        if level:
            stream.readers.append(place(f"unet.ups.{level - 1}", 0))
        else:
            stream.readers += [place(name, 1) for name in _readers_of_features(larger, config)]
        yield stream
    if config.image_blocks:
        stream = _Group(larger.config.widths[0], config.widths[0], [place("image_head.entry", 0)])
        yield from blocks("image_head.blocks", stream, config.image_blocks)
        stream.readers.append(place("image_head.exit", 1))
        yield stream


def _readers_of_features(larger: NRKNet, config: NRKNetConfig) -> list[str]:
    """Convolutions whose first inputs are the U-Net's features."""
    names = ["memory.gates" if config.memory == "convlstm" else "memory.conv"]
    names += ["head.posterior", "head.residual"] if config.head == "radius" else ["head.conv"]
    return names + ["image_head.entry"] * bool(config.image_blocks)


def _effects(larger: NRKNet, groups: Sequence[_Group], blurred: Tensor) -> list[Tensor]:
    """Of each group: the mean of |d image / d gate|^2 of each of its channels."""
    gates: list[Tensor] = []  # of the photos that are passed now, each (B,count)

    def gate(place: _Place, number: int) -> RemovableHandle:
        def close(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            (x,) = inputs
            beside = x.new_ones(len(x), x.shape[1] - groups[number].count)  # other maps that this convolution reads
            return (x * torch.cat([gates[number], beside], dim=1)[..., None, None],)

        return place.module.register_forward_pre_hook(close)

    handles = [gate(place, number) for number, group in enumerate(groups) for place in group.readers]
    effects = [blurred.new_zeros(group.count) for group in groups]
    chance = torch.Generator().manual_seed(0)
    for photos in blurred.split(PHOTOS_AT_ONCE):
        gates[:] = [photos.new_ones(len(photos), group.count).requires_grad_() for group in groups]
        output = larger(photos)
        image = output.image + output.series  # of which the image head's correction is made apart, see `NRKNet`
        for _ in range(PROBES):
            signs = torch.randint(2, image.shape, generator=chance).to(image) * 2 - 1
            found = torch.autograd.grad((signs * image).sum(), gates, retain_graph=True)
            for effect, slopes in zip(effects, found, strict=True):
                effect += slopes.square().sum(0) / (PROBES * len(blurred))
    for handle in handles:
        handle.remove()
    return effects
