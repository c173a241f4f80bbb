"""Parameters and multiply-accumulates, counted."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nrknet import Deblurrer, NRKNet
from nrknet.complexity import atom_macs, complexity, count_parameters, rkr_macs, time_photo
from nrknet.config import PRESETS, VARIANTS, NRKNetConfig


def products(module: nn.Conv2d | nn.ConvTranspose2d, inputs: torch.Tensor, outputs: torch.Tensor) -> int:
    """Multiply-accumulates of one convolution by its shapes: an enlarging one spreads every input pixel's taps."""
    taps = module.weight[0].numel() * module.weight.shape[0]
    return taps * (inputs if isinstance(module, nn.ConvTranspose2d) else outputs)[0, 0].numel()


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_all_those_of_the_network(name: str) -> None:
    expected = sum(p.numel() for p in NRKNet(PRESETS[name]).parameters())
    assert complexity(PRESETS[name], height=64, width=64).total_parameters == expected
    assert sum(count_parameters(NRKNet(PRESETS[name])).values()) == expected


@pytest.mark.parametrize("name", PRESETS)
def test_convolutions_are_counted_as_their_shapes_say(name: str) -> None:
    config = replace(PRESETS[name], widths=(8, 12, 16))
    model, counted = NRKNet(config).eval(), {"unet": 0, "memory": 0}
    for part in counted:
        for module in getattr(model, part).modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):

                def count(
                    module: nn.Module, inputs: tuple[torch.Tensor], outputs: torch.Tensor, part: str = part
                ) -> None:
                    counted[part] += products(module, inputs[0], outputs)  # type: ignore[arg-type]

                module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.rand(1, 3, 96, 128))
    found = complexity(config, height=96, width=128)
    assert (found.macs["U-Net"], found.macs["memory"]) == (counted["unet"], counted["memory"])


def test_the_authors_network_takes_868_billion_products_at_1280x720_and_6_1_million_parameters() -> None:
    found = complexity(PRESETS["released"])
    assert found.total_parameters == 6_094_107
    assert found.total_macs == pytest.approx(868e9, rel=0.002)


@pytest.mark.parametrize(
    ("variant", "learned", "per_pixel"),
    [("FullRKR", 60, 120), ("NonRecursive", 440, 880), ("NonSeparable", 12340, 12340), ("NonAdaptive", 0, 880)],
)
def test_atoms_cost_what_their_structure_says(variant: str, learned: int, per_pixel: int) -> None:
    config = VARIANTS[variant]
    assert complexity(config, height=64, width=64).parameters["RKR"] == learned
    assert atom_macs(config) == per_pixel


def test_rkr_is_counted_over_all_applications_of_all_scales() -> None:
    config = NRKNetConfig(num_atoms=2, widths=(8,), num_blocks=(1,))
    per_pixel = 3 * (12 + 3)
    assert rkr_macs(config, height=32, width=64) == per_pixel * (32 * 64 + 2 * 16 * 32 + 3 * 8 * 16)
    full = replace(config, expansion="full")
    assert rkr_macs(full, height=32, width=64) == 3 * per_pixel * (32 * 64 + 16 * 32 + 8 * 16)


def test_products_grow_with_the_pixels() -> None:
    small, large = (complexity(PRESETS["lite"], height=side, width=side).total_macs for side in (128, 256))
    assert large == pytest.approx(4 * small, rel=0.02)


class Clock:
    """Stands for the clock and for a Deblurrer whose photos take known seconds by it."""

    def __init__(self, *seconds: float) -> None:
        self.now, self.seconds, self.sizes = 100.0, list(seconds), set[tuple[int, ...]]()

    def perf_counter(self) -> float:
        return self.now

    def __call__(self, image: np.ndarray) -> np.ndarray:
        self.sizes.add(image.shape)
        self.now += self.seconds.pop(0)
        return image


def test_the_time_of_a_photo_is_the_median_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(9.0, 2.0, 7.0, 3.0)
    monkeypatch.setattr("nrknet.complexity.time", clock)
    timing = time_photo(clock, height=20, width=30, repeats=3)  # type: ignore[arg-type]
    assert clock.sizes == {(20, 30, 3)} and not clock.seconds
    assert (timing.shortest, timing.median, timing.longest) == pytest.approx((2.0, 3.0, 7.0))


def test_a_photo_is_timed_by_the_real_clock_too() -> None:
    """That a larger one takes longer is for benchmarks: with two shared cores a small one may take as long."""
    deblurrer = Deblurrer(NRKNet(replace(PRESETS["lite"], widths=(8, 8, 8))), device="cpu")
    started = time.perf_counter()
    timing = time_photo(deblurrer, height=32, width=48, repeats=3)
    passed = time.perf_counter() - started
    assert 0 < timing.shortest <= timing.median <= timing.longest < passed
    assert timing.shortest + timing.median + timing.longest < passed


def test_a_time_needs_repeats() -> None:
    with pytest.raises(ValueError, match="repeats must be 1 or more, got 0"):
        time_photo(Clock(1.0), repeats=0)  # type: ignore[arg-type]


def test_bytes_are_those_of_every_layers_inputs_weights_and_outputs() -> None:
    config = replace(PRESETS["paper"], widths=(8, 12, 16), num_atoms=4)
    found = complexity(config, height=96, width=128)
    full, memory = 96 * 128, 48 * 64
    hidden = config.num_coefficients
    pixels = sum(n / 4**t for t, n in enumerate((1, 1, 1)))  # of three scales, by those of the first
    weights = 25 * (8 + hidden) * 4 * hidden + 4 * hidden
    assert found.bytes["memory"] == 4 * (memory * (8 + 5 * hidden) * pixels + 3 * weights)
    assert found.bytes["RKR"] == 4 * (6 + hidden) * (1 * full + 2 * full // 4 + 3 * full // 16)
    assert found.bytes["image head"] == 0 < found.bytes["coefficients"] < found.bytes["U-Net"]
    assert found.total_bytes == sum(found.bytes.values())
