"""Training runs, resumes as if never interrupted, and refuses what it cannot do."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor

from nrknet import train as train_module
from nrknet.basis import coefficient_basis
from nrknet.config import PRESETS, NRKNetConfig
from nrknet.data import Batch, RenderedCrops
from nrknet.defocus import DefocusConfig
from nrknet.losses import LossConfig
from nrknet.model import NRKNet
from nrknet.train import prefit_table, psnr, train, validate
from nrknet.weights import load_model

STEPS = 6
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
    assert checkpoint(tmp_path / "run")["position"]["step"] == STEPS
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


def test_a_finished_run_returns_at_once_and_changes_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run(photos, tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    monkeypatch.setattr(RenderedCrops, "render_pool", lambda *_: pytest.fail("nothing is to be rendered"))
    assert run(photos, tmp_path, on_step=lambda _: pytest.fail("no step is left")) == folder
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_run_killed_in_its_last_validation_validates_and_exports(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(train_module, "validate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(photos, tmp_path)
    assert not (tmp_path / "model").exists()
    load_model(run(photos, tmp_path, on_step=lambda _: pytest.fail("no step is left")), device="cpu")


def test_a_larger_budget_goes_on_and_keeps_the_best(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path, steps=2)
    best = checkpoint(tmp_path)["position"]["best"]
    steps: list[float] = []
    run(photos, tmp_path, steps=4, on_step=lambda record: steps.append(record["step"]))
    assert steps == [3, 4]
    scores = [line["validation"]["gain_db"] for line in log_lines(tmp_path)]
    assert checkpoint(tmp_path)["position"]["best"] == max(scores) >= best
    kept = json.loads((tmp_path / "model" / "training.json").read_text())
    assert kept["validation"]["gain_db"] == max(scores)


@pytest.mark.parametrize("change", [{"preset": "tiny radius"}, {"seed": 1}, {"recipe": "default"}])
def test_a_checkpoint_of_another_network_seed_or_recipe_is_refused(
    photos: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    run(photos, tmp_path, steps=1)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(ValueError, match="another network, recipe or seed; choose an empty --out folder") as caught:
        run(photos, tmp_path, **change)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": None}, "give a budget: either steps or minutes"),
        ({"steps": 2, "minutes": 2.0}, "give a budget: either steps or minutes"),
        ({"steps": 0}, "must be above 0, got 0"),
        ({"minutes": -1.0}, "must be above 0, got -1.0"),
        ({"minutes": math.nan}, "must be above 0, got nan"),
        ({"recipe": "soup"}, "unknown recipe 'soup'; known: default"),
        ({"preset": "giant"}, "unknown preset 'giant'; known: paper"),
        ({"variant": "None"}, "unknown variant 'None'; known: NonAdaptive"),
        ({"device": "abacus"}, "device 'abacus' cannot be used here"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    photos: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(photos, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_or_gradient_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    sound, calls = train_module.total_loss, []

    def spoilt(*args: Any, **options: Any) -> tuple[Tensor, dict[str, Tensor]]:
        loss, terms = sound(*args, **options)
        calls.append(1)
        if len(calls) < 4:
            return loss, terms
        if where == "loss":
            return loss * math.nan, terms
        loss.register_hook(lambda gradient: gradient * math.inf)
        return loss, terms

    with monkeypatch.context() as patched:
        patched.setattr(train_module, "total_loss", spoilt)
        with pytest.raises(FloatingPointError, match=f"the {where} is .* at step 3; the last checkpoint is kept"):
            run(photos, tmp_path / "run")
    state = checkpoint(tmp_path / "run")
    assert state["position"]["step"] == 3
    assert all(bool(v.isfinite().all()) for v in state["model"].values())
    run(photos, tmp_path / "whole")
    run(photos, tmp_path / "run")
    assert_equal(checkpoint(tmp_path / "run"), checkpoint(tmp_path / "whole"))


# --------------------------------------------------------------------------------------------------- prefit, validation


def flat_batch(blurred: float, sharp: float, count: int = 3) -> Batch:
    """A pool of flat uint8 crops."""
    shape = (count, 3, 32, 32)
    levels = (torch.full(shape, round(255 * value), dtype=torch.uint8) for value in (blurred, sharp))
    return Batch(*levels, torch.zeros(count, 1, 32, 32).half())


@pytest.mark.parametrize("count", [2, None])
def test_prefitting_changes_atoms_basis_and_table_and_leaves_radius_zero_the_identity(count: int | None) -> None:
    torch.manual_seed(0)
    model = NRKNet(NRKNetConfig(**TINY, **{**TINY_RADIUS, "num_coordinates": count}))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    source, cpu = torch.from_numpy(data.coffee()[:100, :100].copy()).permute(2, 0, 1), torch.device("cpu")
    crops = RenderedCrops(
        [source], size=32, margin=4, batch=2, pool=4, reuse=1, seed=0, defocus=DefocusConfig(), device=cpu
    )
    prefit_table(model, crops, steps=6, weights=LossConfig())  # the atoms move from the second of their two on
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"atoms.logits", "head.table", *(("head.basis",) if count else ())}
    expected = coefficient_basis(model.atoms.kernels(), count) if count else torch.eye(3)
    assert torch.equal(model.head.basis, expected)
    for scale in (1, 2, 3):
        coefficients = model.head.lookup(torch.zeros(1, 1, 5, 6), scale)
        assert torch.equal(coefficients[:, 0], torch.ones(1, 5, 6)) and not coefficients[:, 1:].any()
        assert model.head.lookup(torch.full((1, 1, 5, 6), 2.0), scale)[:, 1:].any()


def test_validation_of_the_identity_gains_nothing_and_leaves_the_network_as_it_was() -> None:
    model = NRKNet(NRKNetConfig(**TINY, **TINY_RADIUS)).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    scores = validate(model, flat_batch(0.5, 0.6))
    assert scores["psnr"] == pytest.approx(20, abs=0.3) and scores["gain_db"] == pytest.approx(0, abs=1e-3)
    assert model.training
    assert_equal(dict(model.state_dict()), before)


@pytest.mark.parametrize("sharp", [0.5, 0.6], ids=["all sharp", "none sharp"])
@pytest.mark.parametrize("head", [{}, TINY_RADIUS], ids=["gated", "radius"])
def test_validation_scores_are_numbers_whatever_the_crops(head: dict[str, Any], sharp: float) -> None:
    scores = validate(NRKNet(NRKNetConfig(**TINY, **head)), flat_batch(0.5, sharp))
    assert all(math.isfinite(value) for value in scores.values())
    assert ("sharp_db" in scores) == (sharp == 0.5)
    assert ("radius_error" in scores) == bool(head)


def test_validation_of_a_bgr_network_sees_bgr_and_scores_rgb() -> None:
    torch.manual_seed(0)
    rgb = NRKNet(NRKNetConfig(**TINY, shared_atoms=False))
    bgr = NRKNet(NRKNetConfig(**TINY, shared_atoms=False, channel_order="bgr"))
    bgr.load_state_dict(rgb.state_dict())
    generator = torch.Generator().manual_seed(0)
    blurred, sharp = (torch.randint(0, 256, (2, 3, 32, 32), generator=generator).byte() for _ in range(2))
    radius = torch.zeros(2, 1, 32, 32).half()
    ours = validate(bgr, Batch(blurred, sharp, radius))
    theirs = validate(rgb, Batch(blurred.flip(1), sharp.flip(1), radius))
    assert ours["psnr"] == pytest.approx(theirs["psnr"], abs=2e-4)


def test_psnr_is_taken_per_image_after_clipping() -> None:
    sharp = torch.stack([torch.ones(3, 8, 8), torch.zeros(3, 8, 8), torch.full((3, 8, 8), 0.5)])
    image = torch.stack([torch.full((3, 8, 8), 1.7), torch.full((3, 8, 8), 0.1), torch.full((3, 8, 8), 0.4)])
    assert psnr(image, sharp).tolist() == pytest.approx([100, 20, 20], abs=1e-3)
