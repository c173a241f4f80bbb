"""A network cut down from a larger one keeps what does most in that."""

from dataclasses import replace

import pytest
import torch
from networks import ALL_CONFIGS, narrow, noise, one_line, random_network, randomise

from nrknet.config import PRESETS, NRKNetConfig
from nrknet.grow import grow
from nrknet.model import NRKNet
from nrknet.prune import is_larger, prune

PHOTOS = noise(3, 3, 45, 60)
SMALL = replace(PRESETS["lite"], widths=(8, 10, 12), image_blocks=1, memory_pool=1)
MORE = {
    "wider": {"widths": (12, 10, 16)},
    "wider everywhere": {"widths": (16, 20, 24)},
    "more blocks": {"num_blocks": (2, 1, 3), "widths": (10, 12, 14)},
}


def image(model: NRKNet) -> torch.Tensor:
    with torch.no_grad():
        return model(PHOTOS).image


@pytest.mark.parametrize("case", MORE)
@pytest.mark.parametrize("name", ["lite", "released", "w/o ConvLSTM"])
def test_channels_that_do_nothing_are_what_is_left_out(name: str, case: str) -> None:
    small = random_network(replace(ALL_CONFIGS[name], num_blocks=(1, 1, 1), image_blocks=0))
    torch.manual_seed(1)
    large = NRKNet(replace(small.config, **MORE[case])).eval()
    grow(large, small)  # whose new channels are read with weight zero, and whose new blocks are the identity
    shuffle_channels(large)
    assert is_larger(large.config, small.config)
    cut = prune(large, small.config, PHOTOS)
    assert cut.config == small.config
    torch.testing.assert_close(image(cut), image(small), atol=1e-5, rtol=1e-4)


def shuffle_channels(model: NRKNet) -> None:
    """Give the channels of the middle level another order: the network computes the same."""
    level = 1
    unet, order = model.unet, torch.randperm(model.config.widths[level], generator=torch.Generator().manual_seed(2))
    before = image(model)
    written = [unet.entries[level], *(block.second for part in (unet.encoders, unet.decoders) for block in part[level])]
    read = [unet.entries[level + 1], *(block.first for part in (unet.encoders, unet.decoders) for block in part[level])]
    with torch.no_grad():
        for module in written:
            module.weight.copy_(module.weight[order])
        for module in read:
            module.weight.copy_(module.weight[:, order])
        unet.ups[level].weight.copy_(unet.ups[level].weight[:, order])
        unet.ups[level - 1].weight.copy_(unet.ups[level - 1].weight[order])
    torch.testing.assert_close(image(model), before, atol=1e-5, rtol=1e-4)


def test_the_channels_that_do_most_are_kept() -> None:
    large = randomise(NRKNet(replace(SMALL, widths=(12, 10, 16)))).eval()
    quiet = {"top": [1, 4, 9, 15], "image": [0, 2, 3, 7], "finest": [5, 6, 10, 11]}
    written = {
        "top": [large.unet.entries[2], large.unet.bottleneck_entry],
        "image": [large.image_head.entry],
        "finest": [large.unet.entries[0], large.unet.ups[0]],
    }
    blocks = {
        "top": [large.unet.encoders[2][0], large.unet.bottleneck[0], large.unet.decoders[2][0]],
        "image": [large.image_head.blocks[0]],
        "finest": [large.unet.encoders[0][0], large.unet.decoders[0][0]],
    }
    for name, channels in quiet.items():
        for module in (*written[name], *(block.second for block in blocks[name])):
            scale_outputs(module, channels, 1e-3)
        for block in blocks[name]:  # inside of a block, others
            scale_outputs(block.first, [channel - 1 for channel in channels], 1e-3)
    cut = prune(large, SMALL, PHOTOS)
    loud = [i for i in range(16) if i not in quiet["top"]]
    assert torch.equal(cut.unet.entries[2].weight[:, 0], large.unet.entries[2].weight[loud, 0])
    changed = (large(PHOTOS).image - PHOTOS).square().mean()
    assert (image(cut) - image(large)).square().mean() < 1e-4 * changed


@torch.no_grad()
def scale_outputs(module: torch.nn.Module, channels: list[int], by: float) -> None:
    """Make some outputs of a convolution smaller."""
    outputs = module.weight.transpose(0, 1) if isinstance(module, torch.nn.ConvTranspose2d) else module.weight
    outputs[channels] *= by


def test_what_the_new_network_has_more_of_is_left_to_grow() -> None:
    large = random_network(replace(SMALL, image_blocks=0))
    wanted = replace(large.config, widths=(8, 6, 20), image_blocks=2, memory_pool=2)
    cut = prune(large, wanted, PHOTOS)
    assert cut.config == replace(wanted, widths=(8, 6, 12), image_blocks=0)
    model = NRKNet(wanted).eval()
    assert all(name.startswith("image_head.") for name in grow(model, cut))
    torch.testing.assert_close(image(model), image(cut), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ALL_CONFIGS)
def test_any_structure_can_be_cut_down(name: str) -> None:
    config = narrow(ALL_CONFIGS[name])
    large = random_network(config)
    wanted = replace(config, widths=tuple(w - 2 for w in config.widths))
    cut = prune(large, wanted, PHOTOS)
    assert cut.config == wanted and not cut.training
    assert bool(image(cut).isfinite().all())


def test_pooling_alone_is_not_larger() -> None:
    assert not is_larger(SMALL, replace(SMALL, memory_pool=2))
    assert not is_larger(SMALL, replace(SMALL, widths=(8, 10, 13), image_blocks=2))
    assert is_larger(SMALL, replace(SMALL, widths=(8, 9, 20)))
    assert not is_larger(SMALL, replace(SMALL, widths=(4, 5), num_blocks=(1, 1)))  # whose parts are others


def test_other_levels_are_refused_in_one_line() -> None:
    config = NRKNetConfig.from_dict({**SMALL.to_dict(), "widths": [8, 10], "num_blocks": [1, 1]})
    with pytest.raises(ValueError) as caught:
        prune(random_network(SMALL), config, PHOTOS)
    assert "(8, 10, 12)" in one_line(caught.value)
