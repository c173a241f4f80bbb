"""The training loop: steps until the budget is spent, validation, checkpoints that resume, export."""

import json
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from nrknet._version import __version__
from nrknet.checkpoint import CHECKPOINT_FILE, read_checkpoint, write_checkpoint
from nrknet.config import NRKNetConfig, default_preset, named_config
from nrknet.inference import Deblurrer
from nrknet.learner import Learner
from nrknet.model import NRKNet
from nrknet.processes import AgreedError, Processes, join_processes
from nrknet.recipes import Recipe, named_recipe
from nrknet.sources import AUTO, Source, open_source
from nrknet.stopping import StopRequest, TrainingStopped
from nrknet.stream import Crops, CropStream, check_shares
from nrknet.tracking import Tracker
from nrknet.validation import pictures, psnr, validate
from nrknet.weights import load_model, save_model

log = logging.getLogger(__name__)

__all__ = ["Trainer", "TrainingStopped", "psnr", "train", "validate"]

OnStep = Callable[[dict[str, float]], None]
LOG_EVERY = 50
"""Steps between two records; the first and the last step are recorded too."""
_KEPT = ("seconds", "best", "validated", "pool", "prefit_steps")
"""What a checkpoint holds of a Trainer, beside its learner."""


def train(
    data: Path,
    out: Path,
    *,
    preset: str | None = None,
    recipe: str = "default",
    variant: str | None = None,
    dataset: str = AUTO,
    init: str | Path | None = None,
    curator: str | Path | None = None,
    batch: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    device: str = "auto",
    seed: int = 0,
    on_step: OnStep | None = None,
    processes: Processes | None = None,
) -> Path:
    """Train a network on sharp photos defocused on the fly, or on pairs; resumes when `out` holds a checkpoint.

    Under torchrun the processes share the crops of each step evenly, and the gradients are averaged: a run of several
    processes has the losses and weights of a run of one, but for the order of sums, and may go on in another number of
    them. Only the main process reads or writes in `out`. Ctrl-C and SIGTERM save a checkpoint after the current step. A
    run that goes on with a larger budget keeps the pools and the pre-fitting that its first budget led to; rate, loss
    and windows follow the new one.

    Args:
        data: folder of sharp photos or of pairs; on each machine, the same.
        out: run folder: run.json, log.jsonl, checkpoint.pt, and at the end model/ which `load_model` takes.
        preset, variant: which network, see PRESETS and VARIANTS: by default `lite`, or the variant of `paper`. Variants
            of Table 5 change the recipe's loss instead.
        recipe: which of RECIPES.
        dataset: how `data` is laid out, one of TRAINING_DATA; "auto" looks.
        init: start from the weights of this network, which `load_model` takes; the new one may be larger.
        curator: leave out crops of sharp photos of which this network finds a part out of focus.
        batch: crops per step, of all processes together; the recipe's by default.
        steps: stop after so many steps in all, earlier sessions included; or
        minutes: stop after so many minutes of training in all.
        device: "auto", "cpu", "cuda" or "mps".
        seed: of weights, crops and rendering; 0 or more.
        on_step: called with step, loss, gain, speed and progress after each step.
        processes: on whose device to train, where they are joined already; by default they are joined here.

    Returns:
        The exported model's folder, out/model: averaged weights of the best validation.

    Raises:
        ValueError: unknown names, no budget, a negative seed, unusable data, crops that the processes cannot share, or
            a checkpoint of another run; AgreedError in all processes where one or more found it.
        FloatingPointError: the loss or the gradient stopped being finite.
        RuntimeError: several processes have ended with different weights.
        TrainingStopped: Ctrl-C or SIGTERM; the checkpoint is saved.
    """
    processes = processes or join_processes(device)
    given = {"preset": preset, "recipe": recipe, "variant": variant, "layout": dataset, "start": init,
             "curator": curator, "batch": batch, "steps": steps, "minutes": minutes, "seed": seed}  # fmt: skip

    def begin() -> Trainer:
        _check_numbers(steps, minutes, seed)
        network = default_preset(variant) if preset is None else preset
        how = named_recipe(recipe, variant=variant)
        how = how if batch is None else how.with_batch(batch)
        config = named_config(network, variant=variant)
        how.check_sides(config.size_multiple)
        check_shares(how.batch, processes.count)
        start = None if init is None else load_model(init, device="cpu")
        looker = None if curator is None else Deblurrer(curator, device=processes.device)
        source = open_source(Path(data), dataset, how, curator=looker, processes=processes)
        names: dict[str, str | None] = {"preset": network, "variant": variant, "recipe": recipe}
        names |= {name: str(value) for name, value in (("init", init), ("curator", curator)) if value is not None}
        return Trainer(config, how, source, Path(out), processes, seed, names=names, start=start)

    try:
        processes.check_same({**given, "version of nrknet": __version__})
        trainer = processes.together(begin)
        processes.check_same({"set of training photos": trainer.source.fingerprint()})
        log.info("training on %s, number of processes: %d", processes.device, processes.count)
        trainer.resume()
        trainer.run(steps=steps, minutes=minutes, on_step=on_step)
    except (TrainingStopped, AgreedError):  # all stop together; after any other error the rest are not there
        processes.close()
        raise
    processes.close()
    return trainer.export()


