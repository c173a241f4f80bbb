"""The training loop: recipes, pre-fitting of the radius table, checkpoints that resume, validation, export."""

import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nrknet.basis import coefficient_basis
from nrknet.config import NRKNetConfig, named_config
from nrknet.data import Batch, RenderedCrops, SharpPhotos
from nrknet.defocus import DefocusConfig
from nrknet.layers import RadiusHead, radius_weights, unit_sum
from nrknet.losses import LossConfig, crop_weights, fdr, mse, total_loss
from nrknet.model import NRKNet
from nrknet.neumann import BlurOperator, fuse_scales, neumann_terms, pyramid
from nrknet.weights import pick_device, save_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        loss: weights of the loss terms.
        radius_decay: the radius term's weight falls linearly to this share of its start over the first third;
            radii are learned first, and leave the U-Net to the image after.
        rate: Adam's peak learning rate; cosine decay to 2 % of it after `warmup` steps of linear rise.
        batch: crops per step.
        size: crop side in pixels; margin: rendered around it and cut off.
        pool: crops rendered at a time; reuse: passes over them.
        prefit_steps: steps that first fit the radius table and the atoms alone, with the true radius given.
        train_atoms: go on training the atoms after pre-fitting.
        ema: decay of the averaged weights that are validated and exported.
        clip: largest gradient norm.
        validate_every, save_every: seconds between validations and between checkpoints.
        defocus: the renderer's distribution.
        jpeg_chance: share of training crops stored as JPEG.
    """

    loss: LossConfig = field(default_factory=lambda: LossConfig(fdr_norm="ortho", radius=0.02, relative=2e-4))
    radius_decay: float = 0.15
    rate: float = 5e-4
    warmup: int = 100
    batch: int = 4
    size: int = 256
    margin: int = 32
    pool: int = 96
    reuse: int = 3
    prefit_steps: int = 1200
    train_atoms: bool = False
    ema: float = 0.998
    clip: float = 0.5
    validate_every: float = 480.0
    save_every: float = 120.0
    defocus: DefocusConfig = field(default_factory=DefocusConfig)
    jpeg_chance: float = 0.25


RECIPES: dict[str, Recipe] = {
    "default": Recipe(),
    "gpu": Recipe(batch=32, size=320, pool=512, reuse=2, prefit_steps=1500, rate=1e-3, train_atoms=True),
    "smoke": Recipe(batch=2, size=64, margin=8, pool=4, reuse=2, prefit_steps=4, warmup=2, save_every=0.0),
}
"""`default` for a CPU, `gpu` for one large card, `smoke` for a test of the machinery in seconds."""

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

    def _train_step(self, batch: Batch, progress: float) -> dict[str, float]:
        recipe = self.recipe
        rate = recipe.rate * min(1.0, (self.step + 1) / recipe.warmup)
        rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        fall = (1 - recipe.radius_decay) * min(3 * progress, 1.0)
        weights = replace(recipe.loss, radius=recipe.loss.radius * (1 - fall))
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
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
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
        self.validated = position.get("validated", -1)
        return True

    def export(self) -> Path:
        """The folder of the best averaged weights."""
        return self.out / "model"


def prefit_table(model: NRKNet, crops: RenderedCrops, *, steps: int, weights: LossConfig, rate: float = 0.02) -> None:
    """Fit the atoms and the radius table alone, the true radius given: one coefficient vector per radius and scale.

    The first third of the steps fits the atoms, with a table of plain coefficients that is then thrown away; the rest
    fits the head's table in the well-conditioned basis of those atoms.

    Args:
        model: a network with a radius head; its atoms, basis and table are changed.
        crops: source of rendered crops.
        steps: Adam steps.
        weights: uses the scale weights and the FDR term.
        rate: Adam's learning rate, cosine decay to 0.
    """
    head, config = model.head, model.config
    assert isinstance(head, RadiusHead)
    plain = head.table.new_zeros(*head.table.shape[:2], config.num_coefficients).requires_grad_()

    def look_up_plain(radius: Tensor, t: int) -> Tensor:
        shares = radius_weights(radius, head.radii)[:, 1:]
        return unit_sum(torch.einsum("brhw,rk->bkhw", shares, plain[t - 1]))

    atoms = [plain, *model.atoms.requires_grad_().parameters()]
    _fit(model, crops, atoms, look_up_plain, range(0, steps // 3), weights, rate)
    model.atoms.requires_grad_(False)
    if config.num_coordinates:
        head.basis.copy_(coefficient_basis(model.atoms.kernels(), config.num_coordinates))
    _fit(model, crops, [head.table], head.lookup, range(steps // 3, steps), weights, rate)


def _fit(
    model: NRKNet,
    crops: RenderedCrops,
    parameters: list[Tensor],
    look_up: Callable[[Tensor, int], Tensor],
    steps: range,
    weights: LossConfig,
    rate: float,
) -> None:
    """Adam on the multi-scale prediction loss, coefficients looked up by the true radius."""
    config = model.config
    optimiser = torch.optim.Adam(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(len(steps), 1))
    for step in steps:
        batch = _half_size(crops, step)
        blurred, sharp = (pyramid(x, config.num_scales, mode=config.pyramid) for x in (batch.blurred, batch.sharp))
        shares = crop_weights(batch.blurred, batch.sharp, weights.relative) if weights.relative else None
        terms, loss = [], torch.zeros((), device=batch.blurred.device)
        for i, t in enumerate(range(config.num_scales, 0, -1)):
            radius = F.avg_pool2d(batch.radius, 2 ** (t - 1)) / 2 ** (t - 1)
            operator = BlurOperator(model.atoms, look_up(radius, t))
            terms.append(neumann_terms(operator, blurred[i], config.powers(t)))
            image = torch.stack(terms[-1][config.scale_images_from :]).sum(0)
            loss = loss + weights.scale_weights[t] * _prediction(image, sharp[i], weights, shares)
        image = fuse_scales(terms, expansion=config.expansion)
        loss = loss + weights.scale_weights[0] * _prediction(image, sharp[-1], weights, shares)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            log.info("prefit %d: loss %.5f", step, loss.item())


def _prediction(image: Tensor, sharp: Tensor, weights: LossConfig, crops: Tensor | None) -> Tensor:
    """Eq. 13."""
    return mse(image, sharp, crops=crops) + weights.fdr * fdr(image, sharp, norm=weights.fdr_norm, crops=crops)


def _half_size(crops: RenderedCrops, step: int) -> Batch:
    """A batch cut to half size: the table needs many radii, not large pictures."""
    side = max(crops.size // 2, min(crops.size, 64))
    first = (step % 2) * (crops.size - side)
    cut = slice(first, first + side)
    batch = crops.at(step)
    return Batch(*(x[..., cut, cut].contiguous() for x in (batch.blurred, batch.sharp, batch.radius)))


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
