"""What a training run leaves to look at: run.json, log.jsonl, and curves and pictures for TensorBoard."""

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from nrknet.replacement import replace_file

log = logging.getLogger(__name__)

RUN_FILE, LOG_FILE, CURVES_FOLDER = "run.json", "log.jsonl", "tensorboard"
_CURVES = {"loss": "loss/total", "rate": "train/rate", "gain_db": "train/gain_db", "gradient": "train/gradient",
           "crops_per_s": "train/crops_per_s"}  # fmt: skip
"""Where a value is shown; what is not here is a term of the loss."""


class Tracker:
    """The records of one run, going on where an earlier session was.

    Args:
        folder: the run's; nothing is written before there is something to record.
        step: where this session begins; what an earlier one recorded beyond it, and then lost, is dropped.
        validated: the step of the last validation that is not lost; by default all up to `step` are kept.
    """

    def __init__(self, folder: Path, *, step: int, validated: int | None = None) -> None:
        self._folder, self._step = folder, step
        self._validated = step if validated is None else validated
        self._writer: Any = None
        self._has_curves: bool | None = None
        self._drop_lost_lines()

    def _drop_lost_lines(self) -> None:
        path = self._folder / LOG_FILE
        if not path.exists():
            return
        text = path.read_text(encoding="utf-8", errors="replace")
        kept = "".join(f"{line}\n" for line in text.splitlines() if self._is_kept(line))
        if kept != text:
            replace_file(path, [kept.encode()])

    def _is_kept(self, line: str) -> bool:
        try:
            record = json.loads(line)
            return record["step"] <= (self._validated if "validation" in record else self._step)
        except (ValueError, TypeError, LookupError):  # cut short when the session was killed, or spoilt by the disk
            return False

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Write run.json: every choice of the run."""
        replace_file(self._folder / RUN_FILE, [(json.dumps(facts, indent=2) + "\n").encode()])

    def steps(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Record the values of a training step."""
        self._line({"step": step, "seconds": round(seconds, 1), **values})
        if writer := self._curves():
            for name, value in values.items():
                writer.add_scalar(_CURVES.get(name, f"loss/{name}"), value, step)

    def skipped(self, step: int, seconds: float, problem: str) -> None:
        """Record a step that was left out, and why."""
        self._line({"step": step, "seconds": round(seconds, 1), "skipped": problem})
        if writer := self._curves():
            writer.add_scalar("train/skipped", 1.0, step)

    def scores(self, step: int, seconds: float, scores: Mapping[str, float], rows: Sequence[Tensor]) -> None:
        """Record a validation; `rows` are pictures (3,H,W) in [0,1]."""
        self._line({"step": step, "seconds": round(seconds, 1), "validation": dict(scores)})
        if writer := self._curves():
            for name, value in scores.items():
                writer.add_scalar(f"validation/{name}", value, step)
            for number, row in enumerate(rows):
                writer.add_image(f"validation/crop {number}", row, step)
            writer.flush()

    def _line(self, record: Mapping[str, Any]) -> None:
        with open(self._folder / LOG_FILE, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _curves(self) -> Any:
        """TensorBoard's writer, made when first needed; None where TensorBoard is not installed."""
        if self._has_curves is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                log.info("no TensorBoard here (pip install 'nrknet[train]'): the figures are in %s alone", LOG_FILE)
                self._has_curves = False
            else:
                self._has_curves = True
                _hush_writer()
                self._writer = SummaryWriter(str(self._folder / CURVES_FOLDER), purge_step=self._step + 1)
        return self._writer

    def close(self) -> None:
        """Write out what is still in memory."""
        if self._writer is not None:
            self._writer.close()


def _hush_writer() -> None:
    """Have nothing printed of an error in TensorBoard's thread, which is raised where the next value is written."""
    before = threading.excepthook
    if getattr(before, "hushes_writer", False):
        return

    def hook(args: threading.ExceptHookArgs) -> None:
        if not (isinstance(args.exc_value, OSError) and type(args.thread).__name__ == "_AsyncWriterThread"):
            before(args)

    hook.hushes_writer = True  # type: ignore[attr-defined]
    threading.excepthook = hook
