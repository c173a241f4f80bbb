"""The learner takes steps that can be repeated exactly, and keeps its weights when a step goes wrong."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from networks import randomise
from torch import Tensor

from nrknet import learner as learner_module
from nrknet.config import NRKNetConfig
from nrknet.learner import Learner
from nrknet.model import NRKNet
from nrknet.processes import Processes
from nrknet.recipes import RECIPES
from nrknet.stream import Crops

RADIUS = NRKNetConfig(
    num_atoms=3, widths=(4, 8), num_blocks=(1, 1), coefficients="unit_sum", head="radius", radii=(0, 2, 5),
    num_coordinates=2, memory_channels=4,
)  # fmt: skip
BATCHNORM = NRKNetConfig(num_atoms=3, widths=(4, 8), num_blocks=(1, 1))


def make(
    config: NRKNetConfig = RADIUS, *, has_radius: bool = True, start: NRKNet | None = None, **changes: Any
) -> Learner:
    recipe = replace(RECIPES["smoke"], **changes)
    return Learner(config, recipe, Processes(torch.device("cpu")), seed=3, has_radius=has_radius, start=start)


def batch(seed: int) -> Crops:
    generator = torch.Generator().manual_seed(seed)
    blurred, sharp = (torch.rand(2, 3, 32, 32, generator=generator) for _ in range(2))
    return Crops(blurred, sharp, 5 * torch.rand(2, 1, 32, 32, generator=generator))


def tensors(learner: Learner) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in (*learner.model.state_dict().items(), *learner.ema.state_dict().items())}


@pytest.mark.parametrize("config", [RADIUS, BATCHNORM], ids=["radius", "gated"])
def test_a_learner_that_loads_a_state_goes_on_exactly(config: NRKNetConfig) -> None:
    whole, parts = make(config), make(config)
    for step in range(4):
        expected = whole.train_step(batch(step), step / 4)
    for step in range(2):
        parts.train_step(batch(step), step / 4)
    resumed = make(config)
    resumed.load(parts.state())
    for step in range(2, 4):
        found = resumed.train_step(batch(step), step / 4)
    assert found == expected and resumed.step == whole.step == 4
    assert all(torch.equal(value, tensors(resumed)[name]) for name, value in tensors(whole).items())


def test_the_average_follows_the_weights() -> None:
    learner = make(BATCHNORM, ema=0.5)
    states = []
    for step in range(3):
        learner.train_step(batch(step), 0.0)
        states.append(learner.model.state_dict()["unet.entries.0.weight"].clone())
    expected = 0.5 * (0.5 * states[0] + 0.5 * states[1]) + 0.5 * states[2]
    torch.testing.assert_close(learner.averaged.state_dict()["unet.entries.0.weight"], expected)


@pytest.mark.parametrize(
    ("has_radius", "train_atoms", "trained"), [(True, False, False), (True, True, True), (False, False, True)]
)
def test_atoms_are_trained_unless_pre_fitting_has_settled_them(
    has_radius: bool, train_atoms: bool, trained: bool
) -> None:
    learner = make(has_radius=has_radius, train_atoms=train_atoms)
    assert learner.prefits == has_radius
    before = learner.model.atoms.kernels().detach().clone()
    with torch.no_grad():  # at first the atoms do nothing, and get no gradient
        learner.model.head.table.add_(0.1)
    for step in range(2):
        learner.train_step(batch(step), 0.0)
    assert torch.equal(learner.model.atoms.kernels(), before) != trained


@pytest.mark.parametrize(("train_atoms", "trained"), [(False, False), (True, True)])
def test_a_learner_that_starts_from_a_network_gives_its_image_and_keeps_its_atoms(
    train_atoms: bool, trained: bool
) -> None:
    start = randomise(NRKNet(RADIUS)).eval()
    learner = make(train_atoms=train_atoms, start=start)
    x = batch(0).blurred
    with torch.no_grad():
        torch.testing.assert_close(learner.averaged.eval()(x).image, start(x).image)
    assert not learner.prefits
    for step in range(2):
        learner.train_step(batch(step), 0.0)
    assert torch.equal(learner.model.atoms.kernels(), start.atoms.kernels()) != trained


def test_a_step_that_goes_wrong_leaves_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make()
    learner.train_step(batch(0), 0.0)
    before, sound = tensors(learner), learner_module.total_loss
    monkeypatch.setattr(learner_module, "total_loss", lambda *a, **k: (sound(*a, **k)[0] * math.inf, {}))
    with pytest.raises(FloatingPointError, match="the loss is inf at step 1; the last checkpoint is kept"):
        learner.train_step(batch(1), 0.0)
    assert learner.step == 1 and all(torch.equal(value, before[name]) for name, value in tensors(learner).items())


def test_processes_that_end_with_different_weights_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make()
    learner.check_agreement()
    monkeypatch.setattr(learner.processes, "gather", lambda value: [value, "another"])
    with pytest.raises(RuntimeError, match="different weights"):
        learner.check_agreement()
