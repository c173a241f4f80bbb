"""A network grown from a smaller one gives its image, and goes on learning with all it has."""

from dataclasses import replace

import pytest
import torch
from networks import noise, one_line, random_network, randomise

from nrknet.config import PRESETS, NRKNetConfig
from nrknet.grow import grow
from nrknet.model import NRKNet

SMALL = replace(PRESETS["lite"], widths=(8, 10, 12), image_blocks=0)
LARGER = {
    "wider": {"widths": (12, 10, 16)},
    "wider everywhere, with an image head": {"widths": (16, 20, 24), "image_blocks": 2},
    "the same with an image head": {"image_blocks": 1},
    "more blocks": {"num_blocks": (2, 1, 3)},
    "equal": {},
}


@pytest.mark.parametrize("case", LARGER)
def test_a_grown_network_gives_the_image_of_the_smaller_one(case: str) -> None:
    small = random_network(SMALL)
    torch.manual_seed(1)
    large = NRKNet(replace(small.config, **LARGER[case])).eval()
    grow(large, small)
    x = noise(1, 3, 45, 60)
    with torch.no_grad():
        torch.testing.assert_close(large(x).image, small(x).image, atol=1e-5, rtol=1e-4)


def test_what_the_smaller_network_lacks_is_named_and_everything_learns() -> None:
    small = random_network(SMALL)
    torch.manual_seed(1)
    large = NRKNet(replace(small.config, widths=(12, 16, 20), image_blocks=1))
    fresh = grow(large, small)
    assert fresh and all(name.startswith("image_head.") for name in fresh)
    for _ in range(2):  # the image head's inside wakes up after one step
        large.zero_grad()
        output = large(noise(1, 3, 64, 64))
        (output.image.square().sum() + output.series.square().sum()).backward()
        torch.optim.SGD(large.parameters(), lr=1e-5).step()
    # the U-Net reads new channels with weight zero, yet every weight has a gradient
    assert all(p.grad is not None and bool(p.grad.any()) for p in large.unet.parameters())


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"widths": (6, 10, 12)}, "unet"),
        ({"num_atoms": 20}, "atoms"),
        ({"memory_kernel": 5}, "memory"),
        ({"num_blocks": (1, 0, 1)}, "unet"),
    ],
)
def test_a_network_that_cannot_hold_the_smaller_one_says_which_parameter(changes: dict[str, object], word: str) -> None:
    small = randomise(NRKNet(SMALL))
    config = NRKNetConfig.from_dict({**SMALL.to_dict(), **changes})
    with pytest.raises(ValueError) as caught:
        grow(NRKNet(config), small)
    assert word in one_line(caught.value)
