"""How many crops a second a step of training takes in, by a plain loop and by ours, in one process.

    python -m benchmarks.training_speed [--preset released] [--side 256] [--steps 5] [--batch N] [--plain-batch 4]
                                        [--device auto] [--json FILE]

`plain` is the loop as the authors run it: float32 without TF32, NCHW, Adam, 4 crops a step. `nrknet` is
`Learner.train_step` by the recipe `gpu`: channels last, on CUDA bfloat16 autocast and the recipe's own batch, and what
else a step of ours does (clipping, the running average, the record). Network, operations (ours, not the authors') and
loss are the same. Crops are random numbers, made once on the device: rendering them is not timed. Both take turns.
"""

import argparse
import json
import platform
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.equal_budget import commit
from benchmarks.speed import timed
from nrknet._version import __version__
from nrknet.config import PRESETS, NRKNetConfig
from nrknet.layers import RadiusHead
from nrknet.learner import Learner
from nrknet.losses import total_loss
from nrknet.model import NRKNet
from nrknet.processes import Processes
from nrknet.recipes import RECIPES, Recipe
from nrknet.stream import Batch
from nrknet.weights import pick_device

WARM_UP = 2  # steps of each that are not counted
PROGRESS = 0.0  # share of the run that is done: the recipe's first loss, which has every term


def random_crops(batch: int, side: int, device: torch.device) -> Batch:
    """Crops of noise, with radii up to 10 pixels."""
    blurred, sharp = (torch.rand(batch, 3, side, side, device=device) for _ in range(2))
    return Batch(blurred, sharp, 10 * torch.rand(batch, 1, side, side, device=device))


class PlainLoop:
    """A step as the authors write it, with the loss of a recipe."""

    def __init__(self, config: NRKNetConfig, recipe: Recipe, device: torch.device) -> None:
        torch.manual_seed(0)
        self.model = NRKNet(config).to(device)
        self._loss = recipe.loss_at(PROGRESS)
        self._optimiser = torch.optim.Adam(self.model.parameters(), lr=RECIPES["paper"].rate)
        for module in (self.model.unet, *([] if self.model.image_head is None else [self.model.image_head.entry])):
            module.register_forward_pre_hook(lambda _, args: (args[0].contiguous(),))  # NCHW, not channels last

    def train_step(self, batch: Batch) -> None:
        """One step of Adam."""
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            output = self.model(batch.blurred)
            radii = self.model.head.radii if isinstance(self.model.head, RadiusHead) else None
            loss, _ = total_loss(
                output, batch.sharp, config=self.model.config, weights=self._loss, radius=batch.radius, radii=radii
            )
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()


def measure(
    config: NRKNetConfig, *, side: int, steps: int, batch: int, plain_batch: int, device: torch.device
) -> list[dict[str, Any]]:
    """Crops a second of both ways.

    Raises:
        ValueError: the side does not fit the network.
    """
    recipe = replace(RECIPES["gpu"], batch=batch, pool=batch, size=side, patches=())
    recipe.check_sides(config.size_multiple)
    plain = PlainLoop(config, recipe, device)
    learner = Learner(config, recipe, Processes(device), seed=0, has_radius=True)
    few, many = random_crops(plain_batch, side, device), random_crops(batch, side, device)
    ways: dict[str, Callable[[], Any]] = {
        "plain": lambda: plain.train_step(few),
        "nrknet": lambda: learner.train_step(many, PROGRESS),
    }
    turns = [{name: timed(step, str(device)) for name, step in ways.items()} for _ in range(WARM_UP + steps)]
    rows: list[dict[str, Any]] = []
    for name, crops in (("plain", plain_batch), ("nrknet", batch)):
        seconds = [turn[name] for turn in turns[WARM_UP:]]
        rate = crops / statistics.median(seconds)
        rows.append({
            "name": name, "batch": crops, "side": side, "images_per_second": rate,
            "times_faster": rate / rows[0]["images_per_second"] if rows else 1.0,
            "seconds_per_step": crops / rate, "shortest": min(seconds), "longest": max(seconds),
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="released", choices=list(PRESETS))
    parser.add_argument("--side", type=int, default=256, help="of a crop in pixels")
    parser.add_argument("--steps", type=int, default=5, help=f"of each that are timed, after {WARM_UP}")
    parser.add_argument("--batch", type=int, help="of nrknet; the recipe's own on CUDA, else 4, unless given")
    parser.add_argument("--plain-batch", type=int, default=4)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="auto: cuda, else cpu")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.device == "auto":
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    cuda = args.device == "cuda"
    batch = args.batch if args.batch is not None else RECIPES["gpu"].batch if cuda else 4
    if min(args.steps, batch, args.plain_batch) < 1:
        parser.error("--steps, --batch and --plain-batch must be 1 or more")
    sizes = {"side": args.side, "steps": args.steps, "batch": batch, "plain_batch": args.plain_batch}
    try:
        rows = measure(PRESETS[args.preset], **sizes, device=pick_device(args.device))
    except ValueError as error:
        parser.error(str(error))
    for row in rows:
        row.update({k: float(f"{v:.4g}") for k, v in row.items() if isinstance(v, float)})
        print(row, flush=True)
    if args.json:
        found = {
            "about": "crops a second of training steps, medians after a warm-up, in turn in one process; plain: "
            "float32 without TF32, NCHW; nrknet: Learner.train_step, recipe gpu; random crops, rendering not timed",
            "preset": args.preset, "steps": args.steps, "device": args.device, "threads": torch.get_num_threads(),
            "device_name": torch.cuda.get_device_name() if cuda else platform.machine(),
            "versions": {"nrknet": __version__, "torch": torch.__version__}, "commit": commit(), "ways": rows,
        }  # fmt: skip
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
