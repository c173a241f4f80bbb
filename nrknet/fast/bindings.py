"""The compiled kernels' arguments, as `kernels/*.h` declare them."""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nrknet.arrays import Floats, Map
from nrknet.fast.compiler import library
from nrknet.fast.tape import do
from nrknet.fast.threads import num_threads


class Image(ctypes.Structure):
    """`Image` and `Planes`: where a map is, and its steps."""

    _fields_ = (("data", ctypes.c_void_p), ("row", ctypes.c_int64), ("step", ctypes.c_int64))


def image(x: Map | None, *, halves: bool = False) -> Image:
    """A map (rows, columns, channels) of floats or, where there may be any, halves; or none."""
    if x is None:
        return Image()
    assert x.dtype == np.float32 or (halves and x.dtype == np.float16)
    row, pixel = _steps(x)
    return Image(x.ctypes.data, row, pixel)


def planes(x: Floats | None) -> Image:
    """A map (channels, rows, columns), or none."""
    if x is None:
        return Image()
    assert x.dtype == np.float32
    plane, row = _steps(x)
    return Image(x.ctypes.data, row, plane)


def _steps(x: Map) -> tuple[int, int]:
    """Numbers from one index to the next of the first two axes; those of the last are side by side."""
    size = x.itemsize
    one, other, last = x.strides
    assert last == size
    return one // size, other // size


def pointer(x: Floats | NDArray[np.int32] | None) -> int | None:
    """Where a contiguous array is, or none."""
    assert x is None or (x.dtype in (np.float32, np.int32) and x.flags.c_contiguous)
    return None if x is None else x.ctypes.data


def _structure(name: str, *fields: tuple[type[Any], str]) -> type[ctypes.Structure]:
    """A structure of groups of fields of one type."""
    members = [(member, kind) for kind, names in fields for member in names.split()]
    return type(name, (ctypes.Structure,), {"_fields_": members})


_I, _F, _P = ctypes.c_int32, ctypes.c_float, ctypes.c_void_p

Source = _structure("Source", (Image, "image"), (_I, "first rows columns channels"))
Part = _structure(
    "Part", (Source, "source"), (Image, "one other"), (_I, "mode halves stem"), (_F, "gain shift"), (_I, "reserved")
)
Layer = _structure(
    "Layer", (_P, "weights steps bias"), (Image, "input output residual"),
    (_I, "rows columns inputs outputs relu taps stride enlarge input_halves output_halves residual_halves"),
)  # fmt: skip
Window = _structure("Window", (_I, "height width stride"))
Blur = _structure(
    "Blur", (_P, "taps mix bias"), (Image, "input coefficients output"), (_I, "atoms first last height width subtract")
)
Shift = _structure("Shift", (Image, "planes"), (_I, "count by rows columns"))
Sum = _structure("Sum", (Image, "one other output"), (_I, "planes rows columns"))
Join = _structure("Join", (Image, "output"), (_I, "start stop columns channels halves count"), (Part * 3, "parts"))
State = _structure("State", (Source, "gates previous"), (Image, "output"), (_I, "start stop columns hidden"))
Gate = _structure("Gate", (Source, "attention hidden"), (Image, "output"), (_I, "start stop columns count pool"))
LookUp = _structure(
    "LookUp", (Source, "logits"), (Image, "output"), (_P, "table"), (_I, "start stop columns radii width")
)
Coefficients = _structure(
    "Coefficients", (Source, "looked_up residual"), (Image, "output"), (_P, "basis"),
    (_I, "start stop columns coordinates count width stem"), (_F, "step"),
)  # fmt: skip
Shuffle = _structure("Shuffle", (Image, "input output"), (Source, "pixels"), (_I, "start stop columns stem"))
Enlarge = _structure(
    "Enlarge", (Image, "input base output"), (_I, "first rows input_columns start stop columns factor planes")
)
FromPixels = _structure(
    "FromPixels", (_P, "pixels"), (ctypes.c_int64, "row"), (Image, "output"),
    (_I, "start stop height width columns wide swap"),
)  # fmt: skip
ToPixels = _structure(
    "ToPixels", (Image, "input"), (_P, "pixels"), (ctypes.c_int64, "row"), (_I, "rows columns wide swap")
)
Halve = _structure("Halve", (Image, "input output"), (_I, "first rows input_columns start stop columns height"))
Evidence = _structure(
    "Evidence", (Image, "image output"), (_I, "held_first held_last height width start stop stem channel")
)


def source(x: Map | None, first: int = 0, channels: int | None = None, *, halves: bool = False) -> Any:
    """Rows of a map (rows, columns, channels) from row `first` of it on, or none."""
    if x is None:
        return Source()
    counts = first, x.shape[0], x.shape[1], x.shape[2] if channels is None else channels
    return Source(image(x, halves=halves), *counts)


def call(name: str, *arguments: ctypes.Structure) -> None:
    """Run a kernel on as many threads as PyTorch would, and again when what is done now is repeated.

    So what the arguments point to has to last: weights, and the memory of maps.
    """
    do(*_kernel(name, arguments))


def call_once(name: str, *arguments: ctypes.Structure) -> None:
    """Run a kernel, this once."""
    kernel, *references = _kernel(name, arguments)
    kernel(*references)


def _kernel(name: str, arguments: tuple[ctypes.Structure, ...]) -> tuple[Any, ...]:
    kernels = library()
    assert kernels is not None
    return getattr(kernels, f"nrknet_{name}"), *map(ctypes.byref, arguments), num_threads()
