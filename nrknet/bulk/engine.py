"""A collection from its sources to the manifest: what is left to do, passes until nothing is, and how it went."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nrknet._version import __version__
from nrknet.bulk.cluster import Pool, cluster, share_out
from nrknet.bulk.lock import Lock
from nrknet.bulk.manifest import WORK, Manifest, Record, new_record
from nrknet.bulk.sources import Sorted, Source, find_sources, sort_out
from nrknet.bulk.storage import Folder, LocalFolder, open_folder
from nrknet.bulk.worker import Settings

WAVE = 4000
"""Photos per worker that Ray Data has at a time; each takes some kilobytes in the starting process."""


@dataclass(frozen=True)
class Options:
    """How a collection is restored.

    Args:
        model: as for `load_model`, or "default".
        device: "auto", "cpu", "cuda" or "mps".
        precision: "auto" or "exact".
        tile: side in pixels, or "auto".
        strength: 0 to 1, and
        terms: from 1, or None, as for `Deblurrer`.
        skip_existing: take any result that is there for a good one.
        workers: how many, or None for as many as there are graphics cards, or cores with 2 GB each.
        retries: how often a photo is tried again whose worker died.
        ray_address: of a cluster, or None.
    """

    model: str = "default"
    device: str = "auto"
    precision: str = "auto"
    tile: int | str = "auto"
    strength: float = 1.0
    terms: int | None = None
    skip_existing: bool = False
    workers: int | None = None
    retries: int = 3
    ray_address: str | None = None

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "cuda", "mps"):
            raise ValueError(f"device must be auto, cpu, cuda or mps with Ray, which hands out the graphics cards, "
                             f"got {self.device!r}")  # fmt: skip
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be 1 or more, got {self.workers}")
        if self.retries < 0:
            raise ValueError(f"retries must be 0 or more, got {self.retries}")


@dataclass(frozen=True)
class Outcome:
    """How many photos were restored, left alone and not restored, and where the manifest is."""

    num_done: int
    num_skipped: int
    num_failed: int
    manifest: str


class Collection:
    """Photos and the folder for their results.

    Args:
        paths: files, folders and URLs.
        out: a folder or a URL.

    Raises:
        StorageError: the output folder's URL is of a kind not known here.
    """

    def __init__(self, paths: Sequence[str], out: str) -> None:
        self.out: Folder = open_folder(out)
        self.sources, self.problems = find_sources(paths, self.out)

    def restore(
        self, options: Options, report: Callable[[Record], object], begin: Callable[[int], object] = lambda _: None
    ) -> Outcome:
        """Restore what is not done yet, and keep the manifest.

        Args:
            options: how.
            report: called with the manifest's row of each photo that is settled.
            begin: called once with how many photos are to be restored.

        Raises:
            ValueError: the network cannot be loaded, or a tile is too small; one sentence.
            Locked: another run is at work on this folder.
            StorageError: the output folder cannot be written, or its manifest not be read.
            ClusterError: Ray is not there, or lost.
        """
        counts: Counter[str] = Counter()
        network, how = _network(options)
        with ExitStack() as at_end:
            if isinstance(self.out, LocalFolder):
                at_end.callback(_remove_empty, self.out.folder / WORK)
            at_end.enter_context(Lock(self.out))
            manifest = Manifest(self.out)
            at_end.callback(_finish, manifest, self.out)
            batch = self._sort(manifest, options, how)
            begin(len(batch.todo))
            # Closed, so that no worker is at work any more when the manifest is.
            records = at_end.enter_context(closing(_settle(batch, self.out, options, network, how)))
            for record in records:
                manifest.add(record)
                if record["status"] != "skipped":
                    counts[record["status"]] += 1
                    report(record)
        num_skipped = len(batch.recorded) + len(batch.existing)
        return Outcome(counts["done"], num_skipped, counts["failed"], manifest.path)

    def _sort(self, manifest: Manifest, options: Options, how: Record) -> Sorted:
        return sort_out(
            self.sources, self.out, skip_existing=options.skip_existing,
            is_recorded=lambda source, found: manifest.holds(source, found, how),
        )  # fmt: skip


def _settle(
    batch: Sorted, out: Folder, options: Options, network: tuple[dict[str, Any], bytes], how: Record
) -> Generator[Record, None, None]:
    """What becomes of every photo that no run recorded, as the manifest has it."""
    for source, why in batch.refused:
        yield new_record(source, "failed", why, how)
    for source in batch.existing:
        yield new_record(source, "skipped", "its result was there before", how)
    if batch.todo:
        yield from _restore(batch.todo, out, options, network, how)


def _restore(
    todo: Sequence[Source], out: Folder, options: Options, network: tuple[dict[str, Any], bytes], how: Record
) -> Generator[Record, None, None]:
    """Restore photos on Ray, wave after wave; those that came back from no worker go with a later wave."""
    with cluster(options.ray_address) as ray:
        workers = share_out(ray, number=options.workers, device=options.device)
        settings = Settings(out.place, how, options.device, options.tile, workers.threads, options.retries)
        pool = Pool(ray, workers, settings, network)
        lost: Counter[str] = Counter()
        queue = list(todo)
        while queue:
            wave, queue = queue[: WAVE * workers.number], queue[WAVE * workers.number :]
            missing = {source.target: source for source in wave}
            for record in pool.restore(wave):
                if missing.pop(record["target"], None):
                    yield record
            lost.update(missing)
            for target, source in missing.items():
                if lost[target] <= options.retries:
                    queue.append(source)
                else:
                    why = f"no worker reported on it, {lost[target]} times"
                    yield new_record(source, "failed", why, how) | {"attempts": lost[target]}
            pool.forget([source.target for source in wave if source.target not in missing])


def _network(options: Options) -> tuple[tuple[dict[str, Any], bytes], Record]:
    """The network as it is sent to the workers, and what the manifest says about it."""
    from safetensors.torch import save

    from nrknet.inference import Deblurrer
    from nrknet.weights import bundled_models

    name = next(iter(bundled_models()), options.model) if options.model == "default" else options.model
    model = Deblurrer(name, device="cpu", precision=options.precision, tile=options.tile).model
    config = model.config.to_dict()
    tensors = save({key: value.detach().contiguous() for key, value in sorted(model.state_dict().items())})
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode() + tensors).hexdigest()
    how = {
        "model": name, "weights": digest[:16], "precision": options.precision, "tile": str(options.tile),
        "strength": float(options.strength), "terms": options.terms, "nrknet_version": __version__,
    }  # fmt: skip
    return (config, tensors), how


def _finish(manifest: Manifest, out: Folder) -> None:
    """Complete the manifest; only then is nothing lost with what dead workers left. The lock stays."""
    manifest.close()
    if isinstance(out, LocalFolder):
        shutil.rmtree(out.folder / WORK / "tmp", ignore_errors=True)
        for name in ("records", "parts"):
            _remove_empty(out.folder / WORK / name)


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # there is something in it, or it is not there
        pass
