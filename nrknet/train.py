"""The training loop: steps, checkpoints that resume, validation, export."""

import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nrknet.config import NRKNetConfig, named_config
from nrknet.data import Batch, RenderedCrops, SharpPhotos
from nrknet.layers import RadiusHead
from nrknet.losses import total_loss
from nrknet.model import NRKNet
from nrknet.prefit import prefit_table
from nrknet.recipes import RECIPES, Recipe
from nrknet.weights import pick_device, save_model

log = logging.getLogger(__name__)


NUM_VALIDATION = 24
SOFT_DB = 35.0
"""Gains are averaged over crops whose input scores less; above it a crop is sharp but for noise."""


def train(
    data: Path,
    out: Path,
    *,
    preset: str = "lite",
    recipe: str = "default",
    variant: str | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    device: str = "auto",
    seed: int = 0,
    on_step: Callable[[dict[str, float]], None] | None = None,
) -> Path:
    """Train a network on sharp photos defocused on the fly; resumes when `out` holds a checkpoint.

    Args:
        data: folder of sharp photos.
        out: run folder: checkpoint.pt, log.jsonl, and at the end model/ which `load_model` takes.
        preset, variant: which network, see PRESETS and VARIANTS.
        recipe: which of RECIPES.
        steps: stop after so many steps in all, earlier sessions included; or
        minutes: stop after so many minutes of training in all.
        device: "auto", "cpu", "cuda" or "mps".
        seed: of weights, crops and rendering.
        on_step: called with step, loss and progress after each step.

    Returns:
        The exported model's folder, out/model: averaged weights of the best validation.

    Raises:
        ValueError: unknown names, no budget, unusable data, or a checkpoint of another network or recipe.
        FloatingPointError: the loss stopped being finite.
    """
    budget = minutes if steps is None else steps
    if budget is None or (steps is not None and minutes is not None):
        raise ValueError("give a budget: either steps or minutes")
    if not budget > 0:
        raise ValueError(f"the budget of steps or minutes must be above 0, got {budget}")
    if recipe not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}; known: {', '.join(RECIPES)}")
    config = named_config(preset, variant=variant)
    trainer = Trainer(config, RECIPES[recipe], Path(data), Path(out), pick_device(device), seed)
    trainer.resume()
    trainer.run(steps=steps, minutes=minutes, on_step=on_step)
    return trainer.export()


