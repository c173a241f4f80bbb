"""Ways to do the same timed in turn, so that a machine's moods hit all alike, and where it was."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from benchmarks.equal_budget import commit
from nrknet._version import __version__
from nrknet.fast.compiler import library


class Timed(NamedTuple):
    """Seconds of the first time, which may prepare something, and of the others; and what came out last."""

    first: float
    seconds: list[float]
    output: Any

    @property
    def median(self) -> float:
        """Seconds, usually."""
        return statistics.median(self.seconds)


def in_turn(ways: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, Timed]:
    """Do each thing once, and then so many times more."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    outputs: dict[str, Any] = {}
    for _ in range(1 + repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            outputs[name] = way()
            seconds[name].append(time.perf_counter() - started)
    return {name: Timed(times[0], times[1:], outputs[name]) for name, times in seconds.items()}


def surroundings() -> dict[str, Any]:
    """What a measurement depends on beside what is measured."""
    return {
        "threads": torch.get_num_threads(), "machine": platform.machine(), "compiled_kernels": library() is not None,
        "versions": {"nrknet": __version__, "torch": str(torch.__version__)}, "commit": commit(),
    }  # fmt: skip
