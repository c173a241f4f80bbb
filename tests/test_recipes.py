"""Recipes follow the schedules that they are named after, and each of them trains."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from nrknet.config import PRESETS, NRKNetConfig
from nrknet.recipes import RECIPES, Recipe, SSIMPhases
from nrknet.train import Trainer, train
from nrknet.weights import load_model

TINY = NRKNetConfig(num_atoms=3, widths=(4, 8), num_blocks=(1, 1))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, pixels in (("astronaut", data.astronaut()), ("chelsea", data.chelsea()), ("coffee", data.coffee())):
        Image.fromarray(np.ascontiguousarray(pixels[100:228, 150:278])).save(folder / f"{name}.png")
    return folder


def small(recipe: Recipe) -> Recipe:
    """The recipe on crops that render in no time."""
    return replace(recipe, batch=2, size=64, margin=8, pool=4, prefit_steps=min(recipe.prefit_steps, 3), save_every=0.0)


@pytest.mark.parametrize(("epoch", "factor"), [(0, 1), (1999, 1), (2000, 0.5), (2999, 0.5), (3000, 0.25), (3999, 0.25)])
def test_the_papers_rate_is_halved_every_1000_epochs_after_2000_of_4000(epoch: int, factor: float) -> None:
    assert RECIPES["paper"].rate_at(epoch, epoch / 4000) == pytest.approx(1e-4 * factor)


@pytest.mark.parametrize(("epoch", "factor"), [(0, 1), (1999, 1), (2000, 0.5), (3000, 0.25), (4000, 0.1), (4999, 0.1)])
def test_the_released_rate_falls_at_2000_3000_and_4000_of_5000_epochs(epoch: int, factor: float) -> None:
    assert RECIPES["released"].rate_at(epoch, epoch / 5000) == pytest.approx(1e-4 * factor)


def test_the_released_loss_is_ssim_alone_in_99_of_every_200_epochs_after_1000() -> None:
    epochs = [epoch for epoch in range(5000) if RECIPES["released"].loss_at((epoch + 0.5) / 5000).ssim]
    assert min(epochs) == 1000 and max(epochs) < 5000
    for start in range(1000, 5000, 200):
        assert sum(start <= epoch < start + 200 for epoch in epochs) == 99
    inside, outside = RECIPES["released"].loss_at(1000.5 / 5000), RECIPES["released"].loss_at(0.1)
    assert (inside.mse, inside.fdr, inside.reblur, inside.ssim) == (0, 0, 0, 1)
    assert (outside.mse, outside.fdr, outside.reblur, outside.ssim) == (1, 0.1, 0, 0), "reblur is left out there"


def test_the_papers_loss_is_eq_12_to_14_throughout() -> None:
    for progress in (0, 0.3, 0.9):
        loss = RECIPES["paper"].loss_at(progress)
        assert (loss.mse, loss.fdr, loss.reblur, loss.ssim, loss.relative) == (1, 0.1, 0.1, 0, 0)
        assert loss.scale_weights == (1, 0.75, 0.5, 0.25)
    assert RECIPES["paper"].batch == 4 and RECIPES["paper"].size == 256


def test_our_rate_rises_over_the_warm_up_and_then_falls_to_2_percent() -> None:
    recipe = RECIPES["default"]
    assert recipe.rate_at(0, 0) < recipe.rate_at(50, 0.01) < recipe.rate_at(99, 0.02) < recipe.rate
    rates = [recipe.rate_at(1000, progress / 10) for progress in range(11)]
    assert rates == sorted(rates, reverse=True) and rates[-1] == pytest.approx(0.02 * recipe.rate)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("preset", ["tiny", "lite"])
def test_every_recipe_trains_and_leaves_a_network(
    name: str, preset: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setitem(RECIPES, name, small(RECIPES[name]))
    losses: list[float] = []
    folder = train(
        photos, tmp_path, preset=preset, recipe=name, steps=4, device="cpu", on_step=lambda r: losses.append(r["loss"])
    )
    assert len(losses) == 4 and all(math.isfinite(loss) and loss > 0 for loss in losses)
    assert load_model(folder, device="cpu").config == PRESETS[preset]


def test_a_restart_goes_on_from_the_best_weights_with_a_new_adam(photos: Path, tmp_path: Path) -> None:
    recipe = replace(small(RECIPES["released"]), milestones=((0.5, 0.5),), ssim_phases=SSIMPhases(0.9, 1.0, 0.1))
    trainer = Trainer(TINY, recipe, photos, tmp_path, torch.device("cpu"), seed=0)
    trainer.run(steps=8, minutes=None)
    kept = load_model(tmp_path / "model", device="cpu").state_dict()
    again = Trainer(TINY, recipe, photos, tmp_path, torch.device("cpu"), seed=0)
    assert again.resume() and again.milestones == 1
    again.milestones = 0
    again._pass_milestones(0.4)
    assert again.optimiser.state, "nothing happens before the milestone"
    again._pass_milestones(0.6)
    assert not again.optimiser.state and again.milestones == 1
    for model in (again.model, again.ema.module):
        assert all(torch.equal(value, kept[key]) for key, value in model.state_dict().items())
    with torch.no_grad():
        next(again.model.parameters()).add_(1)
    again._pass_milestones(0.7)
    assert not torch.equal(next(again.model.parameters()), kept[next(iter(kept))]), "once for each milestone"


def test_an_average_of_decay_zero_is_the_network_itself(photos: Path, tmp_path: Path) -> None:
    trainer = Trainer(TINY, small(RECIPES["paper"]), photos, tmp_path, torch.device("cpu"), seed=0)
    trainer.run(steps=2, minutes=None)
    averaged = trainer.ema.module.state_dict()
    for key, value in trainer.model.state_dict().items():
        torch.testing.assert_close(averaged[key], value)
