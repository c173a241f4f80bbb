"""Files of `torch.save`, read as tensors and plain values: nothing in them runs, or takes memory beyond their size."""

import pickletools
import re
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MAX_PICKLE_BYTES = 1 << 24
"""What describes the tensors; a checkpoint's takes about 100 kB."""
_NAMES = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch (Float|Half|BFloat16|Double)Storage|"
    r"torch (Long|Int|Short|Char|Byte|Bool)Storage"
)
"""Less than what torch.load allows with `weights_only`: bytearray(10**11) among that takes 100 GB."""
_LEGACY_PICKLES = 5
"""Magic number, protocol, system, the object, its storages' keys."""


class MoreThanTensors(ValueError):
    """The file wants something made that is no tensor; the message names it."""


def read_tensors(path: Path) -> Any:
    """The tensors, dictionaries, lists, numbers and strings of a file that `torch.save` wrote, on the CPU.

    Args:
        path: the file.

    Returns:
        What was saved; tensors have memory of their own.

    Raises:
        MoreThanTensors: it names anything else, or tensors larger than the file; its message names what.
        OSError: it cannot be opened.
        ValueError: it is no such file, or a damaged one.
    """
    path.open("rb").close()
    try:
        zipped = zipfile.is_zipfile(path)
        for name in _globals(path, zipped):
            if not _NAMES.fullmatch(name):
                raise MoreThanTensors(name.replace(" ", ".").replace("__builtin__", "builtins"))
        # mapped: a storage cannot reach beyond the file, nor be unpacked to more
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        taken, size = sum(t.numel() * t.element_size() for t in _tensors(state)), path.stat().st_size
        if taken > size:
            raise MoreThanTensors(f"tensors of {taken} bytes in a file of {size}")
        return _copied(state)
    except MoreThanTensors:
        raise
    except Exception as error:  # on damaged files the unpickler raises nearly anything, IndexError and TypeError too
        raise ValueError("not a PyTorch file, or a damaged one") from error


def _globals(path: Path, zipped: bool) -> Iterator[str]:
    """What the file's pickles ask for by name, as "module name"."""
    pickles = BytesIO(_zipped_pickle(path) if zipped else _head(path))
    for _ in range(1 if zipped else _LEGACY_PICKLES):
        for operation, argument, _ in pickletools.genops(pickles):
            if operation.name in ("GLOBAL", "INST"):
                yield str(argument)
            elif operation.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):  # of newer protocols
                yield f"pickle {operation.name}"


def _zipped_pickle(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        (described,) = (entry for entry in entries if re.fullmatch(r"[^/]+/data\.pkl", entry.filename))
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED:
                raise MoreThanTensors(f"{entry.filename} in compressed form")
        if described.file_size > MAX_PICKLE_BYTES:
            raise MoreThanTensors(f"a description of {described.file_size} bytes")
        return archive.read(described)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_PICKLE_BYTES)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        yield from _tensors(part)


def _copied(value: Any) -> Any:
    """The same with tensors outside the mapped file."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {name: _copied(part) for name, part in value.items()}
    return type(value)(map(_copied, value)) if isinstance(value, (list, tuple)) else value
