"""The ablations of Tables 3, 4 and 5 and of the number of atoms, all trained with one budget.

    python -m benchmarks.ablations train SHARP_PHOTOS RUNS [--steps 200] [--seeds 0 1] [--variants ...] [--curator lite]
    python -m benchmarks.ablations score RUNS --pairs NAME=DIR ...
    python -m benchmarks.ablations collect RUNS --json FILE

`train` makes RUNS/VARIANT-SEED/ with the network and record.json; runs that are there are left alone, so it goes on
where it was stopped (first delete a folder without record.json), and several may work on the same folder. Every variant
changes one network, `BASE`, and has the same steps, crops, seeds and start: atoms, coefficients and memory from
nothing, the U-Net from the bundled `lite`, because learning to see blur is the slow part and the same for all. Two
results come out of it:

    known radius   the atoms and one coefficient vector per blur radius and scale, the true radius given: how well the
                   operators alone invert defocus, without what a network makes of a photo
    gain           the network, on crops of photos that are held out; compared crop by crop with `Original`

`score` adds PSNR, SSIM and, where NRKNET_LPIPS_BACKBONE is set, LPIPS on pairs; `collect` makes one file of it all.
"""

import argparse
import json
import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.equal_budget import commit
from nrknet._version import __version__
from nrknet.atoms import RecursiveAtoms
from nrknet.config import PRESETS, vary
from nrknet.datasets import find_pairs
from nrknet.evaluation import evaluate
from nrknet.grow import grow
from nrknet.inference import Deblurrer
from nrknet.model import NRKNet
from nrknet.perceptual import BACKBONE_VARIABLE, load_lpips
from nrknet.prefit import restore_by_radius
from nrknet.processes import join_processes
from nrknet.recipes import RECIPES, vary_loss
from nrknet.sources import SHARP, Source, open_source
from nrknet.stream import Crops
from nrknet.train import Trainer
from nrknet.validation import SOFT_DB, psnr
from nrknet.weights import load_model, save_model

BASE = replace(PRESETS["lite"], num_atoms=20, image_blocks=0, widths=(32, 48, 96), memory_pool=1)
"""As many atoms as the paper has, and no image head: only the Neumann series may change the photo.

Widths and pooling are those of `lite` before it was pruned; its U-Net then was the start of the stored results.
"""
RECIPE = replace(
    RECIPES["default"], patches=((0.0, 128),), reuse=9, warmup=30, ema=0.98, prefit_steps=900, validate_every=1e9,
    save_every=1e9,
)  # fmt: skip
VARIANTS = (
    "Original", "NonAdaptive", "NonRecursive", "NonSeparable", "FullExp", "2Scales", "4Scales", "w/o ConvLSTM",
    "w/o reblur", "w/o FDR", "SingleScaleLoss", "J15", "J18", "J22", "J25",
)  # fmt: skip
"""FullRKR, FullLoss and J20 are the Original."""
RECORD = "record.json"
NUM_CROPS = 72


