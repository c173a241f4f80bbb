"""Training runs, resumes as if never interrupted, and refuses what it cannot do."""

import dataclasses
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import narrow
from PIL import Image, ImageFilter
from skimage import data
from torch import Tensor

from nrknet import cli, learner, trainer
from nrknet.basis import coefficient_basis
from nrknet.checkpoint import read_checkpoint
from nrknet.config import PRESETS, VARIANTS, NRKNetConfig, vary
from nrknet.data import RenderedCrops
from nrknet.defocus import DefocusConfig
from nrknet.losses import LossConfig
from nrknet.model import NRKNet
from nrknet.prefit import prefit_table
from nrknet.processes import AgreedError, Processes
from nrknet.recipes import RECIPES
from nrknet.stream import StreamOptions
from nrknet.train import TrainingStopped, train
from nrknet.weights import load_model

STEPS = 6
CHILD = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
TINY: dict[str, Any] = {"num_atoms": 3, "widths": (4, 8), "num_blocks": (1, 1)}
TINY_RADIUS: dict[str, Any] = {
    "coefficients": "unit_sum",
    "head": "radius",
    "radii": (0, 2, 5),
    "num_coordinates": 2,
    "memory_channels": 4,
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, pixels in (("astronaut", data.astronaut()), ("chelsea", data.chelsea()), ("coffee", data.coffee())):
        Image.fromarray(pixels[100:228, 150:278]).save(folder / f"{name}.png")
    return folder


@pytest.fixture(autouse=True)
def tiny_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that train in no time; on one thread, so that sums are always taken in one order."""
    monkeypatch.setitem(PRESETS, "tiny", NRKNetConfig(**TINY))
    monkeypatch.setitem(PRESETS, "tiny radius", NRKNetConfig(**TINY, **TINY_RADIUS))


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(photos: Path, out: Path, **options: Any) -> Path:
    if "minutes" not in options:
        options.setdefault("steps", STEPS)
    return train(photos, out, **{"preset": "tiny", "recipe": "smoke", "device": "cpu", **options})


def checkpoint(out: Path) -> dict[str, Any]:
    return torch.load(out / "checkpoint.pt", weights_only=True)


def log_lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def assert_equal(one: Any, other: Any, path: str = "") -> None:
    """Equal nested dictionaries, tensors bit for bit; times may differ."""
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one.keys() - {"seconds"}:
            assert_equal(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, Tensor):
        assert torch.equal(one, other), path
    else:
        assert one == other, path


def stop_at(step: int) -> Callable[[dict[str, float]], None]:
    def on_step(record: dict[str, float]) -> None:
        if record["step"] == step:
            raise KeyboardInterrupt

    return on_step


# ------------------------------------------------------------------------------------------------------------------ run


@pytest.mark.parametrize("preset", ["lite", "paper"])
def test_a_short_run_leaves_a_model_a_log_and_a_checkpoint(photos: Path, tmp_path: Path, preset: str) -> None:
    records: list[dict[str, float]] = []
    folder = run(photos, tmp_path / "run", preset=preset, on_step=records.append)
    assert folder == tmp_path / "run" / "model"
    model = load_model(folder, device="cpu")
    assert model.config == PRESETS[preset]
    assert [r["step"] for r in records] == list(range(1, STEPS + 1))
    assert [r["progress"] for r in records] == pytest.approx([i / STEPS for i in range(1, STEPS + 1)])
    assert all(math.isfinite(value) for r in records for value in r.values())
    assert checkpoint(tmp_path / "run")["progress"]["step"] == STEPS
    scores = log_lines(tmp_path / "run")[-1]["validation"]
    assert {"psnr", "gain_db"} <= scores.keys() and all(math.isfinite(value) for value in scores.values())
    assert json.loads((folder / "training.json").read_text())["validation"] == scores
    assert not list(tmp_path.rglob("*.part"))


def test_one_seed_gives_one_network_and_another_seed_another(photos: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(photos, tmp_path / name, steps=2, seed=seed)
    first, again, other = (checkpoint(tmp_path / name) for name in "abc")
    assert_equal(first, again)
    assert not torch.equal(first["model"]["unet.entries.0.weight"], other["model"]["unet.entries.0.weight"])


def test_a_budget_of_minutes_is_kept(photos: Path, tmp_path: Path) -> None:
    records: list[dict[str, float]] = []
    run(photos, tmp_path, minutes=0.005, on_step=records.append)
    assert records[-1]["progress"] == 1 and records[-1]["seconds"] >= 0.3
    assert len(records) == 1 or records[-2]["progress"] < 1


def test_every_parameter_but_the_prefitted_atoms_is_trained(photos: Path, tmp_path: Path) -> None:
    states: list[dict[str, Tensor]] = []

    def keep(record: dict[str, float]) -> None:
        if record["step"] > 1:  # the checkpoint of the step before
            states.append(checkpoint(tmp_path)["model"])

    run(photos, tmp_path, preset="tiny radius", on_step=keep)
    end = checkpoint(tmp_path)["model"]
    kept = {name for name, value in end.items() if torch.equal(value, states[0][name])}
    assert kept == {"atoms.logits", "head.basis"}


# --------------------------------------------------------------------------------------------------------------- resume


@pytest.mark.parametrize("preset", ["tiny", "tiny radius"])
def test_a_run_that_was_killed_and_resumed_equals_one_that_was_not(photos: Path, tmp_path: Path, preset: str) -> None:
    run(photos, tmp_path / "whole", preset=preset)
    for step in (1, 3, 5):  # before the first checkpoint, within the first pool, in the second pool
        with pytest.raises(KeyboardInterrupt):
            run(photos, tmp_path / "parts", preset=preset, on_step=stop_at(step))
        torch.rand(7), np.random.random(7)
    run(photos, tmp_path / "parts", preset=preset)
    assert_equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))
    whole, parts = (load_model(tmp_path / name / "model", device="cpu").state_dict() for name in ("whole", "parts"))
    assert_equal(dict(whole), dict(parts))


def test_a_run_that_starts_from_a_network_says_so_and_cannot_go_on_without_it(photos: Path, tmp_path: Path) -> None:
    first = run(photos, tmp_path / "first", preset="tiny radius")
    second = run(photos, tmp_path / "second", preset="tiny radius", init=first, steps=2, seed=1)
    found, start = load_model(second), load_model(first)
    assert torch.equal(found.atoms.kernels(), start.atoms.kernels())
    assert json.loads((second / "training.json").read_text())["names"]["init"] == str(first)
    with pytest.raises(ValueError, match="start"):
        run(photos, tmp_path / "second", preset="tiny radius", steps=4, seed=1)
    assert run(photos, tmp_path / "second", preset="tiny radius", init=first, steps=4, seed=1) == second


def test_a_run_may_start_from_a_larger_network(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    larger = {**TINY, **TINY_RADIUS, "widths": (6, 12), "image_blocks": 1}
    monkeypatch.setitem(PRESETS, "larger", NRKNetConfig(**larger))
    first = run(photos, tmp_path / "first", preset="larger")
    # at a rate that moves nothing, what comes out is what the start was pruned to
    monkeypatch.setitem(RECIPES, "still", dataclasses.replace(RECIPES["smoke"], rate=1e-12, ema=0.5))
    second = run(photos, tmp_path / "second", preset="tiny radius", recipe="still", init=first, steps=2)
    found, start = load_model(second), load_model(first)
    assert found.config == PRESETS["tiny radius"]
    columns = start.unet.entries[0].weight.detach().flatten(1)
    distances = torch.cdist(found.unet.entries[0].weight.detach().flatten(1), columns)
    assert float(distances.amin(1).max()) < 1e-6 and len(set(distances.argmin(1).tolist())) == 4


def test_a_finished_run_returns_at_once_and_changes_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run(photos, tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    monkeypatch.setattr(RenderedCrops, "make_pool", lambda *_: pytest.fail("nothing is to be rendered"))
    assert run(photos, tmp_path, on_step=lambda _: pytest.fail("no step is left")) == folder
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_run_killed_in_its_last_validation_validates_and_exports(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(trainer, "validate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(photos, tmp_path)
    assert not (tmp_path / "model").exists()
    load_model(run(photos, tmp_path, on_step=lambda _: pytest.fail("no step is left")), device="cpu")


def test_a_larger_budget_goes_on_and_keeps_the_best(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path, steps=2)
    best = checkpoint(tmp_path)["run"]["best"]
    steps: list[float] = []
    run(photos, tmp_path, steps=4, on_step=lambda record: steps.append(record["step"]))
    assert steps == [3, 4]
    scores = [line["validation"]["gain_db"] for line in log_lines(tmp_path) if "validation" in line]
    assert checkpoint(tmp_path)["run"]["best"] == max(scores) >= best
    kept = json.loads((tmp_path / "model" / "training.json").read_text())
    assert kept["validation"]["gain_db"] == max(scores)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"preset": "tiny radius"}, "another network; choose"),
        ({"seed": 1}, "another seed; choose"),
        ({"recipe": "default"}, "another recipe; choose"),
        ({"batch": 4}, "another recipe; choose"),
        ({"preset": "tiny radius", "seed": 1}, "another network, seed; choose"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    photos: Path, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    run(photos, tmp_path, steps=1)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(ValueError, match=f"{named} an empty --out folder") as caught:
        run(photos, tmp_path, **change)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_checkpoint_on_other_photos_is_refused(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "run", steps=1)
    more = tmp_path / "more"
    shutil.copytree(photos, more)
    shutil.copy(photos / "coffee.png", more / "again.png")
    with pytest.raises(ValueError, match="another data set; choose an empty --out folder"):
        run(more, tmp_path / "run", steps=2)


def test_a_longer_budget_keeps_the_pools_of_the_run_s_beginning(photos: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPES["smoke"], pool=8)
    RECIPES["small"] = recipe
    try:
        run(photos, tmp_path, recipe="small", steps=2)
        assert checkpoint(tmp_path)["run"]["pool"] == 2
        run(photos, tmp_path, recipe="small", steps=3)
        assert checkpoint(tmp_path)["run"]["pool"] == 2 and recipe.pool_for(3) == 4
        assert json.loads((tmp_path / "run.json").read_text())["pool"] == 2
    finally:
        del RECIPES["small"]


def test_a_checkpoint_that_only_another_machine_has_is_not_passed_over(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Processes, "gather", lambda self, found: [found, "there/checkpoint.pt"])
    with pytest.raises(AgreedError, match="process 1 finds there/checkpoint.pt, and process 0, .* finds none there"):
        run(photos, tmp_path)
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": None}, "give a budget: either steps or minutes"),
        ({"steps": 2, "minutes": 2.0}, "give a budget: either steps or minutes"),
        ({"steps": 0}, "must be above 0, got 0"),
        ({"minutes": -1.0}, "must be above 0, got -1.0"),
        ({"minutes": math.nan}, "must be above 0, got nan"),
        ({"seed": -1}, "the seed must be 0 or more, got -1"),
        ({"batch": 0}, "a step takes 1 crop or more, got 0"),
        ({"recipe": "soup"}, "unknown recipe 'soup'; known: default"),
        ({"preset": "giant"}, "unknown preset 'giant'; known: paper"),
        ({"variant": "None"}, "unknown variant 'None'; known: NonAdaptive"),
        ({"device": "abacus"}, "device 'abacus' cannot be used here"),
        ({"init": "nowhere"}, "nowhere"),
        ({"init": "lite"}, "in the network to start from"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    photos: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(photos, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def spoil(monkeypatch: pytest.MonkeyPatch, calls: range) -> None:
    """Give the training steps of these numbers, from 0, a loss of NaN."""
    sound, made = learner.total_loss, itertools.count()

    def spoilt(*args: Any, **options: Any) -> tuple[Tensor, dict[str, Tensor]]:
        loss, terms = sound(*args, **options)
        return (loss * math.nan if next(made) in calls else loss), terms

    monkeypatch.setattr(learner, "total_loss", spoilt)


def crops_of(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What the steps from now on are trained on."""
    seen: list[Tensor] = []
    step = learner.Learner.train_step

    def watched(self: Any, batch: Any, progress: float) -> dict[str, float]:
        seen.append(batch.sharp.clone())
        return step(self, batch, progress)

    monkeypatch.setattr(learner.Learner, "train_step", watched)
    return seen


def test_a_step_that_is_not_finite_is_left_out_and_recorded_and_the_next_has_the_next_crops(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patched:
        expected = crops_of(patched)
        run(photos, tmp_path / "sound")
    with monkeypatch.context() as patched, caplog.at_level("WARNING"):
        seen, states = crops_of(patched), []
        spoil(patched, range(2, 4))
        run(photos, tmp_path / "run", on_step=lambda _: states.append(checkpoint_before(tmp_path / "run")))
    assert len(seen) == STEPS and all(map(torch.equal, seen, expected))
    left_out = [(line["step"], line["skipped"]) for line in log_lines(tmp_path / "run") if "skipped" in line]
    assert left_out == [(3, "the loss is nan"), (4, "the loss is nan")]
    assert caplog.messages == [f"step {step} is left out: the loss is nan" for step in (3, 4)]
    assert_equal(states[3]["model"], states[4]["model"])
    assert_equal(states[3]["optimiser"]["state"], states[4]["optimiser"]["state"])
    end = checkpoint(tmp_path / "run")
    assert end["progress"] == {"step": STEPS, "milestones": 0, "skipped": 2, "skipped_in_a_row": 0}
    assert not torch.equal(end["model"]["unet.entries.0.weight"], states[4]["model"]["unet.entries.0.weight"])


def checkpoint_before(out: Path) -> dict[str, Any]:
    return checkpoint(out) if (out / "checkpoint.pt").exists() else {}


@pytest.mark.parametrize("killed", [False, True])
def test_steps_in_a_row_that_are_not_finite_end_the_run_killed_meanwhile_or_not(
    killed: bool, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--data", photos, "--out", tmp_path, "--preset", "tiny", "--recipe", "smoke"]
    with monkeypatch.context() as patched:
        spoil(patched, range(3, 100))
        if killed:  # while step 8 is saved, whose crops the next session has again
            with pytest.raises(KeyboardInterrupt):
                run(photos, tmp_path, steps=30, on_step=stop_at(8))
            assert checkpoint(tmp_path)["progress"]["skipped_in_a_row"] == 4
            spoil(patched, range(100))
        assert cli.main([*map(str, arguments), "--device", "cpu", "--steps", "30"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "nrknet: 10 steps in a row were left out, at step 13 because the loss is nan; the weights are" in error
    assert "checkpoint is kept" in error
    state = checkpoint(tmp_path)
    assert state["progress"]["step"] == 12 and state["progress"]["skipped_in_a_row"] == 9
    assert all(bool(v.isfinite().all()) for v in state["model"].values())
    assert [line["step"] for line in log_lines(tmp_path) if "skipped" in line] == list(range(4, 14))


# ---------------------------------------------------------------------------------------------------------- checkpoints


def test_no_more_steps_than_told_lie_between_two_checkpoints(photos: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPES["smoke"], save_every=math.inf)
    RECIPES["patient"] = recipe
    unsaved = []

    def on_step(record: dict[str, float]) -> None:
        done = checkpoint_before(tmp_path).get("progress", {"step": 0})["step"]
        unsaved.append(record["step"] - done)

    try:
        run(photos, tmp_path, recipe="patient", steps=8, save_steps=3, on_step=on_step)
        assert unsaved == [1, 2, 3, 1, 2, 3, 1, 2]
        run(photos, tmp_path, recipe="patient", steps=13, save_steps=3, on_step=on_step)
        assert unsaved[8:] == [1, 2, 3, 1, 2]
    finally:
        del RECIPES["patient"]


def test_pre_fitting_is_done_once_although_the_first_step_is_killed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(photos, tmp_path / "whole", preset="tiny radius")
    with monkeypatch.context() as patched:
        patched.setattr(learner.Learner, "train_step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(photos, tmp_path / "parts", preset="tiny radius")
    monkeypatch.setattr(learner, "prefit_table", lambda *_, **__: pytest.fail("it is done already"))
    run(photos, tmp_path / "parts", preset="tiny radius")
    assert_equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one_and_its_records_do_too(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(photos, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(photos, tmp_path / "parts", on_step=stop_at(5))
    damage(tmp_path / "parts" / "checkpoint.pt")
    steps: list[float] = []
    run(photos, tmp_path / "parts", on_step=lambda record: steps.append(record["step"]))
    assert steps == [4, 5, 6] and any("checkpoint.pt is damaged" in text for text in caplog.messages)
    assert_equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))
    damage(tmp_path / "parts" / "checkpoint.pt")  # of the end, with a validation that is lost
    run(photos, tmp_path / "parts")
    assert_equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))
    places = [[(line["step"], *sorted(line)) for line in log_lines(tmp_path / name)] for name in ("whole", "parts")]
    assert places[0] == places[1]


def test_the_exported_network_is_the_one_that_was_best_when_the_checkpoint_was_written(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exported() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}

    run(photos, tmp_path, steps=2)
    before, sound, save, saved = exported(), trainer.validate, trainer.RunFolder.save, itertools.count()

    def killed(self: Any, *arguments: Any) -> None:
        if next(saved) == 1:  # 0: after step 3; 1: after its validation
            raise KeyboardInterrupt
        save(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "validate", lambda *given: {**sound(*given), "gain_db": 99.0})
        patched.setattr(trainer.RunFolder, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            run(photos, tmp_path, steps=3)
    assert exported() != before and checkpoint(tmp_path)["progress"]["step"] == 3
    seen: list[dict[str, bytes]] = []
    run(photos, tmp_path, steps=4, on_step=lambda _: seen.append(exported()))
    assert seen == [before]
    kept = json.loads((tmp_path / "model" / "training.json").read_text())["validation"]["gain_db"]
    assert kept == checkpoint(tmp_path)["run"]["best"] < 99


def test_a_checkpoint_of_the_version_before_goes_on_to_the_same_end(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "whole", preset="tiny radius")
    with pytest.raises(KeyboardInterrupt):
        run(photos, tmp_path / "parts", preset="tiny radius", on_step=stop_at(4))
    state = checkpoint(tmp_path / "parts")
    del state["exported"]
    state["progress"] = {name: state["progress"][name] for name in ("step", "milestones")}
    (tmp_path / "parts" / "checkpoint-previous.pt").unlink()
    torch.save(state, tmp_path / "parts" / "checkpoint.pt")
    run(photos, tmp_path / "parts", preset="tiny radius")
    assert_equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))


def test_the_best_network_of_the_version_before_stays_the_best(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path, steps=2)
    state = checkpoint(tmp_path)
    del state["exported"]
    state["run"]["best"] = 99.0
    torch.save(state, tmp_path / "checkpoint.pt")
    kept = (tmp_path / "model" / "model.safetensors").read_bytes()
    run(photos, tmp_path, steps=3)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == kept


# ------------------------------------------------------------------------------------------------------------ full disk


LIMITED = """
import resource, sys
limit, place = int(sys.argv[1]), sys.argv[2]
from nrknet import checkpoint, folder, replacement, tracking
import nrknet.cli as cli

def limited(before):
    def write(*arguments, **options):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        return before(*arguments, **options)
    return write

if place == "checkpoint":
    checkpoint.replace_file = limited(checkpoint.replace_file)
elif place == "model":
    folder.replace_file = limited(folder.replace_file)
else:
    tracking.Tracker.steps = limited(tracking.Tracker.steps)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("place", "limit"), [("checkpoint", 20_000), ("model", 5_000), ("log", 100), ("log", 300)])
def test_a_disk_that_takes_no_more_ends_the_run_in_one_sentence_and_the_same_command_goes_on(
    place: str, limit: int, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(photos, out, preset="tiny radius", on_step=stop_at(3))
    arguments = ["train", "--data", photos, "--out", out, "--preset", "tiny radius", "--recipe", "smoke"]
    command = child(*arguments, "--device", "cpu", "--steps", str(STEPS))
    code = LIMITED.replace("sys.argv[1]", repr(str(limit))).replace("sys.argv[2]", repr(place))
    command[2] = command[2].replace("import nrknet.cli as cli; ", f"exec({code!r}); ")
    done = subprocess.run(command, env=CHILD, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1, done.stderr
    said = [line for line in done.stderr.splitlines() if "cannot be written" in line]
    assert len(said) == 1 and said[0] == done.stderr.splitlines()[-1]
    assert said[0].startswith(f"nrknet: {out}") and "Traceback" not in done.stderr
    step = read_checkpoint(out)["progress"]["step"]  # type: ignore[index]
    advice = "file too large; training has stopped, and once that is mended the same command goes on from the "
    assert said[0].endswith(f"{advice}checkpoint of step {step}")
    assert not list(out.rglob("*.part"))
    for name in ("run", "whole"):
        run(photos, tmp_path / name, preset="tiny radius")
    assert_equal(checkpoint(tmp_path / "whole"), checkpoint(out))
    assert (out / "model/model.safetensors").read_bytes() == (tmp_path / "whole/model/model.safetensors").read_bytes()
    recorded = [[(line["step"], sorted(line)) for line in log_lines(tmp_path / name)] for name in ("run", "whole")]
    assert recorded[0] == recorded[1]


# -------------------------------------------------------------------------------------------------------------- signals


def child(*arguments: str | Path) -> list[str]:
    """A process that trains the tiny network from the command line, on one thread, listening to signals."""
    code = (
        "import signal, sys, torch; torch.set_num_threads(1); "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from nrknet.config import PRESETS, NRKNetConfig; "
        f"PRESETS['tiny radius'] = NRKNetConfig(**{TINY | TINY_RADIUS!r}); "
        "import nrknet.cli as cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", code, *map(str, arguments)]


def start(photos: Path, out: Path, steps: int) -> "subprocess.Popen[str]":
    arguments = ["train", "--data", photos, "--out", out, "--preset", "tiny radius", "--recipe", "smoke"]
    return subprocess.Popen(
        child(*arguments, "--device", "cpu", "--steps", str(steps)), env=CHILD, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_checkpoint(out: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 240
    while not (out / "checkpoint.pt").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)


def test_a_killed_process_leaves_a_checkpoint_from_which_the_run_ends_as_if_nothing_had_been(
    photos: Path, tmp_path: Path
) -> None:
    steps = 60
    with start(photos, tmp_path / "parts", steps) as process:
        wait_for_checkpoint(tmp_path / "parts", process)
        process.kill()
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert checkpoint(tmp_path / "parts")["progress"]["step"] < steps  # 0 when pre-fitting was just done
    for name in ("parts", "whole"):
        run(photos, tmp_path / name, preset="tiny radius", steps=steps)
    assert_equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))
    recorded = [line["step"] for line in log_lines(tmp_path / "parts")]
    assert recorded == [line["step"] for line in log_lines(tmp_path / "whole")] == [1, 50, 60, 60]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_run_that_is_told_to_stop_saves_a_checkpoint_and_says_so(
    photos: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with start(photos, tmp_path, 100_000) as process:
        wait_for_checkpoint(tmp_path, process)
        process.send_signal(number)
        out, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    step = checkpoint(tmp_path)["progress"]["step"]
    last = f"nrknet: stopped after step {step}; the same command goes on from {tmp_path / 'checkpoint.pt'}"
    assert error.splitlines()[-1] == last and "Traceback" not in error and out == ""


def test_a_stop_between_two_steps_saves_the_step_that_was_done(photos: Path, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def interrupt(record: dict[str, float]) -> None:
        if record["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingStopped, match="stopped after step 3"):
        run(photos, tmp_path / "parts", on_step=interrupt)
    assert checkpoint(tmp_path / "parts")["progress"]["step"] == 3
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    for name in ("parts", "whole"):
        run(photos, tmp_path / name)
    assert_equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))


def test_a_run_that_is_stopped_closes_its_records_whose_last_lines_may_be_in_memory(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    monkeypatch.setattr("nrknet.run_folder.Tracker.close", lambda tracker: closed.append(tracker))

    def interrupt(record: dict[str, float]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingStopped):
        run(photos, tmp_path, on_step=interrupt)
    assert len(closed) == 1


# ------------------------------------------------------------------------------------------------------- pairs, patches


@pytest.fixture(scope="module")
def pairs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for part, blur in (("source", 2), ("target", 0)):
        (folder / part).mkdir()
        for photo in sorted(photos.iterdir()):
            with Image.open(photo) as image:
                image.filter(ImageFilter.GaussianBlur(blur)).save(folder / part / photo.name)
    return folder


def test_pairs_train_a_network_without_the_radius_s_part_of_the_loss_and_resume_exactly(
    pairs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        run(pairs, tmp_path / "whole", preset="tiny radius")
    assert "no pre-fitting of the radius table" in caplog.text
    assert all("radius" not in line for line in log_lines(tmp_path / "whole"))
    scores = log_lines(tmp_path / "whole")[-1]["validation"]
    assert {"psnr", "gain_db"} <= scores.keys() and not {"radius_error", "radius_correlation"} & scores.keys()
    with pytest.raises(KeyboardInterrupt):
        run(pairs, tmp_path / "parts", preset="tiny radius", on_step=stop_at(3))
    run(pairs, tmp_path / "parts", preset="tiny radius")
    assert_equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))
    facts = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert facts["data"] == {"dataset": "pairs", "pairs": 2, "validation_pairs": 1} and facts["prefit_steps"] == 0


def test_windows_grow_on_the_way_and_validation_stays_at_full_size(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = dataclasses.replace(RECIPES["smoke"], patches=((0.0, 32), (0.5, 64)))
    monkeypatch.setitem(RECIPES, "growing", recipe)
    sides, validated = [], []
    step, score = learner.Learner.train_step, trainer.validate
    monkeypatch.setattr(
        learner.Learner, "train_step", lambda *args: sides.append(args[1].sharp.shape[-1]) or step(*args)
    )
    monkeypatch.setattr(
        trainer, "validate", lambda *args: validated.append(args[1].sharp.shape[-1]) or score(*args)
    )
    run(photos, tmp_path / "whole", recipe="growing")
    assert sides == [32, 32, 32, 64, 64, 64] and validated == [64]
    with pytest.raises(KeyboardInterrupt):
        run(photos, tmp_path / "parts", recipe="growing", on_step=stop_at(4))
    run(photos, tmp_path / "parts", recipe="growing")
    assert_equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))


def test_windows_that_do_not_fit_the_network_are_refused_before_anything_is_written(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = dataclasses.replace(RECIPES["smoke"], patches=((0.0, 40),))
    monkeypatch.setitem(RECIPES, "odd", recipe)
    with pytest.raises(ValueError, match="crops of 40 pixels do not fit this network"):
        run(photos, tmp_path / "run", recipe="odd", preset="lite")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name not in ("FullRKR", "FullLoss", "J20")])
def test_every_variant_of_our_network_is_trained(
    variant: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = dataclasses.replace(narrow(PRESETS["lite"]), stem=1)  # so that four scales fit into small crops
    monkeypatch.setitem(PRESETS, "lite", small)
    recipe = dataclasses.replace(RECIPES["smoke"], prefit_steps=0, train_atoms=True)
    monkeypatch.setitem(RECIPES, "smoke", recipe)
    model = load_model(run(photos, tmp_path, preset="lite", variant=variant, steps=2), device="cpu")
    assert model.config == vary(small, variant)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["names"] == {"preset": "lite", "variant": variant, "recipe": "smoke"}
    started = {name: value.clone() for name, value in seeded_start(model.config).items()}
    moved = {name for name, value in model.atoms.state_dict().items() if not torch.equal(value, started[name])}
    assert moved == set(model.atoms.state_dict())  # independent atoms are trained, every one


def seeded_start(config: NRKNetConfig) -> dict[str, torch.Tensor]:
    """The atoms that a run of seed 0 begins with."""
    torch.manual_seed(0)
    return NRKNet(config).atoms.state_dict()


def test_every_choice_is_on_record(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path, preset="tiny radius", seed=7, steps=2)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["names"] == {"preset": "tiny radius", "variant": None, "recipe": "smoke"}
    assert facts["data"] == {"dataset": "sharp", "photos": 2, "validation_photos": 1, "curated": False}
    assert (facts["seed"], facts["device"], facts["processes"]) == (7, "cpu", 1)
    assert facts["budget"] == {"steps": 2, "minutes": None} and (facts["pool"], facts["prefit_steps"]) == (2, 1)
    assert NRKNetConfig.from_dict(facts["config"]) == PRESETS["tiny radius"]
    assert facts["recipe"]["batch"] == RECIPES["smoke"].batch and facts["versions"]["torch"] == torch.__version__


# --------------------------------------------------------------------------------------------------------------- prefit


@pytest.mark.parametrize("count", [2, None])
def test_prefitting_changes_atoms_basis_and_table_and_leaves_radius_zero_the_identity(count: int | None) -> None:
    torch.manual_seed(0)
    model = NRKNet(NRKNetConfig(**TINY, **{**TINY_RADIUS, "num_coordinates": count}))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    source, cpu = torch.from_numpy(data.coffee()[:100, :100].copy()).permute(2, 0, 1), torch.device("cpu")
    options = StreamOptions(size=32, batch=2, pool=4, reuse=1, seed=0, device=cpu)
    crops = RenderedCrops([source], options, margin=4, defocus=DefocusConfig())
    prefit_table(model, crops, steps=6, weights=LossConfig())  # the atoms move from the second of their two on
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"atoms.logits", "head.table", *(("head.basis",) if count else ())}
    expected = coefficient_basis(model.atoms.kernels(), count) if count else torch.eye(3)
    assert torch.equal(model.head.basis, expected)
    for scale in (1, 2, 3):
        coefficients = model.head.lookup(torch.zeros(1, 1, 5, 6), scale)
        assert torch.equal(coefficients[:, 0], torch.ones(1, 5, 6)) and not coefficients[:, 1:].any()
        assert model.head.lookup(torch.full((1, 1, 5, 6), 2.0), scale)[:, 1:].any()
