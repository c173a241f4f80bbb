"""The training loop: steps until the budget is spent, validation, checkpoints that resume, export."""

import json
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from nrknet._version import __version__
from nrknet.config import NRKNetConfig
from nrknet.learner import Learner
from nrknet.model import NRKNet
from nrknet.processes import Processes
from nrknet.recipes import Recipe
from nrknet.run_folder import RunFolder
from nrknet.sources import Source
from nrknet.stopping import SAVE_STEPS, StopRequest, TrainingStopped
from nrknet.stream import Crops, CropStream
from nrknet.validation import pictures, validate

log = logging.getLogger(__name__)

OnStep = Callable[[dict[str, float]], None]
LOG_EVERY = 50
"""Steps between two records; the first and the last step are recorded too."""
_KEPT = ("seconds", "best", "validated", "pool", "prefit_steps")
"""What a checkpoint holds of a Trainer, beside its learner."""


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
        save_steps: save a checkpoint after so many steps at the latest.
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
        save_steps: int = SAVE_STEPS,
    ) -> None:
        self.recipe, self.source, self.processes, self.seed = recipe, source, processes, seed
        self.names, self.save_steps = names or {}, save_steps
        self.learner = Learner(config, recipe, processes, seed=seed, has_radius=source.has_radius, start=start)
        self.seconds, self.best = 0.0, -math.inf
        self.validated = -1  # the step whose weights were validated last
        # crops per pool and steps of pre-fitting; set by the first session's budget, and kept
        self.pool: int | None = None
        self.prefit_steps = 0
        self._durations: deque[float] = deque(maxlen=LOG_EVERY)
        self._resumed = False
        self.folder = RunFolder(out, processes)

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
            FloatingPointError: too many steps in a row had no finite loss or gradient; the last checkpoint is kept.
            RunFolderError: the run's folder takes nothing more; the last checkpoint is kept.
        """

        def progress() -> float:
            return self.step / steps if steps else self.seconds / (60 * (minutes or 1))

        if progress() >= 1 and self.validated == self.step:
            return
        if self.pool is None:
            self.pool = self.recipe.pool_for(steps)
            self.prefit_steps = self.recipe.prefit_for(steps) if self.learner.prefits else 0
        with self.folder.recording(self.step, self.validated, self._facts(steps, minutes)):
            with closing(self.crops):
                is_new = self.step == 0 and not self._resumed
                if is_new:
                    self.learner.prefit(self.crops, self.prefit_steps)
                with StopRequest() as stop:
                    if is_new and self.learner.prefits and self.processes.is_main:
                        self.save()  # pre-fitting may have taken minutes
                    self.learner.join()
                    self._train_until_spent(progress, stop, on_step)
            if self.processes.is_main and self.validated != self.step:
                self._validate_and_keep()
        self.learner.check_agreement()

    def _train_until_spent(self, progress: Callable[[], float], stop: StopRequest, on_step: OnStep | None) -> None:
        saved = validated = last = time.monotonic()
        self.learner.model.train()
        while progress() < 1:
            self.learner.pass_milestones(progress(), self.folder.best_weights)
            batch = self.crops.at(self.step, side=self.recipe.side_at(progress()))
            record = self.learner.train_step(batch, progress())
            now = time.monotonic()
            self._durations.append(now - last)
            self.seconds, stopped = self.processes.agree(self.seconds + now - last, bool(stop))
            last = now
            record["crops_per_s"] = self._crops_per_second()
            if on_step is not None:
                on_step({**record, "step": self.step, "progress": min(progress(), 1.0), "seconds": self.seconds})
            self._record(record, is_last=progress() >= 1)
            if self.processes.is_main:
                if not stopped and now - validated > self.recipe.validate_every:
                    self._validate_and_keep()
                    validated = saved = last = time.monotonic()
                elif stopped or now - saved > self.recipe.save_every or self._unsaved() >= self.save_steps:
                    self.save()
                    saved = time.monotonic()
            if stopped:
                where = self.folder.checkpoint
                raise TrainingStopped(f"stopped after step {self.step}; the same command goes on from {where}")

    def _record(self, record: dict[str, float], *, is_last: bool) -> None:
        """Record a step where it is due; one that was left out always, and too many of those end the run."""
        skips = self.learner.skips
        if skips.problem is not None:
            self.folder.record_skipped(self.step, self.seconds, skips.problem)
            skips.check(self.step)
        elif self.step == 1 or self.step % LOG_EVERY == 0 or is_last:
            self.folder.record(self.step, self.seconds, record)

    def _unsaved(self) -> int:
        """Steps that would be lost now."""
        return self.step - (self.folder.saved or 0)

    def _crops_per_second(self) -> float:
        crops = len(self._durations) * self.recipe.batch
        return round(crops / max(sum(self._durations), 1e-9), 2)

    def _validate_and_keep(self) -> None:
        """Validate the averaged weights; export them when they are the best so far; save."""
        averaged = self.learner.averaged
        scores = validate(averaged, self.validation)
        log.info("step %d, %.0f s: %s", self.step, self.seconds, scores)
        self.folder.record_scores(self.step, self.seconds, scores, pictures(averaged, self.validation))
        if scores["gain_db"] > self.best or self.folder.best_weights is None:
            self.best = max(self.best, scores["gain_db"])
            note = {"step": self.step, "seconds": round(self.seconds), "validation": scores, **self._origin()}
            self.folder.keep_best(averaged, note)
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
        """Write a checkpoint."""
        run = {name: getattr(self, name) for name in _KEPT}
        self.folder.save(self.step, {"identity": self._identity(), "run": run, **self.learner.state()})

    def resume(self) -> bool:
        """Go on from the main process's checkpoint where there is one; the others need no such file.

        Raises:
            ValueError: the checkpoint cannot be read, or belongs to another run; AgreedError in several processes.
        """
        state = self.folder.read(self._identity())
        if state is None:
            return False
        self.learner.load(state)
        for name in _KEPT:
            setattr(self, name, state["run"][name])
        self._resumed = True
        return True
