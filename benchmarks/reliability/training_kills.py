"""Training that is killed again and again, beside the same run left alone: what is lost, and how both end.

    python -m benchmarks.reliability.training_kills [--kills 20] [--steps 240] [--save-steps 10] [--seed 0]

`nrknet train` runs on a few photos made here, a narrow `lite` on small crops. Its process is killed (SIGKILL) at random
moments, and the same command goes on: one kill of four comes while it starts or pre-fits, two after some steps, and one
while a checkpoint is being written. Compared with an undisturbed run, bit for bit: the crops and the loss of every step
that any session took, and the weights, averages and Adam's moments of the end.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.reliability import figures, kills
from nrknet.checkpoint import CHECKPOINT_FILE, DAMAGED_FILE, has_checkpoint, read_checkpoint

ROOT = Path(__file__).parents[2]
CHILD = """
import dataclasses, hashlib, json, math, os, sys, time
from nrknet import cli
from nrknet.config import PRESETS
from nrknet.learner import Learner
from nrknet.recipes import RECIPES, Recipe

PRESETS["narrow"] = dataclasses.replace(PRESETS["lite"], widths=(8, 8, 8))
RECIPES["small crops"] = Recipe(
    batch=2, size=64, margin=8, pool=24, reuse=3, prefit_steps=30, warmup=10, save_every=math.inf
)
step = Learner.train_step

def watched(self, batch, progress):
    record = step(self, batch, progress)
    crops = hashlib.sha256(batch.blurred.numpy().tobytes() + batch.sharp.numpy().tobytes()).hexdigest()
    line = json.dumps([self.step, crops, record["loss"].hex(), time.time()]) + "\\n"
    os.write(trace, line.encode())
    return record

Learner.train_step = watched
trace = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
sys.exit(cli.main(sys.argv[1:]))
"""
"""The command line, with a narrow network and a recipe of small crops; writes down each step once it is taken."""
LINE_BYTES = 120
"""Of a step, written down; about."""


@dataclass
class Run:
    """One run of `nrknet train` in its folder, and what its steps were."""

    folder: Path
    photos: Path
    steps: int
    save_steps: int
    threads: int = 1

    @property
    def out(self) -> Path:
        """The folder of checkpoints."""
        return self.folder / "run"

    @property
    def trace(self) -> list[tuple[int, str, str, float]]:
        """(step, crops, loss, time) of every step that was taken, those that were lost included."""
        path = self.folder / "trace.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [tuple(json.loads(line)) for line in lines]

    def trace_bytes(self) -> int:
        """The length of that file."""
        path = self.folder / "trace.jsonl"
        return path.stat().st_size if path.exists() else 0

    def go(self, moment: kills.Moment | None = None) -> int:
        """Start the command, and kill it at a moment; returns its exit status."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, "-c", CHILD, self.folder / "trace.jsonl", "train", "--data", self.photos, "--out", self.out,
            "--preset", "narrow", "--recipe", "small crops", "--device", "cpu", "--steps", self.steps,
            "--save-steps", self.save_steps,
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(self.threads)}
        return kills.run_until(
            [str(part) for part in command], moment, environment=environment, said=self.folder / "said.txt"
        )

    def finish(self) -> None:
        """Have the command come to its end."""
        if status := self.go():
            raise RuntimeError(f"exit status {status}: {(self.folder / 'said.txt').read_text()[-1000:]}")

    def is_writing(self) -> bool:
        """Whether a checkpoint is being written."""
        return (self.out / f"{CHECKPOINT_FILE}.part").exists()

    def saved_step(self) -> int:
        """The step of the checkpoint that the next session goes on from."""
        state = read_checkpoint(self.out)
        return 0 if state is None else state["progress"]["step"]


