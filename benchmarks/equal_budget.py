"""What our network and our recipe are worth beside the paper's, trained from nothing for the same minutes.

    python -m benchmarks.equal_budget SHARP_PHOTOS [--minutes 10] [--runs paper:paper paper:default lite:default]
                                      [--widths 32 48 96] [--curator lite] [--json FILE]

Each run is PRESET:RECIPE, its U-Net narrowed to the same --widths, one after the other on this machine's CPU. All have
the same photos, crops and seed, and are validated on the same rendered crops of held-out photos. A run without
pre-fitting has its minutes for steps; one with it pays for that in its minutes too.
"""

import argparse
import json
import logging
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
from nrknet.recipes import RECIPES
from nrknet.sources import SHARP, Source, open_source
from nrknet.tracking import LOG_FILE
from nrknet.train import Trainer

VALIDATE_EVERY = 120.0  # seconds


def train_one(run: str, source: Source, widths: tuple[int, ...], minutes: float, seed: int) -> dict[str, Any]:
    """Train one PRESET:RECIPE and return its curve of validations."""
    preset, name = run.split(":")
    config = replace(named_config(preset), widths=widths)
    recipe = replace(RECIPES[name], validate_every=VALIDATE_EVERY, save_every=1e9)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        trainer = Trainer(config, recipe, source, Path(folder), join_processes("cpu"), seed)
        budget = minutes
        if trainer.learner.prefits:
            trainer.pool, trainer.prefit_steps = recipe.pool, recipe.prefit_steps
            trainer.learner.prefit(trainer.crops, recipe.prefit_steps)
            trainer.learner.prefits, trainer.prefit_steps = False, 0
            budget -= (time.monotonic() - started) / 60
        prefit_seconds = 60 * (minutes - budget)
        trainer.run(steps=None, minutes=budget)
        lines = [json.loads(line) for line in (Path(folder) / LOG_FILE).read_text("utf-8").splitlines()]
    curve = [{"step": x["step"], "seconds": x["seconds"], **x["validation"]} for x in lines if "validation" in x]
    return {
        "run": run,
        "parameters": sum(p.numel() for p in trainer.learner.model.parameters()),
        "prefit_seconds": round(prefit_seconds),
        "steps": trainer.step,
        "crops": trainer.step * recipe.batch,
        "curve": curve,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--runs", nargs="+", default=["paper:paper", "paper:default", "lite:default"])
    parser.add_argument("--widths", nargs="+", type=int, default=[32, 48, 96])
    parser.add_argument("--curator", default="lite")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    curator = Deblurrer(args.curator, device="cpu")
    source = open_source(args.photos, SHARP, RECIPES["default"], curator=curator)
    results = []
    for run in args.runs:
        results.append(train_one(run, source, tuple(args.widths), args.minutes, args.seed))
        print(json.dumps(results[-1]), flush=True)
        if args.json:  # after each run: a long series that is stopped has lost nothing
            found = {
                "minutes": args.minutes, "device": "cpu", "threads": torch.get_num_threads(), "widths": args.widths,
                "seed": args.seed, "data": source.summary(), "curator": args.curator,
                "versions": {"nrknet": __version__, "torch": torch.__version__}, "runs": results,
            }  # fmt: skip
            args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
