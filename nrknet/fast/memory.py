"""Large pieces of memory: taken, copied, added."""

import mmap

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nrknet.fast import bindings
from nrknet.fast.bindings import Image, call, planes
from nrknet.fast.compiler import library


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


def copy(source: Tensor, out: Tensor) -> None:
    """Copy numbers from other memory.

    By NumPy: PyTorch would wake its threads for it, and these keep a core busy for a while after that, which the
    kernels' own threads then lack.
    """
    np.copyto(out.numpy(), source.numpy())


def shift(memory: Tensor, first: int, count: int, *, planar: bool) -> None:
    """Rows [first, first + count) of memory (rows, columns, channels), or (planes, rows, columns), to its start."""
    if first == 0 or count == 0:
        return
    if memory.dtype == torch.float16:
        memory = memory.view(torch.float32)  # they are only moved
    if not library():
        rows = (memory.transpose(0, 1) if planar else memory).numpy()
        np.copyto(rows[:count], rows[first : first + count])  # which NumPy takes care of where they overlap
    elif planar:
        call("shift", bindings.Shift(planes(memory), memory.shape[0], first, count, memory.shape[2]))
    else:
        call("shift", bindings.Shift(_rows(memory), 1, first, count, memory.shape[1] * memory.shape[2]))


def add(one: Tensor, other: Tensor, out: Tensor, *, planar: bool) -> None:
    """out = one + other, rows of maps; `out` may be one of them."""
    if not library():
        np.add(one.numpy(), other.numpy(), out=out.numpy())
    elif planar:
        call("sum", bindings.Sum(planes(one), planes(other), planes(out), *out.shape))
    else:
        call("sum", bindings.Sum(_rows(one), _rows(other), _rows(out), 1, out.shape[0], out.shape[1] * out.shape[2]))


def _rows(x: Tensor) -> Image:
    """A map (rows, columns, channels) of floats as one plane whose columns are all numbers of a row."""
    assert x.dtype == torch.float32
    assert x.stride(1) == x.shape[2] and x.stride(2) == 1
    return Image(x.data_ptr(), x.stride(0), 0)
