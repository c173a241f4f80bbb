"""Ray: a cluster of its own on this machine or one that is there, its workers, and Ray Data's pass over photos."""

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from nrknet.bulk.manifest import Record
from nrknet.bulk.sources import Source
from nrknet.bulk.worker import Attempts, Restorer, Settings

logger = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 200 * 2**20
"""Only names, records and the network pass through it."""
WORKER_BYTES = 2 * 2**30
"""A worker on a CPU needs up to 1.6 GB; a machine gets no more workers by itself than it has room for."""
STARTS = 3


class ClusterError(Exception):
    """Ray is not there, or cannot do what it should; the message is one sentence."""


@dataclass(frozen=True)
class Workers:
    """How many there are, and what each gets.

    Args:
        number: of workers.
        threads: of PyTorch, per worker.
        cpus: that Ray sets aside, per worker; a part of one where there are more workers than cores.
        gpus: that Ray sets aside, per worker.
    """

    number: int
    threads: int
    cpus: float
    gpus: int


@contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """Ray, connected; a cluster on this machine is started and stopped where no address is given.

    Args:
        address: of a cluster, or None for the one that RAY_ADDRESS names, or for one of this run alone.

    Raises:
        ClusterError: Ray is not installed, or does not start, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray Data itself does what Ray then complains about
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray wants to be told, or it warns
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ClusterError('the engine "ray" needs Ray; install it with: pip install "nrknet[ray]"') from error
    address = address or os.environ.get("RAY_ADDRESS")
    _be_quiet(ray)
    try:
        _connect(ray, address) if address else _start(ray)
        yield ray
    finally:
        ray.shutdown()


def _be_quiet(ray: Any) -> None:
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # a photo whose record went missing is sent again


def _connect(ray: Any, address: str) -> None:
    try:
        with _silence():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # connection errors of several libraries
        why = _last_line(error)
        if "InvalidAuthToken" in str(error.__cause__):
            why = "it wants a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN if it is not in ~/.ray/auth_token"
        raise ClusterError(f"there is no Ray cluster to be reached at {address} ({why})") from error


def _start(ray: Any) -> None:
    options = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": OBJECT_STORE_BYTES}
    for attempt in range(1, STARTS + 1):
        try:
            with _silence():
                ray.init(address="local", logging_level=logging.ERROR, **options)
            return
        except Exception as error:  # Ray raises Exception itself here
            ray.shutdown()
            if attempt == STARTS:
                raise ClusterError(f"Ray does not start on this machine ({_last_line(error)})") from error
            # It gives its own processes 15 seconds each, which a busy machine may not keep at the first try.
            logger.warning("Ray did not start, trying again")


@contextmanager
def _silence() -> Iterator[None]:
    """Keep off the error stream what Ray's C++ says while it starts; what matters comes as an exception."""
    sys.stderr.flush()
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def share_out(ray: Any, *, number: int | None, device: str) -> Workers:
    """Decide how many workers there are, and divide the cluster's cores among them.

    Args:
        ray: connected.
        number: of workers, or None: one for each graphics card; without any, one for each core that has
            2 GB of memory.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        ClusterError: graphics cards are asked for, and there are none.
    """
    there = ray.cluster_resources()
    cores, cards = max(1, int(there.get("CPU", 1))), int(there.get("GPU", 0))
    if device == "cuda" and not cards:
        raise ClusterError("the Ray cluster has no graphics card; try --device cpu or auto")
    with_cards = bool(cards) and device in ("auto", "cuda")
    if number is None:
        room = max(1, int(there.get("memory", 0) // WORKER_BYTES))
        number = cards if with_cards else 1 if device == "mps" else min(cores, room)
    # A worker's cores are those of one machine.
    largest = max(int(node["Resources"].get("CPU", 1)) for node in ray.nodes() if node["Alive"])
    threads = max(1, min(cores // number, largest))
    return Workers(number, threads, threads if number <= cores else cores / number, int(with_cards))


class Pool:
    """Workers that restore photos.

    Args:
        ray: connected.
        workers: how many, and what each gets.
        settings: what each is told.
        network: configuration and tensors, as `Attempts` takes them.
    """

    def __init__(self, ray: Any, workers: Workers, settings: Settings, network: tuple[dict[str, Any], bytes]) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray = ray
        self._workers = workers
        self._settings = settings
        # On this machine: it is lost only when all is.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(Attempts).options(num_cpus=0, scheduling_strategy=here)
        self._attempts = actor.remote(*network)

    def restore(self, sources: Sequence[Source]) -> Iterator[Record]:
        """Restore photos in any order, and yield what became of each; hardly ever, one goes missing.

        A worker that dies is started anew by Ray, and its photo tried again.

        Raises:
            ClusterError: no worker comes up, or the cluster is lost.
        """
        data = self._ray.data
        pool = data.ActorPoolStrategy(
            size=min(self._workers.number, len(sources)),
            max_tasks_in_flight_per_actor=2,  # one at work and one at hand
        )
        photos = data.from_items([_row(source) for source in sources], override_num_blocks=len(sources))
        records = photos.map_batches(
            Restorer, fn_constructor_args=(self._settings, self._attempts), batch_size=1, compute=pool,
            num_cpus=self._workers.cpus, num_gpus=self._workers.gpus or None,
        )  # fmt: skip
        try:
            for row in records.iter_rows():
                yield json.loads(row["record"])
        except self._ray.exceptions.RayError as error:
            raise ClusterError(f"the workers cannot go on: {_last_line(error)}") from error

    def forget(self, targets: list[str]) -> None:
        """Let go of what is known about results that are settled."""
        self._attempts.forget.remote(targets)


def _row(source: Source) -> dict[str, Any]:
    return asdict(source)


def _last_line(error: Exception) -> str:
    """What a person needs of a long message: its last line, behind all the traces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
