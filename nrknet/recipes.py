"""Recipes: how a network is trained, as values. The paper's, the released code's and our own."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from nrknet.config import look_up
from nrknet.defocus import DefocusConfig
from nrknet.losses import LossConfig

Milestones = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class SSIMPhases:
    """Parts of a run whose loss is 1 - SSIM alone; all numbers are shares of the run.

    Args:
        start: the first phase begins here.
        period: from the begin of one phase to the next.
        length: of a phase.
    """

    start: float
    period: float
    length: float

    def __contains__(self, progress: float) -> bool:
        return progress >= self.start and (progress - self.start) % self.period < self.length


_OURS = LossConfig(fdr_norm="ortho", radius=0.02, relative=2e-4)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        loss: weights of the loss terms.
        radius_decay: the radius term's weight falls linearly to this share of its start over the first third;
            radii are learned first, and leave the U-Net to the image after.
        ssim_phases: where 1 - SSIM replaces the loss; None: nowhere.
        rate: Adam's peak learning rate.
        warmup: steps over which the rate rises linearly.
        milestones: (share of the run, factor of the rate from there on), in order; none: cosine decay to 2 %.
        restart: at each milestone go back to the best weights so far, with a new Adam.
        batch: crops per step, of all processes together.
        size: crop side in pixels; margin: rendered around it and cut off.
        patches: (share of the run, side of a random window of each crop from there on), in order; none: whole crops.
            Small windows first make cheap steps while there is most to learn; validation is on whole crops.
        pool: crops made at a time; reuse: passes over them. Short runs make no more than they use.
        prefit_steps: steps that first fit the radius table and the atoms alone, with the true radius given; at most
            half as many as the run's.
        train_atoms: go on training the atoms after pre-fitting.
        ema: decay of the averaged weights that are validated and exported; 0: the weights themselves.
        clip: largest gradient norm; inf: any.
        validate_every, save_every: seconds between validations and between checkpoints.
        defocus: the renderer's distribution.
        jpeg_chance: share of training crops stored as JPEG.
        flat_chance: share of training crops of one colour, where crops are rendered.
    """

    loss: LossConfig = _OURS
    radius_decay: float = 0.15
    ssim_phases: SSIMPhases | None = None
    rate: float = 5e-4
    warmup: int = 100
    milestones: Milestones = ()
    restart: bool = False
    batch: int = 4
    size: int = 256
    margin: int = 32
    patches: tuple[tuple[float, int], ...] = ()
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
    flat_chance: float = 0.0

    def __post_init__(self) -> None:
        shares = [share for share, _ in self.patches]
        if shares != sorted(set(shares)) or not all(0 <= share < 1 for share in shares):
            raise ValueError(f"patches must begin at increasing shares of the run from 0 to below 1, got {shares}")
        if any(side > self.size for _, side in self.patches):
            raise ValueError(f"patches must be no larger than the crops of {self.size} pixels, got {self.patches}")
        if self.pool % self.batch:
            raise ValueError(f"pool must be a multiple of the batch size {self.batch}, got {self.pool}")

    def with_batch(self, batch: int) -> "Recipe":
        """The recipe with so many crops a step, in pools of as many crops or a few more; the rate stays.

        Raises:
            ValueError: the batch is below 1.
        """
        if batch < 1:
            raise ValueError(f"a step takes 1 crop or more, got {batch}")
        return replace(self, batch=batch, pool=batch * math.ceil(self.pool / batch))

    def check_sides(self, multiple: int) -> None:
        """Crops and windows must fit a network as they are: padding would enter the loss.

        Args:
            multiple: the network's `size_multiple`.

        Raises:
            ValueError: a side is no multiple of it, or less than two of it.
        """
        for side in (self.size, *(side for _, side in self.patches)):
            if side % multiple or side < 2 * multiple:
                raise ValueError(
                    f"the recipe's crops of {side} pixels do not fit this network; expected a multiple of {multiple}, "
                    f"at least {2 * multiple}"
                )

    def side_at(self, progress: float) -> int:
        """The side of the crops of a step, `progress` being the share of the run that is done."""
        return [self.size, *(side for share, side in self.patches if progress >= share)][-1]

    def pool_for(self, steps: int | None) -> int:
        """Crops per pool of a run of so many steps (None: until a time is over): no more than it uses."""
        if steps is None:
            return self.pool
        return min(self.pool, self.batch * math.ceil(steps / self.reuse))

    def prefit_for(self, steps: int | None) -> int:
        """Pre-fitting steps of a run of so many steps (None: until a time is over)."""
        return self.prefit_steps if steps is None else min(self.prefit_steps, math.ceil(steps / 2))

    def rate_at(self, step: int, progress: float) -> float:
        """The learning rate of a step, `progress` being the share of the run that is done."""
        rate = self.rate * min(1.0, (step + 1) / self.warmup)
        if not self.milestones:
            return rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
        behind = self.milestone_at(progress)
        return rate * self.milestones[behind - 1][1] if behind else rate

    def loss_at(self, progress: float) -> LossConfig:
        """The loss of a step, `progress` being the share of the run that is done."""
        if self.ssim_phases is not None and progress in self.ssim_phases:
            return replace(self.loss, mse=0.0, fdr=0.0, reblur=0.0, ssim=1.0)
        fall = (1 - self.radius_decay) * min(3 * progress, 1.0)
        return replace(self.loss, radius=self.loss.radius * (1 - fall))

    def milestone_at(self, progress: float) -> int:
        """How many milestones lie behind."""
        return sum(progress >= start for start, _ in self.milestones)