def _check_numbers(steps: int | None, minutes: float | None, seed: int) -> None:
    budget = minutes if steps is None else steps
    if budget is None or (steps is not None and minutes is not None):
        raise ValueError("give a budget: either steps or minutes")
    if not budget > 0:
        raise ValueError(f"the budget of steps or minutes must be above 0, got {budget}")
    if seed < 0:
        raise ValueError(f"the seed must be 0 or more, got {seed}")


class Trainer:
    """One run: what learns, what it learns from, and where the run is.

    Args:
        config: the network's structure.
        recipe: how it is trained.
        source: what it is trained on.
        out: run folder, which the main process alone uses; made when missing.
        processes: this process, alone or with others.
        seed: of weights, crops and rendering.
        names: of preset, variant, recipe, curator and the network to start from, for the records.
        start: the network to start from.
    """

    def __init__(
        self,
        config: NRKNetConfig,
        recipe: Recipe,
        source: Source,
        out: Path,
        processes: Processes,
        seed: int,
        *,
        names: dict[str, str | None] | None = None,
        start: NRKNet | None = None,
    ) -> None:
        self.recipe, self.source, self.out, self.processes, self.seed = recipe, source, out, processes, seed
        self.names = names or {}
        self.learner = Learner(config, recipe, processes, seed=seed, has_radius=source.has_radius, start=start)
        self.seconds, self.best = 0.0, -math.inf
        self.validated = -1  # the step whose weights were validated last
        # crops per pool and steps of pre-fitting; set by the first session's budget, and kept
        self.pool: int | None = None
        self.prefit_steps = 0
        self._durations: deque[float] = deque(maxlen=LOG_EVERY)
        if processes.is_main:
            out.mkdir(parents=True, exist_ok=True)

    @property
    def step(self) -> int:
        """Steps that are done, in this session and earlier ones."""
        return self.learner.step

    @cached_property
    def crops(self) -> CropStream[Any]:
        """The training crops."""
        assert self.pool is not None
        return self.source.stream(self.processes, pool=self.pool, seed=self.seed)

    @cached_property
    def validation(self) -> Crops:
        """Crops of the held-out photos."""
        return self.source.validation(self.processes.device)

    def run(self, *, steps: int | None, minutes: float | None, on_step: OnStep | None = None) -> None:
        """Train until the budget is spent, validating and saving on the way; nothing when it is spent already.

        Raises:
            TrainingStopped: Ctrl-C or SIGTERM came; the checkpoint is saved.
            FloatingPointError: the loss or the gradient is not finite; the last checkpoint is kept.
        """

        def progress() -> float:
            return self.step / steps if steps else self.seconds / (60 * (minutes or 1))

        if progress() >= 1 and self.validated == self.step:
            return
        if self.pool is None:
            self.pool = self.recipe.pool_for(steps)
            self.prefit_steps = self.recipe.prefit_for(steps) if self.learner.prefits else 0
        tracker = Tracker(self.out, step=self.step) if self.processes.is_main else None
        with closing(tracker) if tracker is not None else nullcontext():
            if tracker is not None:
                tracker.describe(self._facts(steps, minutes))
            with closing(self.crops):
                if self.step == 0:
                    self.learner.prefit(self.crops, self.prefit_steps)
                self.learner.join()
                with StopRequest() as stop:
                    self._train_until_spent(progress, stop, tracker, on_step)
            if tracker is not None and self.validated != self.step:
                self._validate_and_keep(tracker)
        self.learner.check_agreement()

    def _train_until_spent(
        self, progress: Callable[[], float], stop: StopRequest, tracker: Tracker | None, on_step: OnStep | None
    ) -> None:
        saved = validated = last = time.monotonic()
        self.learner.model.train()
        while progress() < 1:
            self.learner.pass_milestones(progress(), self.export())
            batch = self.crops.at(self.step, side=self.recipe.side_at(progress()))
            record = self.learner.train_step(batch, progress())
            now = time.monotonic()
            self._durations.append(now - last)
            self.seconds, stopped = self.processes.agree(self.seconds + now - last, bool(stop))
            last = now
            record["crops_per_s"] = self._crops_per_second()
            if on_step is not None:
                on_step({**record, "step": self.step, "progress": min(progress(), 1.0), "seconds": self.seconds})
            if tracker is not None:
                if self.step == 1 or self.step % LOG_EVERY == 0 or progress() >= 1:
                    tracker.steps(self.step, self.seconds, record)
                if not stopped and now - validated > self.recipe.validate_every:
                    self._validate_and_keep(tracker)
                    validated = saved = last = time.monotonic()
                elif stopped or now - saved > self.recipe.save_every:
                    self.save()
                    saved = time.monotonic()
            if stopped:
                where = self.out / CHECKPOINT_FILE
                raise TrainingStopped(f"stopped after step {self.step}; the same command goes on from {where}")

    def _crops_per_second(self) -> float:
        crops = len(self._durations) * self.recipe.batch
        return round(crops / max(sum(self._durations), 1e-9), 2)

    def _validate_and_keep(self, tracker: Tracker) -> None:
        """Validate the averaged weights; export them when they are the best so far; save."""
        averaged = self.learner.averaged
        scores = validate(averaged, self.validation)
        log.info("step %d, %.0f s: %s", self.step, self.seconds, scores)
        tracker.scores(self.step, self.seconds, scores, pictures(averaged, self.validation))
        if scores["gain_db"] > self.best:
            self.best = scores["gain_db"]
            note = {"step": self.step, "seconds": round(self.seconds), "validation": scores, **self._origin()}
            save_model(averaged, self.export(), training=note)
        self.validated = self.step
        self.save()

    def _origin(self) -> dict[str, Any]:
        """How the weights come about, to be kept beside them."""
        return {
            "names": self.names,
            "data": self.source.summary(),
            "crops": {"per_step": self.recipe.batch, "side": self.recipe.size},
            "device": self.processes.device.type,
            "processes": self.processes.count,
            "seed": self.seed,
        }

    def _facts(self, steps: int | None, minutes: float | None) -> dict[str, Any]:
        """Every choice of the run."""
        return {
            **self._origin(),
            "budget": {"steps": steps, "minutes": minutes},
            "pool": self.pool,
            "prefit_steps": self.prefit_steps,
            "precision": "bfloat16 autocast" if self.processes.device.type == "cuda" else "float32",
            "versions": {"nrknet": __version__, "torch": torch.__version__},
            "config": self.learner.model.config.to_dict(),
            "recipe": asdict(self.recipe),
        }

    def _identity(self) -> dict[str, str]:
        """What must be the same in all sessions of a run; the number of processes need not."""
        values = {
            "network": self.learner.model.config.to_dict(),
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "start": self.names.get("init"),
            "curator": self.names.get("curator"),
            "data set": self.source.summary(),
        }
        return {name: json.dumps(value, sort_keys=True) for name, value in values.items()}

    def save(self) -> None:
        """Write checkpoint.pt."""
        run = {name: getattr(self, name) for name in _KEPT}
        write_checkpoint(self.out, {"identity": self._identity(), "run": run, **self.learner.state()})

    def resume(self) -> bool:
        """Go on from the main process's checkpoint.pt where there is one; the others need no such file.

        Raises:
            ValueError: the checkpoint cannot be read, or belongs to another run; AgreedError in several processes.
        """
        path = self.out / CHECKPOINT_FILE
        found = self.processes.gather(str(path) if path.exists() else None)
        if found[0] is None and any(found):
            index = next(i for i, place in enumerate(found) if place is not None)
            raise AgreedError(
                f"process {index} finds {found[index]}, and process 0, which would write {path}, finds none there; "
                "expected one folder for both, or the machine with the checkpoint to be the first (--node_rank 0)"
            )
        state = self.processes.share(self.processes.together(self._read_checkpoint))
        if state is None:
            return False
        self.learner.load(state)
        for name in _KEPT:
            setattr(self, name, state["run"][name])
        return True

    def _read_checkpoint(self) -> dict[str, Any] | None:
        """The checkpoint of this run, in the main process."""
        state = read_checkpoint(self.out) if self.processes.is_main else None
        if state is None:
            return None
        different = [name for name, value in self._identity().items() if state["identity"].get(name) != value]
        if different:
            path = self.out / CHECKPOINT_FILE
            raise ValueError(f"{path} is of a run with another {', '.join(different)}; choose an empty --out folder")
        return state

    def export(self) -> Path:
        """The folder of the best averaged weights."""
        return self.out / "model"