class Trainer:
    """State of one run: network, averaged network, optimiser, position in the data."""

    def __init__(
        self, config: NRKNetConfig, recipe: Recipe, data: Path, out: Path, device: torch.device, seed: int
    ) -> None:
        self.recipe, self.out, self.device, self.seed = recipe, out, device, seed
        photos = SharpPhotos(data, least_side=min(recipe.size, 64))
        training, held_out = photos.split()
        crops: dict[str, Any] = {
            "size": recipe.size, "margin": recipe.margin, "defocus": recipe.defocus, "device": device,
        }  # fmt: skip
        self.crops = RenderedCrops(
            training, batch=recipe.batch, pool=recipe.pool, reuse=recipe.reuse, seed=seed,
            jpeg_chance=recipe.jpeg_chance, **crops,
        )  # fmt: skip
        # the validation set is the same for every seed, recipe budget and network of this crop size
        count = min(NUM_VALIDATION, 4 * len(held_out))
        self._held_out = RenderedCrops(held_out, batch=1, pool=count, reuse=1, seed=12345, **crops)
        torch.manual_seed(seed)
        self.model = NRKNet(config).to(device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
        self.optimiser = torch.optim.Adam(self._parameters(), lr=recipe.rate)
        self.step, self.seconds, self.best = 0, 0.0, -math.inf
        self.validated = -1  # the step whose weights were validated last
        self.milestones = 0  # of the recipe, that lie behind
        out.mkdir(parents=True, exist_ok=True)

    def _parameters(self) -> list[nn.Parameter]:
        """What training changes: the atoms only where the recipe goes on training them after pre-fitting."""
        self.model.atoms.requires_grad_(self.recipe.train_atoms or not self._prefits)
        return [p for p in self.model.parameters() if p.requires_grad]

    @cached_property
    def validation(self) -> Batch:
        """Crops of the held-out photos."""
        return self._held_out.render_pool(0)

    @property
    def _prefits(self) -> bool:
        return isinstance(self.model.head, RadiusHead) and self.recipe.prefit_steps > 0

    @property
    def _flip(self) -> bool:
        return self.model.config.channel_order == "bgr"

    def run(
        self, *, steps: int | None, minutes: float | None, on_step: Callable[[dict[str, float]], None] | None = None
    ) -> None:
        """Train until the budget is spent, validating and saving on the way; nothing when it is spent already."""

        def progress() -> float:
            return self.step / steps if steps else self.seconds / (60 * (minutes or 1))

        if self.step == 0 and self._prefits:
            prefit_table(self.model, self.crops, steps=self.recipe.prefit_steps, weights=self.recipe.loss)
            self._parameters()
            self.ema.module.load_state_dict(self.model.state_dict())
        saved = validated = last = time.monotonic()
        self.model.train()
        while progress() < 1:
            self._pass_milestones(progress())
            batch = self.crops.at(self.step)
            record = self._train_step(batch.to(self.device, flip_colours=self._flip), progress())
            now = time.monotonic()
            self.seconds += now - last
            last = now
            if on_step is not None:
                on_step({**record, "step": self.step, "progress": min(progress(), 1.0), "seconds": self.seconds})
            if self.step % 50 == 0:
                self._write_log({"step": self.step, "seconds": round(self.seconds, 1), **record})
            if now - validated > self.recipe.validate_every:
                self._validate_and_keep()
                validated = saved = last = time.monotonic()
            elif now - saved > self.recipe.save_every:
                self.save()
                saved = time.monotonic()
        if self.validated != self.step:
            self._validate_and_keep()

    def _pass_milestones(self, progress: float) -> None:
        """At a milestone of a recipe that restarts, go on from the best weights so far with a new Adam."""
        behind = self.recipe.milestone_at(progress)
        if self.recipe.restart and behind > self.milestones:
            if (self.out / "model").is_dir():
                best = NRKNet.from_folder(self.out / "model").state_dict()
                self.model.load_state_dict(best)
                self.ema.module.load_state_dict(best)
            self.optimiser = torch.optim.Adam(self._parameters(), lr=self.recipe.rate)
        self.milestones = behind

    def _train_step(self, batch: Batch, progress: float) -> dict[str, float]:
        recipe = self.recipe
        rate = recipe.rate_at(self.step, progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        weights = recipe.loss_at(progress)
        bf16 = self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            output = self.model(batch.blurred)
        radii = self.model.head.radii if isinstance(self.model.head, RadiusHead) else None
        loss, terms = total_loss(
            output, batch.sharp, config=self.model.config, weights=weights, radius=batch.radius, radii=radii
        )
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {self.step}; the last checkpoint is kept")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.optimiser.param_groups[0]["params"], recipe.clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient is {norm.item()} at step {self.step}; the last checkpoint is kept")
        self.optimiser.step()
        self.step += 1
        self.ema.update_parameters(self.model)
        with torch.no_grad():
            start = psnr(batch.blurred, batch.sharp)
            gains = (psnr(output.image, batch.sharp) - start)[start < SOFT_DB]
        gain = gains.mean() if len(gains) else 0.0
        record = {"loss": loss.detach(), "gain_db": gain, "gradient": norm, **terms}
        return {"rate": rate, **{name: round(float(value), 6) for name, value in record.items()}}

    def _write_log(self, record: dict[str, Any]) -> None:
        with open(self.out / "log.jsonl", "a") as file:
            file.write(json.dumps(record) + "\n")

    def _validate_and_keep(self) -> None:
        """Validate the averaged weights; export them when they are the best so far; save."""
        averaged = cast(NRKNet, self.ema.module)
        scores = validate(averaged, self.validation)
        log.info("step %d, %.0f s: %s", self.step, self.seconds, scores)
        self._write_log({"step": self.step, "seconds": round(self.seconds, 1), "validation": scores})
        if scores["gain_db"] > self.best:
            self.best = scores["gain_db"]
            note = {"step": self.step, "seconds": round(self.seconds), "validation": scores}
            save_model(averaged, self.out / "model", training=note)
        self.validated = self.step
        self.save()

    def save(self) -> None:
        """Write checkpoint.pt atomically."""
        state = {
            "config": self.model.config.to_dict(),
            "recipe": json.dumps(asdict(self.recipe), sort_keys=True),
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "position": {
                "step": self.step,
                "seconds": self.seconds,
                "best": self.best,
                "validated": self.validated,
                "milestones": self.milestones,
                "seed": self.seed,
            },
        }
        part = self.out / "checkpoint.pt.part"
        torch.save(state, part)
        os.replace(part, self.out / "checkpoint.pt")

    def resume(self) -> bool:
        """Go on from checkpoint.pt where there is one.

        Raises:
            ValueError: the checkpoint belongs to another network, recipe or seed.
        """
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        ours = json.dumps(asdict(self.recipe), sort_keys=True)
        same = state["config"] == self.model.config.to_dict() and state["recipe"] == ours
        if not same or state["position"]["seed"] != self.seed:
            raise ValueError(f"{path} was trained with another network, recipe or seed; choose an empty --out folder")
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        position = state["position"]
        self.step, self.seconds, self.best = position["step"], position["seconds"], position["best"]
        self.validated, self.milestones = position["validated"], position["milestones"]
        return True

    def export(self) -> Path:
        """The folder of the best averaged weights."""
        return self.out / "model"


def psnr(image: Tensor, sharp: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each image of a batch after clipping to [0,1]: (B,)."""
    error = (image.clamp(0, 1) - sharp).square().flatten(1).mean(dim=1)
    return -10 * error.clamp(min=1e-10).log10()


@torch.no_grad()
def validate(model: NRKNet, crops: Batch) -> dict[str, float]:
    """Mean PSNR, gain over the input, and error of the radius map on rendered crops.

    Args:
        model: put into evaluation mode and back.
        crops: uint8 pool of `RenderedCrops.render_pool`.

    Returns:
        psnr of the output over all crops; gain_db over crops whose input scores under 35 dB (over all where none
        does); sharp_db: PSNR of the output on the other crops, where there are any; with a radius head also
        radius_error px and radius_correlation, the latter where both maps vary.
    """
    training = model.training
    model.eval()
    flip = model.config.channel_order == "bgr"
    before, after, radii, truths = [], [], [], []
    for i in range(len(crops.blurred)):
        one = slice(i, i + 1)
        blurred, sharp = crops.blurred[one].float() / 255, crops.sharp[one].float() / 255
        output = model(blurred.flip(1) if flip else blurred)
        image = output.image.flip(1) if flip else output.image
        before.append(psnr(blurred, sharp))
        after.append(psnr(image, sharp))
        radius = output.scales[-1].radius
        if radius is not None:
            radii.append(radius.flatten())
            truths.append(crops.radius[one].float().flatten())
    model.train(training)
    start, end = torch.cat(before), torch.cat(after)
    soft = start < SOFT_DB
    scores = {"psnr": end.mean(), "gain_db": (end - start)[soft if bool(soft.any()) else ~soft].mean()}
    if not bool(soft.all()):
        scores["sharp_db"] = end[~soft].mean()
    if radii:
        found, truth = torch.cat(radii), torch.cat(truths)
        scores["radius_error"] = (found - truth).abs().mean()
        if found.std() > 0 and truth.std() > 0:
            scores["radius_correlation"] = torch.corrcoef(torch.stack([found, truth]))[0, 1]
    return {name: round(float(value), 4) for name, value in scores.items()}
