"""How many threads the kernels work on: as many as PyTorch would, which need not be there to be asked."""

import os
import sys
from functools import cache
from pathlib import Path

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def num_threads() -> int:
    """What `torch.set_num_threads` has set, or would find without PyTorch."""
    torch = sys.modules.get("torch")
    get = getattr(torch, "get_num_threads", None)  # None too while another thread imports it
    return int(get()) if get else _default()


@cache
def _default() -> int:
    """The cores that this process may use; OMP_NUM_THREADS where that is less."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    most = int(wanted) if wanted.isdecimal() and int(wanted) > 0 else sys.maxsize
    return min(_cores(), most)


def _cores() -> int:
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len({_siblings(processor) for processor in os.sched_getaffinity(0)})


def _siblings(processor: int) -> str:
    """The processors of a core, one of which is named."""
    try:
        return Path(_TOPOLOGY.format(processor)).read_text().strip()
    except OSError:
        return str(processor)
