"""Large pieces of memory that are cheap to take."""

import mmap

import numpy as np
from numpy.typing import NDArray


def zeros(count: int) -> NDArray[np.float32]:
    """So many float32 zeros; on Linux in huge pages, which take a tenth of the time to be filled the first time."""
    if count == 0 or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros(count, np.float32)
    memory = mmap.mmap(-1, 4 * count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a kernel without them
        pass
    return np.frombuffer(memory, np.float32)
