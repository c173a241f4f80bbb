"""The scripts that measure still start: each says how it is used."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data, filters

from benchmarks import tradeoff
from benchmarks.training_speed import measure
from benchmarks.turns import in_turn, surroundings
from nrknet.config import NRKNetConfig

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SHARED = "__init__", "released_reference", "turns"
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("*.py") if path.stem not in SHARED)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_how_it_is_used(name: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    done = subprocess.run(command, cwd=BENCHMARKS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert name in done.stdout and "--" in done.stdout


@pytest.mark.parametrize("head", ["gated", "radius"])
def test_training_speed_says_the_same_of_both_ways(head: str) -> None:
    radius = {"radii": (0, 2, 5), "memory_channels": 4, "image_blocks": 1} if head == "radius" else {}
    config = NRKNetConfig(num_atoms=3, widths=(4, 8), num_blocks=(1, 1), head=head, **radius)  # type: ignore[arg-type]
    plain, ours = measure(config, side=32, steps=1, batch=2, plain_batch=1, device=torch.device("cpu"))
    assert plain.keys() == ours.keys()
    assert [(row["name"], row["batch"], row["side"]) for row in (plain, ours)] == [("plain", 1, 32), ("nrknet", 2, 32)]
    for row in (plain, ours):
        assert row["images_per_second"] > 0
        assert row["images_per_second"] * row["seconds_per_step"] == pytest.approx(row["batch"])
        assert row["times_faster"] == pytest.approx(row["images_per_second"] / plain["images_per_second"])


def test_training_speed_wants_crops_that_fit_the_network() -> None:
    with pytest.raises(ValueError, match="20 pixels do not fit"):
        measure(NRKNetConfig(), side=20, steps=1, batch=1, plain_batch=1, device=torch.device("cpu"))


def test_the_tradeoff_tells_gain_and_time_of_every_way(tmp_path: Path) -> None:
    sharp = data.coffee()[100:200, 200:320]
    blurred = np.rint(255 * filters.gaussian(sharp, 1.2, channel_axis=2)).astype(np.uint8)
    for name, photo in (("source", blurred), ("target", sharp)):
        (tmp_path / name).mkdir()
        Image.fromarray(photo).save(tmp_path / name / "1.png")
    rows = tradeoff.measure(tmp_path, model="lite", width=48, height=40, repeats=1)
    assert [row["name"] for row in rows] == [
        "as trained, exact", "as trained", "series cut after power 2", "series cut after power 1",
    ]  # fmt: skip
    assert rows[0]["gain_db"] == pytest.approx(rows[1]["gain_db"], abs=0.01)
    assert 0 < rows[1]["gain_db"] != rows[3]["gain_db"] > 0 and all(row["milliseconds"] > 0 for row in rows)


def test_ways_take_turns_and_the_first_time_is_kept_apart() -> None:
    order: list[str] = []

    def way(name: str) -> int:
        order.append(name)
        return len(order)

    done = in_turn({"a": lambda: way("a"), "b": lambda: way("b")}, 2)
    assert order == ["a", "b"] * 3
    assert {name: timed.output for name, timed in done.items()} == {"a": 5, "b": 6}  # the last ones
    for timed in done.values():
        assert timed.first > 0 and len(timed.seconds) == 2 and min(timed.seconds) <= timed.median <= max(timed.seconds)
    assert surroundings()["threads"] == torch.get_num_threads()
