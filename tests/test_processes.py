"""Processes that torchrun starts train one network together, and none waits for ever for one that failed."""

import builtins
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import one_line
from PIL import Image

from nrknet import processes
from nrknet.processes import Processes, announced_index, join_processes

pytest.importorskip("accelerate", reason="accelerate is not installed")

SCRIPT = """
import os, sys, torch
torch.set_num_threads(1)
from nrknet import cli
from nrknet.config import PRESETS, NRKNetConfig
from nrknet.learner import Learner

PRESETS["tiny"] = NRKNetConfig(num_atoms=3, widths=(4, 8), num_blocks=(1, 1))
folder, rank = os.environ["RESULTS"], int(os.environ["RANK"])
seen, step, check = [], Learner.train_step, Learner.check_agreement

def train_step(self, batch, progress):
    if self.step == int(os.environ.get("FAIL_AT", -1)) and rank == 1:
        raise RuntimeError("process 1 has failed")
    seen.append(batch.sharp)
    return step(self, batch, progress)

def check_agreement(self):
    state = {"model": self.model.state_dict(), "averaged": self.averaged.state_dict(), "crops": torch.stack(seen)}
    torch.save(state, f"{folder}/{rank}.pt")
    check(self)

Learner.train_step, Learner.check_agreement = train_step, check_agreement
sys.exit(cli.main(sys.argv[1:]))
"""


def torchrun(tmp_path: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Train the tiny network for four steps, in two processes on the CPU."""
    photos = tmp_path / "photos"
    photos.mkdir(exist_ok=True)
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((90, 90), Image.Resampling.BICUBIC).save(photos / f"{i}.png")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    train = ["train", "--data", str(photos), "--out", str(tmp_path / "run"), "--device", "cpu"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    root = str(Path(processes.__file__).parents[1])
    environment |= {"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "RESULTS": str(tmp_path)}
    options = ["--preset", "tiny", "--recipe", "smoke", "--steps", "4"]
    return subprocess.run(
        [*command, *train, *options], env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two processes that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    done = torchrun(folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the trained network is in") == 1, "the main process alone speaks"
    return folder


def weights(folder: Path) -> list[dict[str, Any]]:
    """What each process ended with."""
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_two_processes_train_one_network_on_different_crops(whole: Path) -> None:
    facts = json.loads((whole / "run" / "run.json").read_text())
    assert facts["processes"] == 2 and facts["crops"]["per_step"] == 4
    checkpoint = torch.load(whole / "run" / "checkpoint.pt", weights_only=True)
    assert checkpoint["identity"]["number of processes"] == "2" and checkpoint["progress"]["step"] == 4
    first, second = weights(whole)
    for part in ("model", "averaged"):
        assert_equal(first[part], second[part])
    assert any(name.endswith("running_mean") for name in first["model"]), "statistics are shared too"
    assert_equal(first["model"], checkpoint["model"])
    crops = [*first["crops"].flatten(0, 1), *second["crops"].flatten(0, 1)]
    distinct = {tuple(sorted(crop.flatten().tolist()[:50])) for crop in crops}
    assert len(distinct) > len(crops) // 2 and not torch.equal(first["crops"], second["crops"])


def test_a_process_that_fails_ends_the_others_and_the_run_resumes_as_if_it_had_not(whole: Path, tmp_path: Path) -> None:
    done = torchrun(tmp_path, FAIL_AT="2")
    assert done.returncode != 0 and "process 1 has failed" in done.stderr
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["progress"]["step"] == 2
    done = torchrun(tmp_path)
    assert done.returncode == 0, done.stderr
    for expected, found in zip(weights(whole), weights(tmp_path), strict=True):
        for part in ("model", "averaged"):
            assert_equal(expected[part], found[part])


def test_without_accelerate_several_processes_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def hidden(name: str, *rest: Any) -> Any:
        if name.startswith("accelerate"):
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(builtins, "__import__", hidden)
    with pytest.raises(ValueError, match=r"2 processes needs accelerate: pip install 'nrknet\[train\]'") as caught:
        join_processes("cpu")
    one_line(caught.value)


def test_a_rank_is_nobody_s_where_no_processes_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    for count in (None, "1"):
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        if count is not None:
            monkeypatch.setenv("WORLD_SIZE", count)
        assert announced_index() == join_processes("cpu").index == 0
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert announced_index() == 3


def test_one_process_needs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    alone, model = join_processes("cpu"), torch.nn.BatchNorm2d(3)
    assert type(alone) is Processes and alone.is_main and (alone.index, alone.count) == (0, 1)
    assert announced_index() == 0 and alone.wrap(model) is model and alone.agree(1.5, True) == (1.5, True)
    before = alone.fingerprints(model)
    model.running_mean += 1
    assert len(before) == 1 and alone.fingerprints(model) != before