def save_photos(folder: Path, *, number: int = 4, side: int = 160) -> Path:
    """Photos of random textures to train on."""
    folder.mkdir(parents=True)
    for i in range(number):
        pixels = np.random.default_rng(i).integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def compare(photos: Path, folder: Path, *, num_kills: int, steps: int, save_steps: int, seed: int) -> dict[str, Any]:
    """Run both, and count.

    Args:
        photos: to train on.
        folder: for both runs; a new one.
        num_kills: of the second run; where it ends before, another one is begun.
        steps: of training.
        save_steps: between two checkpoints, at most.
        seed: of the moments.
    """
    whole = Run(folder / "whole", photos, steps, save_steps)
    begun = time.time()
    whole.finish()
    seconds, startup = time.time() - begun, whole.trace[0][3] - begun
    random_ = random.Random(seed)
    counted: dict[str, Any] = {"kills": 0, "kills while a checkpoint was written": 0, "kills before the first step": 0,
                               "most steps lost": 0, "damaged checkpoints": 0}  # fmt: skip
    runs: list[Run] = []
    while counted["kills"] < num_kills:
        runs.append(Run(folder / f"killed {len(runs)}", photos, steps, save_steps))
        _kill_often(runs[-1], counted, num_kills, startup, random_)
        runs[-1].finish()
    expected = {step: (crops, loss) for step, crops, loss, _ in whole.trace}
    taken = [(step, (crops, loss)) for run in runs for step, crops, loss, _ in run.trace]
    ends = [_end(run) for run in runs]
    return {
        **counted,
        "steps": steps,
        "documented most steps lost": save_steps,
        "runs killed": len(runs),
        "steps taken twice": len(taken) - steps * len(runs),
        "steps with other crops": sum(expected[step][0] != crops for step, (crops, _) in taken),
        "steps with another loss": sum(expected[step][1] != loss for step, (_, loss) in taken),
        "tensors that differ at the end": sum(_differing(_end(whole), end) for end in ends),
        "lines of the log that differ": sum(_log(run) != _log(whole) for run in runs),
        "seed": seed,
        "seconds without kills": round(seconds, 1),
        "seconds in all": round(time.time() - begun, 1),
    }


def _kill_often(run: Run, counted: dict[str, Any], num_kills: int, startup: float, random_: random.Random) -> None:
    """Kill a run at one moment after another, until it has ended or there were enough."""
    while counted["kills"] < num_kills:
        before, known = run.saved_step() if has_checkpoint(run.out) else 0, len(run.trace)
        if not kills.was_killed(run.go(_moment(run, counted["kills"], startup, random_))):
            return
        counted["kills"] += 1
        counted["kills while a checkpoint was written"] += run.is_writing()
        steps = [step for step, *_ in run.trace[known:]]
        counted["kills before the first step"] += not steps
        saved = run.saved_step()
        counted["damaged checkpoints"] += (run.out / DAMAGED_FILE).exists()
        counted["most steps lost"] = max(counted["most steps lost"], max(steps, default=before) - saved)


def _moment(run: Run, number: int, startup: float, random_: random.Random) -> kills.Moment:
    """When to kill: one of four kills while it starts, two after some steps, one while a checkpoint is written."""
    if number % 4 == 0:
        return kills.Moment(random_.uniform(0.1, startup))
    if number % 4 == 3:
        passed = random_.randint(0, 3)
        seen: list[int] = []

        def is_later() -> bool:  # not always the first one that is written
            if run.is_writing() and (not seen or seen[-1] != run.trace_bytes()):
                seen.append(run.trace_bytes())
            return len(seen) > passed and run.is_writing()

        return kills.Moment(600, is_later)
    enough = run.trace_bytes() + LINE_BYTES * random_.randint(1, 3 * run.save_steps)
    return kills.Moment(600, lambda: run.trace_bytes() >= enough, delay=random_.uniform(0, 0.1))


def _end(run: Run) -> dict[str, Tensor]:
    state = read_checkpoint(run.out)
    assert state is not None
    adam = state["optimiser"]["state"]
    moments = {f"{number} {name}": value for number, found in adam.items() for name, value in found.items()}
    parts = {"model": state["model"], "ema": state["ema"], "adam": moments, "best": state["exported"]["weights"]}
    return {f"{part} {name}": value for part, values in parts.items() for name, value in values.items()}


def _differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> int:
    assert one.keys() == other.keys()
    return sum(not torch.equal(value, other[name]) for name, value in one.items())


def _log(run: Run) -> list[dict[str, Any]]:
    """Lines of log.jsonl without times."""
    lines = [json.loads(line) for line in (run.out / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "crops_per_s")} for line in lines]


def main() -> None:
    """Run it, and put the figures with the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=240, help="of training (default: %(default)s)")
    parser.add_argument("--save-steps", type=int, default=10, help="between checkpoints (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=figures.DEFAULT, help="the file of figures (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = save_photos(Path(folder) / "photos")
        found = compare(
            photos, Path(folder), num_kills=args.kills, steps=args.steps, save_steps=args.save_steps, seed=args.seed
        )
    print(json.dumps(found, indent=1))
    figures.record("training_kills", found, args.json)


if __name__ == "__main__":
    main()
