"""What a network, a recipe or an ablation is worth: each trained from nothing with the same budget.

    python -m benchmarks.equal_budget SHARP_PHOTOS [--minutes 10 | --steps N] [--seeds 0]
                                      [--runs paper:paper paper:default lite:default]
                                      [--widths 32 48 96] [--curator lite] [--json FILE]

A run is PRESET:RECIPE or PRESET+VARIANT:RECIPE, its U-Net narrowed to --widths. All have the same photos, crops and
seeds, and are validated on the same rendered crops of held-out photos, one after the other on this machine's CPU.
With --minutes, a run that pre-fits pays for that in its minutes; with --steps, pre-fitting comes before them.
"""

import argparse
import json
import logging
import platform
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nrknet._version import __version__
from nrknet.config import named_config
from nrknet.inference import Deblurrer
from nrknet.processes import join_processes
from nrknet.recipes import RECIPES, named_recipe
from nrknet.sources import SHARP, Source, open_source
from nrknet.tracking import LOG_FILE
from nrknet.train import Trainer

VALIDATE_EVERY = 120.0  # seconds


def train_one(
    run: str, source: Source, *, widths: tuple[int, ...], steps: int | None, minutes: float | None, seed: int
) -> dict[str, Any]:
    """Train one run and return its curve of validations."""
    network, way = run.split(":")
    preset, _, variant = network.partition("+")
    config = replace(named_config(preset, variant=variant or None), widths=widths)
    recipe = replace(named_recipe(way, variant=variant or None), validate_every=VALIDATE_EVERY, save_every=1e9)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, recipe, source, Path(folder), join_processes("cpu"), seed)
        prefit_seconds = prefit(trainer, steps)
        if minutes is not None:
            minutes -= prefit_seconds / 60
            if minutes <= 0:
                raise SystemExit(f"{run}: pre-fitting took {prefit_seconds:.0f} s, which is all of the budget")
        trainer.run(steps=steps, minutes=minutes)
        lines = [json.loads(line) for line in (Path(folder) / LOG_FILE).read_text("utf-8").splitlines()]
    curve = [{"step": x["step"], "seconds": x["seconds"], **x["validation"]} for x in lines if "validation" in x]
    return {
        "run": run,
        "seed": seed,
        "parameters": sum(p.numel() for p in trainer.learner.model.parameters()),
        "prefit_seconds": round(prefit_seconds),
        "steps": trainer.step,
        "crops": trainer.step * recipe.batch,
        "curve": curve,
    }


def prefit(trainer: Trainer, steps: int | None) -> float:
    """Pre-fit now, where the trainer would at its first step; returns the seconds it took."""
    recipe, started = trainer.recipe, time.monotonic()
    trainer.pool = recipe.pool_for(steps)
    if trainer.learner.prefits:
        trainer.learner.prefit(trainer.crops, recipe.prefit_for(steps))
        trainer.learner.prefits = False
    return time.monotonic() - started


def commit() -> str | None:
    """The short name of the commit that is checked out; None outside a repository."""
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float)
    budget.add_argument("--steps", type=int)
    parser.add_argument("--runs", nargs="+", default=["paper:paper", "paper:default", "lite:default"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--widths", nargs="+", type=int, default=[32, 48, 96])
    parser.add_argument("--curator", default="lite")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    minutes = 10.0 if args.minutes is None and args.steps is None else args.minutes
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    source = open_source(args.photos, SHARP, RECIPES["default"], curator=Deblurrer(args.curator, device="cpu"))
    found: dict[str, Any] = {
        "budget": {"minutes": minutes, "steps": args.steps}, "widths": args.widths, "data": source.summary(),
        "curator": args.curator, "device": f"cpu, {torch.get_num_threads()} threads", "machine": platform.machine(),
        "versions": {"nrknet": __version__, "torch": torch.__version__}, "commit": commit(), "runs": [],
    }  # fmt: skip
    for seed in args.seeds:
        for run in args.runs:
            done = train_one(run, source, widths=tuple(args.widths), steps=args.steps, minutes=minutes, seed=seed)
            print(json.dumps(done), flush=True)
            found["runs"].append(done)
            if args.json:  # after each: a long series that is stopped has lost nothing
                args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
