"""The learner takes steps that can be repeated exactly, and keeps its weights when a step goes wrong."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from networks import one_line, randomise
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


def everything(learner: Learner) -> dict[str, Tensor]:
    """Weights, statistics, averages, and Adam's moments and counts."""
    adam = learner.optimiser.state_dict()["state"]
    return {**tensors(learner), **{f"{i}/{k}": v.clone() for i, values in adam.items() for k, v in values.items()}}


@pytest.mark.parametrize("config", [RADIUS, BATCHNORM], ids=["radius", "gated"])
@pytest.mark.parametrize("where", ["loss", "gradient", "crops"])
def test_a_step_that_is_not_finite_changes_nothing_but_the_number_of_steps(
    config: NRKNetConfig, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, sound = make(config), learner_module.total_loss
    learner.train_step(batch(0), 0.0)
    before = everything(learner)

    def spoilt(*arguments: Any, **options: Any) -> tuple[Tensor, dict[str, Tensor]]:
        loss, terms = sound(*arguments, **options)
        if where == "gradient":
            loss.register_hook(lambda gradient: gradient * math.inf)
        return (loss * math.inf if where == "loss" else loss), terms

    crops = batch(1)
    if where == "crops":
        crops.blurred[0, 0, 3, 3] = math.nan
    with monkeypatch.context() as patched:
        patched.setattr(learner_module, "total_loss", spoilt)
        record = learner.train_step(crops, 0.0)
    assert not math.isfinite(record["gradient"])
    assert learner.step == 2 and (learner.skips.total, learner.skips.in_a_row) == (1, 1)
    after = everything(learner)
    assert after.keys() == before.keys() and all(torch.equal(value, before[name]) for name, value in after.items())
    if config is BATCHNORM:
        assert any(name.endswith("running_mean") for name in after), "statistics are among what is compared"

    never, resumed = make(config), make(config)
    state = copy.deepcopy(learner.state())
    never.load(copy.deepcopy(state) | {"progress": {"step": 2, "milestones": 0}})
    resumed.load(state)
    records = [other.train_step(batch(2), 0.0) for other in (learner, never, resumed)]
    assert records[0] == records[1] == records[2] and learner.skips.in_a_row == 0
    assert resumed.skips.total == 1 and resumed.skips.in_a_row == 0
    assert all(torch.equal(value, everything(never)[name]) for name, value in everything(learner).items())


def test_weights_that_are_not_finite_after_pre_fitting_are_not_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make()

    def fail(model: NRKNet, *_: object, **__: object) -> None:
        with torch.no_grad():
            next(model.parameters()).fill_(math.nan)

    monkeypatch.setattr(learner_module, "prefit_table", fail)
    with pytest.raises(FloatingPointError, match="pre-fitting has led to weights that are not finite") as caught:
        learner.prefit(None, 3)  # type: ignore[arg-type]
    one_line(caught.value)


def test_processes_that_end_with_different_weights_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make()
    learner.check_agreement()
    monkeypatch.setattr(learner.processes, "gather", lambda value: [value, "another"])
    with pytest.raises(RuntimeError, match="different weights"):
        learner.check_agreement()
