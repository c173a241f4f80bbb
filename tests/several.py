"""Training of a tiny network in one process or in several, and what each process saw of it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nrknet import processes
from nrknet.config import PRESETS, NRKNetConfig
from nrknet.learner import Learner

TINY = NRKNetConfig(
    num_atoms=3, widths=(4, 8), num_blocks=(1, 1), coefficients="unit_sum", head="radius", radii=(0, 2, 5),
    num_coordinates=2, memory="none",
)  # fmt: skip
"""A table to pre-fit, and batch normalisation."""
BATCH, STEPS = 4, 8  # in pools that serve two steps

SCRIPT = """
import os, sys, torch
torch.set_num_threads(1)
import several
from nrknet import cli

several.watch(os.environ["RESULTS"] + "/" + os.environ["RANK"] + ".pt", fail_at=int(os.environ.get("FAIL_AT", -1)))
sys.exit(cli.main(sys.argv[1:]))
"""


def watch(file: str, *, fail_at: int = -1) -> None:
    """Have what this process trains on and ends with written to a file; or fail at a step, in process 1."""
    PRESETS["tiny"] = TINY
    seen: list[Any] = []
    step, check = Learner.train_step, Learner.check_agreement

    def train_step(self: Learner, batch: Any, progress: float) -> dict[str, float]:
        if self.step == fail_at and self.processes.index == 1:
            raise RuntimeError("process 1 has failed")
        record = step(self, batch, progress)
        seen.append({"step": self.step, "loss": record["loss"], "gain_db": record["gain_db"], "sharp": batch.sharp})
        return record

    def check_agreement(self: Learner) -> None:
        state = {"model": self.model.state_dict(), "averaged": self.averaged.state_dict()}
        place = {"count": self.processes.count, "index": self.processes.index}
        torch.save({**state, **place, "steps": seen}, file)
        check(self)

    Learner.train_step, Learner.check_agreement = train_step, check_agreement  # type: ignore[method-assign]


def save_photos(folder: Path) -> Path:
    """Three photos to train on."""
    folder.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((90, 90), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def options(photos: Path, out: Path) -> list[str]:
    """The command's arguments."""
    how = ["--preset", "tiny", "--recipe", "smoke", "--batch", str(BATCH), "--steps", str(STEPS), "--device", "cpu"]
    return ["train", "--data", str(photos), "--out", str(out), *how]


def torchrun(launch: list[str], script: Path, arguments: list[str], **environment: str) -> "subprocess.Popen[str]":
    """Processes that torchrun starts, one thread each."""
    command = [sys.executable, "-m", "torch.distributed.run", *launch, str(script), *arguments]
    root = Path(processes.__file__).parents[1]
    environment |= {"PYTHONPATH": f"{root}:{root / 'tests'}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