def train(source: Source, runs: Path, variant: str, *, seed: int, steps: int) -> None:
    """Train one variant, unless its folder is there, and record what it scores on held-out crops."""
    folder = runs / _slug(variant, seed)
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return
    started = time.monotonic()
    config, recipe = vary(BASE, variant), vary_loss(RECIPE, variant)
    trainer = Trainer(config, recipe, source, folder / "run", join_processes("cpu"), seed)
    learner, trainer.pool = trainer.learner, recipe.pool
    learner.prefit(trainer.crops, recipe.prefit_steps)
    learner.prefits = False
    prefit_seconds = time.monotonic() - started
    crops = source.validation(torch.device("cpu"), count=NUM_CROPS)
    known = _gains(crops, lambda one: _with_radius(learner.model, one))
    learner.model.load_state_dict(_with_unet(learner.model, load_model("lite", device="cpu")))
    learner.averaged.load_state_dict(learner.model.state_dict())
    trainer.run(steps=steps, minutes=None)
    model = learner.averaged.eval()
    gains = _gains(crops, lambda one: model(one.blurred).image)
    save_model(model, folder / "model", training={"benchmark": "ablations", "variant": variant, "seed": seed})
    record = {
        "variant": variant,
        "seed": seed,
        "steps": trainer.step,
        "crops": trainer.step * recipe.batch,
        "prefit_steps": recipe.prefit_steps,
        "prefit_seconds": round(prefit_seconds),
        "train_seconds": round(trainer.seconds),
        "seconds": round(time.monotonic() - started),
        "parameters": sum(p.numel() for p in learner.model.parameters()),
        "known_radius_gain_db": known,
        "gain_db": gains,
        "data": source.summary(),
        "commit": commit(),
        "device": f"cpu, {torch.get_num_threads()} threads",
        "machine": platform.machine(),
        "versions": {"nrknet": __version__, "torch": torch.__version__},
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    print(variant, seed, _mean(known), _mean(gains), record["seconds"], flush=True)


def _slug(variant: str, seed: int) -> str:
    return f"{re.sub('[^a-z0-9]+', '-', variant.lower())}-{seed}"


def _taps(folder: Path) -> list[list[float]]:
    """The recursive atoms a_j that a run has learned, (J,3)."""
    bank = load_model(folder, device="cpu").atoms
    assert isinstance(bank, RecursiveAtoms)
    return [[round(tap, 5) for tap in taps] for taps in bank.taps()[:, 0].tolist()]


def _with_unet(model: NRKNet, trained: NRKNet) -> dict[str, Tensor]:
    """The weights of `model`, those of the U-Net grown from `trained`; further blocks begin as the identity."""
    grown = NRKNet(replace(trained.config, widths=model.config.widths, num_blocks=model.config.num_blocks))
    grow(grown, trained)
    given = {name: value for name, value in grown.state_dict().items() if name.startswith("unet.")}
    return {**model.state_dict(), **given}


def _with_radius(model: NRKNet, one: Crops) -> Tensor:
    assert one.radius is not None
    return restore_by_radius(model, one.blurred, one.radius)[0]


@torch.no_grad()
def _gains(crops: Crops, restore: Callable[[Crops], Tensor]) -> list[float]:
    """Gains in dB over the inputs, crop by crop; crops that are sharp but for noise are left out."""
    found = []
    for i in range(len(crops.blurred)):
        one = crops.each(lambda x, i=i: x[i : i + 1]).floats()  # type: ignore[misc]
        before = psnr(one.blurred, one.sharp)
        if before < SOFT_DB:
            found.append(round(float(psnr(restore(one), one.sharp) - before), 4))
    return found


def _mean(values: list[float]) -> float:
    return round(statistics.fmean(values), 4)


def score(runs: Path, name: str, root: Path) -> None:
    """Add the mean scores on pairs to the records that lack them."""
    pairs = find_pairs("pairs", root)
    lpips = load_lpips() if os.environ.get(BACKBONE_VARIABLE) else None
    for path in sorted(runs.glob(f"*/{RECORD}")):
        if name in json.loads(path.read_text()).get("scores", {}):
            continue
        found = evaluate(Deblurrer(path.parent / "model", device="cpu"), pairs, lpips=lpips)
        mean = {key: None if math.isnan(value) else round(value, 5) for key, value in found.mean.items()}
        record = json.loads(path.read_text())  # again: another process may have added to it meanwhile
        record.setdefault("scores", {})[name] = {"photos": len(pairs), **mean}
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(record["variant"], record["seed"], name, mean["psnr_input"], mean["psnr"], flush=True)


def collect(runs: Path, file: Path) -> None:
    """One file of all records."""
    records = [json.loads(path.read_text()) for path in runs.glob(f"*/{RECORD}")]
    records.sort(key=lambda r: (VARIANTS.index(r["variant"]), r["seed"]))
    for record in records:
        if record["variant"] == "Original":
            record["taps"] = _taps(runs / _slug(record["variant"], record["seed"]) / "model")
        record["known_radius_mean_db"], record["gain_mean_db"] = (
            _mean(record[key]) for key in ("known_radius_gain_db", "gain_db")
        )
    content = {
        "about": "variants of one network, trained with the same steps, crops and seeds; see benchmarks/ablations.py",
        "base": {"preset": "lite", "num_atoms": BASE.num_atoms, "image_blocks": BASE.image_blocks},
        "start": "the U-Net of the bundled lite, all else from nothing",
        "runs": records,
    }
    file.write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("train")
    command.add_argument("photos", type=Path)
    command.add_argument("runs", type=Path)
    command.add_argument("--steps", type=int, default=200)
    command.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    command.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS, metavar="V")
    command.add_argument("--curator", default="lite")
    command = commands.add_parser("score")
    command.add_argument("runs", type=Path)
    command.add_argument("--pairs", nargs="+", required=True, metavar="NAME=DIR")
    command = commands.add_parser("collect")
    command.add_argument("runs", type=Path)
    command.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    if args.command == "train":
        source = open_source(args.photos, SHARP, RECIPE, curator=Deblurrer(args.curator, device="cpu"))
        for seed in args.seeds:
            for variant in args.variants:
                train(source, args.runs, variant, seed=seed, steps=args.steps)
    elif args.command == "score":
        for given in args.pairs:
            name, _, root = given.partition("=")
            score(args.runs, name, Path(root))
    else:
        collect(args.runs, args.json)


if __name__ == "__main__":
    main()
