"""A worker of Ray: holds one network, and restores one photo after the other from storage to storage."""

import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nrknet.bulk.lock import is_running
from nrknet.bulk.manifest import WORK, Record, finished, new_record, now, sha256, write_record
from nrknet.bulk.sources import Source
from nrknet.bulk.storage import LocalFolder, StorageError, is_url, open_folder, open_url, persist


@dataclass(frozen=True)
class Settings:
    """What every worker is told.

    Args:
        out: the output folder, a path or a URL.
        how: model, weights, precision, tile, strength, terms and nrknet_version, as the manifest has them.
        device: "auto", "cpu", "cuda" or "mps".
        tile: side in pixels, or "auto".
        threads: of PyTorch, per worker.
        retries: how often a photo is tried again whose worker died, and storage that does not answer.
    """

    out: str
    how: Record
    device: str
    tile: int | str
    threads: int
    retries: int


class Attempts:
    """Counts how often each photo was begun, in a process that outlives the workers; and hands out the network.

    Args:
        config: of the network, as `NRKNetConfig.to_dict` gives it.
        weights: its tensors, as safetensors.
    """

    def __init__(self, config: dict[str, Any], weights: bytes) -> None:
        self._network = config, weights
        self._begun: dict[str, int] = {}

    def network(self) -> tuple[dict[str, Any], bytes]:
        """Configuration and tensors."""
        return self._network

    def begin(self, target: str) -> int:
        """Count one more attempt at a result, and return which it is, from 1."""
        self._begun[target] = self._begun.get(target, 0) + 1
        return self._begun[target]

    def forget(self, targets: list[str]) -> None:
        """Drop the counts of results that are settled."""
        for target in targets:
            self._begun.pop(target, None)


class Restorer:
    """What Ray Data calls with each photo.

    Args:
        settings: the same for all workers.
        attempts: the actor that runs `Attempts`.
    """

    def __init__(self, settings: Settings, attempts: Any) -> None:
        import ray
        import torch
        from safetensors.torch import load

        from nrknet.config import NRKNetConfig
        from nrknet.inference import Deblurrer
        from nrknet.model import NRKNet

        torch.set_num_threads(settings.threads)
        self._settings = settings
        self._attempts = attempts
        self._out = open_folder(settings.out)
        self._scratch = _scratch_folder(self._out)
        config, weights = ray.get(attempts.network.remote())
        model = NRKNet(NRKNetConfig.from_dict(config))
        model.load_state_dict(load(weights))
        precision = settings.how["precision"]
        self._deblurrer = Deblurrer(model, device=_device(settings.device), precision=precision, tile=settings.tile)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Restore the one photo of a batch, and return the one record of what became of it, as JSON."""
        place, target, size, version = (batch[name][0] for name in ("place", "target", "size", "version"))
        record = self.settle(Source(str(place), str(target), int(size), str(version)))
        return {"record": np.array([json.dumps(record)], dtype=object)}

    def settle(self, source: Source) -> Record:
        """Restore a photo if it has not killed too many workers, and say what became of it."""
        import ray

        started = time.monotonic()
        attempt = ray.get(self._attempts.begin.remote(source.target))
        record = new_record(source, "failed", None, self._settings.how)
        record |= {"worker": f"{socket.gethostname()}:{os.getpid()}", "attempts": attempt}
        try:
            earlier = self._finished(source) if attempt > 1 else None
            if earlier is not None:  # that worker died between the result and its report
                return earlier
            if attempt > self._settings.retries + 1:
                deaths = attempt - 1
                return record | {"attempts": deaths, "reason": f"its worker died {deaths} times"}
            return self._restore(source, record, started)
        except Exception as error:  # libraries raise anything; the others go on
            return record | {"reason": _reason(error), **_ended(started)}

    def _finished(self, source: Source) -> Record | None:
        return persist(lambda: finished(self._out, source.target), self._out.path(source.target))

    def _restore(self, source: Source, record: Record, started: float) -> Record:
        from nrknet.imageio import photo_size
        from nrknet.inference import restore_file

        target = self._out.path(source.target)
        with self._temporary() as folder:
            photo = self._fetch(source.place, folder)
            result = folder / ("result" + Path(source.target).suffix)
            try:
                how = {name: self._settings.how[name] for name in ("strength", "terms")}
                restore_file(self._deblurrer, photo, result, **how)
            except ValueError as error:  # which names the files here, not the user's
                raise ValueError(str(error).replace(str(photo), source.place).replace(str(result), target)) from error
            width, height = photo_size(result)
            record |= {
                "status": "done", "width": width, "height": height, "megapixels": round(width * height / 1e6, 3),
                "target_bytes": result.stat().st_size, "target_sha256": sha256(result), **_ended(started),
            }  # fmt: skip
            retries = self._settings.retries
            try:
                persist(lambda: write_record(self._out, record), target, retries=retries)
                persist(lambda: self._out.put(result, source.target), target, retries=retries)
            except StorageError:
                record["status"] = "failed"
                raise
        return record

    def _fetch(self, place: str, folder: Path) -> Path:
        if not is_url(place):
            return Path(place)
        system, path = open_url(place)
        photo = folder / "photo"
        persist(lambda: system.get_file(path, str(photo)), place, retries=self._settings.retries)
        return photo

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            yield Path(folder)


def _ended(started: float) -> Record:
    return {"seconds": round(time.monotonic() - started, 3), "finished_at": now()}


def _device(device: str) -> str:
    """For "auto" the graphics card that Ray gave this worker, the others are hidden from it; else the CPU."""
    import ray

    if device != "auto":
        return device
    return "cuda" if ray.get_gpu_ids() else "cpu"


def _scratch_folder(out: object) -> Path:
    """A folder for this process: where results can be moved from if possible; those of dead workers are deleted."""
    here = out.folder / WORK / "tmp" if isinstance(out, LocalFolder) else Path(tempfile.gettempdir()) / "nrknet-bulk"
    host = socket.gethostname()
    for left in here.glob(f"{host}-*"):
        pid = left.name.rpartition("-")[2]
        if pid.isdecimal() and not is_running(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    return here / f"{host}-{os.getpid()}"


def _reason(error: Exception) -> str:
    """What went wrong, in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return "not enough memory; a smaller --tile needs less"
    if isinstance(error, (ValueError, StorageError)) and text:
        return text
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return f"unexpected {type(error).__name__}: {text}"
