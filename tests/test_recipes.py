"""Recipes follow the schedules that they are named after, and each of them trains."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from nrknet.config import PRESETS, VARIANTS, NRKNetConfig
from nrknet.processes import Processes
from nrknet.recipes import RECIPES, Recipe, SSIMPhases, named_recipe
from nrknet.sources import SharpSource
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
    patches = tuple((share, 64) for share, _ in recipe.patches)
    return replace(
        recipe, batch=2, size=64, margin=8, patches=patches, pool=4, prefit_steps=min(recipe.prefit_steps, 3),
        save_every=0.0,
    )  # fmt: skip


def trainer_of(recipe: Recipe, photos: Path, out: Path) -> Trainer:
    return Trainer(TINY, recipe, SharpSource(photos, recipe), out, Processes(torch.device("cpu")), seed=0)


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
    trainer = trainer_of(recipe, photos, tmp_path)
    trainer.run(steps=8, minutes=None)
    kept = load_model(tmp_path / "model", device="cpu").state_dict()
    resumed = trainer_of(recipe, photos, tmp_path)
    assert resumed.resume()
    again, best = resumed.learner, resumed.folder.best_weights
    assert again.milestones == 1
    again.milestones = 0
    again.pass_milestones(0.4, best)
    assert again.optimiser.state, "nothing happens before the milestone"
    again.pass_milestones(0.6, best)
    assert not again.optimiser.state and again.milestones == 1
    for model in (again.model, again.averaged):
        assert all(torch.equal(value, kept[key]) for key, value in model.state_dict().items())
    with torch.no_grad():
        next(again.model.parameters()).add_(1)
    again.pass_milestones(0.7, best)
    assert not torch.equal(next(again.model.parameters()), kept[next(iter(kept))]), "once for each milestone"


def test_an_average_of_decay_zero_is_the_network_itself(photos: Path, tmp_path: Path) -> None:
    trainer = trainer_of(small(RECIPES["paper"]), photos, tmp_path)
    trainer.run(steps=2, minutes=None)
    averaged = trainer.learner.averaged.state_dict()
    for key, value in trainer.learner.model.state_dict().items():
        torch.testing.assert_close(averaged[key], value)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_recipe_fits_every_preset(name: str, preset: str) -> None:
    RECIPES[name].check_sides(PRESETS[preset].size_multiple)


@pytest.mark.parametrize("name", ["paper", "default"])
def test_the_variants_of_table_5_change_the_loss_and_nothing_else(name: str) -> None:
    recipe = RECIPES[name]
    expected = {
        "w/o reblur": replace(recipe.loss, reblur=0.0),
        "w/o FDR": replace(recipe.loss, fdr=0.0),
        "SingleScaleLoss": replace(recipe.loss, scale_weights=(1.0, 0.75, 0.0, 0.0)),
    }
    for variant in VARIANTS:
        assert named_recipe(name, variant=variant) == replace(recipe, loss=expected.get(variant, recipe.loss))
    with pytest.raises(ValueError, match="unknown recipe 'quick'; known: default, "):
        named_recipe("quick")


def test_a_variant_of_the_loss_is_trained_with_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VARIANTS, "w/o FDR", TINY)
    terms: dict[str, float] = {}
    train(photos, tmp_path, variant="w/o FDR", recipe="smoke", steps=1, device="cpu", on_step=terms.update)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["names"]["variant"] == "w/o FDR" and facts["recipe"]["loss"]["fdr"] == 0
    assert "fdr" not in terms and terms["mse"] > 0


def test_patches_grow_at_their_shares_of_the_run() -> None:
    recipe = Recipe(size=256, patches=((0.0, 64), (0.25, 128), (0.5, 256)))
    assert [recipe.side_at(progress) for progress in (0, 0.24, 0.25, 0.49, 0.5, 1)] == [64, 64, 128, 128, 256, 256]
    late = Recipe(size=256, patches=((0.5, 128),))
    assert (late.side_at(0.4), late.side_at(0.5)) == (256, 128)
    assert {Recipe(size=256).side_at(progress) for progress in (0, 0.5, 1)} == {256}
    assert RECIPES["default"].patches == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patches": ((0.5, 64), (0.2, 128))}, "increasing shares"),
        ({"patches": ((0.0, 64), (0.0, 128))}, "increasing shares"),
        ({"patches": ((1.0, 64),)}, "below 1"),
        ({"patches": ((0.0, 288),)}, "no larger than the crops of 256 pixels"),
        ({"pool": 95}, "multiple of the batch size 4, got 95"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**options)


def test_another_batch_comes_in_pools_of_as_many_crops_or_a_few_more() -> None:
    recipe = RECIPES["gpu"]
    assert recipe.with_batch(32) == recipe
    assert recipe.with_batch(128) == replace(recipe, batch=128)
    assert recipe.with_batch(96) == replace(recipe, batch=96, pool=576)
    with pytest.raises(ValueError, match="a step takes 1 crop or more, got 0"):
        recipe.with_batch(0)


@pytest.mark.parametrize(("size", "side"), [(250, 64), (256, 48), (256, 32)])
def test_crops_that_a_network_would_pad_are_refused(size: int, side: int) -> None:
    with pytest.raises(ValueError, match="do not fit this network; expected a multiple of 32, at least 64"):
        Recipe(size=size, patches=((0.0, side),)).check_sides(32)


@pytest.mark.parametrize(("steps", "pool"), [(1, 4), (3, 4), (4, 8), (20, 28), (71, 96), (72, 96), (5000, 96)])
def test_a_short_run_makes_no_more_crops_than_it_uses(steps: int, pool: int) -> None:
    recipe = Recipe(batch=4, pool=96, reuse=3, prefit_steps=1200)
    assert recipe.pool_for(steps) == pool
    assert pool == 96 or recipe.batch * steps <= pool * recipe.reuse
    assert recipe.prefit_for(steps) == min(1200, (steps + 1) // 2)
    assert (recipe.pool_for(None), recipe.prefit_for(None)) == (96, 1200)
