"""The folder of a training run: its checkpoints, records and best network, which agree whatever stops the run."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from nrknet.checkpoint import CHECKPOINT_FILE, has_checkpoint, read_checkpoint, write_checkpoint
from nrknet.config import NRKNetConfig
from nrknet.folder import TRAINING_FILE, read_description, read_weights, write_folder
from nrknet.model import NRKNet
from nrknet.processes import AgreedError, Processes
from nrknet.tracking import Tracker

log = logging.getLogger(__name__)

MODEL_FOLDER = "model"


class RunFolderError(OSError):
    """The run's folder takes nothing more; the message is one sentence that says from where the run goes on."""


class RunFolder:
    """Where a run is kept; the main process alone reads and writes there, and the others may call all the same.

    Args:
        path: made when missing.
        processes: this process, alone or with others.
    """

    def __init__(self, path: Path, processes: Processes) -> None:
        self.path, self.is_main, self._processes = path, processes.is_main, processes
        self.saved: int | None = None  # the step of the last checkpoint
        self._best: dict[str, Any] | None = None  # configuration and weights of the best network, and their origin
        self._tracker: Tracker | None = None
        if self.is_main:
            path.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        """The file of the last checkpoint."""
        return self.path / CHECKPOINT_FILE

    @property
    def model(self) -> Path:
        """The folder of the best averaged weights."""
        return self.path / MODEL_FOLDER

    def read(self, identity: Mapping[str, str]) -> dict[str, Any] | None:
        """The main process's checkpoint, in all processes; None where there is none. The others need no such file.

        The network in model/ becomes the one that was the best when the checkpoint was written.

        Args:
            identity: what must be the same in all sessions of a run.

        Raises:
            ValueError: it cannot be read, or belongs to another run; AgreedError in several processes.
        """
        found = self._processes.gather(str(self.checkpoint) if has_checkpoint(self.path) else None)
        if found[0] is None and any(found):
            index = next(i for i, place in enumerate(found) if place is not None)
            raise AgreedError(
                f"process {index} finds {found[index]}, and process 0, which would write {self.checkpoint}, finds none "
                "there; expected one folder for both, or the machine with the checkpoint to be the first "
                "(--node_rank 0)"
            )
        state = self._processes.share(self._processes.together(lambda: self._read_here(identity)))
        if state is not None:
            self.saved = state["progress"]["step"]
            if self.is_main:
                self._best = state["exported"] if "exported" in state else self._exported_before()
                self._restore_best()
        return state

    def _read_here(self, identity: Mapping[str, str]) -> dict[str, Any] | None:
        state = read_checkpoint(self.path) if self.is_main else None
        if state is None:
            return None
        different = [name for name, value in identity.items() if state["identity"].get(name) != value]
        if different:
            text = f"{self.checkpoint} is of a run with another {', '.join(different)}; choose an empty --out folder"
            raise ValueError(text)
        return state

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint, and keep the one before.

        Args:
            step: how many are done.
            state: what `read` gives back.
        """
        with self._writing():
            write_checkpoint(self.path, {**state, "exported": self._best})
        self.saved = step

    @property
    def best_weights(self) -> dict[str, Tensor] | None:
        """Those of the best validation so far."""
        return None if self._best is None else self._best["weights"]

    def keep_best(self, network: NRKNet, note: dict[str, Any]) -> None:
        """Write the best network so far to model/, and have the next checkpoint hold it.

        Args:
            network: on any device.
            note: how its weights came about, for training.json.
        """
        weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
        self._best = {"config": network.config.to_dict(), "weights": weights, "note": note}
        self._restore_best()

    def _restore_best(self) -> None:
        """Have model/ hold the best network, whatever a session that was lost has put there."""
        if self._best is not None:
            config, weights, note = (self._best[name] for name in ("config", "weights", "note"))
            with self._writing():
                write_folder(self.model, NRKNetConfig.from_dict(config), weights, training=note, only_changes=True)

    def _exported_before(self) -> dict[str, Any] | None:
        """The best network of a run whose checkpoint was written before it was kept in there."""
        try:
            config, _ = read_description(self.model)
            note = json.loads((self.model / TRAINING_FILE).read_text(encoding="utf-8"))
            return {"config": config.to_dict(), "weights": read_weights(self.model), "note": note}
        except (OSError, ValueError):  # none was exported yet, or not to the end
            return None

    # ------------------------------------------------------------------------------------------------------- records

    @contextmanager
    def recording(self, step: int, validated: int, facts: Mapping[str, Any]) -> Iterator[None]:
        """Within it, this session's records go on where the checkpoint was; run.json says how it was started.

        Args:
            step: where this session begins.
            validated: the step of the last validation, or -1.
            facts: every choice of the run.
        """
        if not self.is_main:
            yield
            return
        with self._writing():
            self._tracker = Tracker(self.path, step=step, validated=validated)
            self._tracker.describe(facts)
        is_whole = False
        try:
            yield
            is_whole = True
        finally:
            # after an error that error is what counts, and goes on its way
            with self._writing() if is_whole else suppress(OSError):
                self._tracker.close()

    def record(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Record the values of a step."""
        if self._tracker is not None:
            with self._writing():
                self._tracker.steps(step, seconds, values)

    def record_skipped(self, step: int, seconds: float, problem: str) -> None:
        """Record a step that was left out, and say so."""
        if self._tracker is not None:
            log.warning("step %d is left out: %s", step, problem)
            with self._writing():
                self._tracker.skipped(step, seconds, problem)

    def record_scores(self, step: int, seconds: float, scores: Mapping[str, float], rows: Sequence[Tensor]) -> None:
        """Record a validation; `rows` are pictures (3,H,W) in [0,1]."""
        if self._tracker is not None:
            with self._writing():
                self._tracker.scores(step, seconds, scores, rows)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Within it, a disk that is full or read-only ends the run with one sentence."""
        try:
            yield
        except OSError as error:
            why = error.strerror or str(error)
            then = "begins anew" if self.saved is None else f"goes on from the checkpoint of step {self.saved}"
            raise RunFolderError(
                f"{error.filename or self.path} cannot be written: {why[:1].lower()}{why[1:]}; training has stopped, "
                f"and once that is mended the same command {then}"
            ) from error