_AS_WRITTEN = Recipe(
    loss=LossConfig(), rate=1e-4, warmup=1, prefit_steps=0, train_atoms=True, ema=0.0, clip=math.inf
)  # fmt: skip

RECIPES: dict[str, Recipe] = {
    "default": Recipe(),
    "refine": Recipe(
        loss=replace(_OURS, radius=0.003), radius_decay=1.0, rate=4e-4, warmup=200, reuse=2, flat_chance=1 / 24
    ),
    "gpu": Recipe(
        batch=32, patches=((0.0, 128), (0.3, 256)), pool=512, reuse=2, prefit_steps=1500, rate=1e-3, train_atoms=True
    ),  # fmt: skip
    "paper": replace(_AS_WRITTEN, milestones=((0.5, 0.5), (0.75, 0.25))),
    "released": replace(
        _AS_WRITTEN,
        loss=LossConfig(reblur=0.0),
        ssim_phases=SSIMPhases(start=0.2, period=0.04, length=0.0198),
        milestones=((0.4, 0.5), (0.6, 0.25), (0.8, 0.1)),
        restart=True,
    ),
    "smoke": Recipe(batch=2, size=64, margin=8, pool=4, reuse=2, prefit_steps=4, warmup=2, save_every=0.0),
}
"""`default` for a CPU, `refine` to go on from a trained network (`init`), whose radii are known and leave the U-Net to
the image, `gpu` for one large card; `paper` and `released` are the losses and schedules of Sec. 4.1 (4000
epochs) and of the authors' code (5000 epochs), stretched over whatever budget is given, on the crops that we render;
`smoke` for a test of the machinery in seconds."""

_LOSSES: dict[str, dict[str, Any]] = {
    "w/o reblur": {"reblur": 0.0},
    "w/o FDR": {"fdr": 0.0},
    "SingleScaleLoss": {"scale_weights": (1.0, 0.75, 0.0, 0.0)},
}
"""Table 5. "Single-scale" is read as everything at full size: Z_0, Z_1 and the reblurring by D_1. Without that last one
it would lack what "w/o reblur" lacks as well, and the paper has it above that."""


def vary_loss(base: Recipe, variant: str) -> Recipe:
    """A recipe whose loss is changed as a variant of Table 5 changes it; other variants leave it as it is."""
    return replace(base, loss=replace(base.loss, **_LOSSES.get(variant, {})))


def named_recipe(name: str, *, variant: str | None = None) -> Recipe:
    """Look up a recipe, its loss changed where the variant is one of Table 5.

    Raises:
        ValueError: an unknown recipe; the message lists the known ones.
    """
    recipe = look_up(RECIPES, name, kind="recipe")
    return recipe if variant is None else vary_loss(recipe, variant)
