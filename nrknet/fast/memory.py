"""Large pieces of memory: taken, moved, added."""

import mmap

import numpy as np

from nrknet.arrays import Floats, Map
from nrknet.fast import bindings
from nrknet.fast.bindings import Image, call, planes
from nrknet.fast.compiler import library
from nrknet.fast.tape import do


def zeros(count: int) -> Floats:
    """So many float32 zeros; on Linux in huge pages, which take a tenth of the time to be filled the first time."""
    if count == 0 or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros(count, np.float32)
    memory = mmap.mmap(-1, 4 * count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a kernel without them
        pass
    return np.frombuffer(memory, np.float32)


def copy(target: Map, source: Map | float) -> None:
    """Write a map, or one number, into another map's memory."""
    do(np.copyto, target, source)


def shift(memory: Map, first: int, count: int, *, planar: bool) -> None:
    """Rows [first, first + count) of memory (rows, columns, channels), or (planes, rows, columns), to its start."""
    if first == 0 or count == 0:
        return
    memory = memory.view(np.float32)  # halves are only moved
    if not library():
        rows = memory.swapaxes(0, 1) if planar else memory
        rows[:count] = rows[first : first + count]  # NumPy takes care of where they overlap
    elif planar:
        call("shift", bindings.Shift(planes(memory), memory.shape[0], first, count, memory.shape[2]))
    else:
        call("shift", bindings.Shift(_rows(memory), 1, first, count, memory.shape[1] * memory.shape[2]))


def add(one: Floats, other: Floats, out: Floats, *, planar: bool) -> None:
    """out = one + other, rows of maps; `out` may be one of them."""
    if not library():
        np.add(one, other, out=out)
    elif planar:
        call("sum", bindings.Sum(planes(one), planes(other), planes(out), *out.shape))
    else:
        call("sum", bindings.Sum(_rows(one), _rows(other), _rows(out), 1, out.shape[0], out.shape[1] * out.shape[2]))


def _rows(x: Floats) -> Image:
    """A map (rows, columns, channels) of floats as one plane whose columns are all numbers of a row."""
    assert x.dtype == np.float32
    assert x.strides[1:] == (4 * x.shape[2], 4)
    return Image(x.ctypes.data, x.strides[0] // 4, 0)
