"""The model folder: config.json and model.safetensors, written atomically and read strictly.

Reading arrays does without PyTorch, which takes longer to import than a photo to restore.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from nrknet.arrays import Floats
from nrknet.config import NRKNetConfig
from nrknet.replacement import replace_file

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_FILE, WEIGHTS_FILE, TRAINING_FILE = "config.json", "model.safetensors", "training.json"
MAX_CONFIG_BYTES = 100_000
"""A configuration takes under 1000; what comes from elsewhere is not read whole to find that out."""
MAX_HEADER_BYTES = 1_000_000
"""Names and shapes of the largest network take a tenth of it."""
_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64", "I64": "int64"}


def write_folder(
    folder: Path,
    config: NRKNetConfig,
    tensors: dict[str, Tensor],
    *,
    training: dict[str, Any] | None = None,
    half: bool = False,
    only_changes: bool = False,
) -> None:
    """Write config.json and model.safetensors (and training.json), each atomically.

    Args:
        folder: made when missing.
        config: the network's structure.
        tensors: its state dict.
        training: how the weights came about, kept beside them.
        half: store the convolutions' weights as 16-bit floats, which reading turns back to 32 bit. Everything else
            stays as it is: atoms, basis and table are few, and a small error in them shows.
        only_changes: leave files alone that hold the same already.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    stored = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    if half:
        stored = {k: v.half() if v.ndim == 4 and _fits_half(v) else v for k, v in stored.items()}
    # its own writer leaves a file that only its owner reads
    contents = {WEIGHTS_FILE: save(stored, metadata={"format": "pt"}), CONFIG_FILE: _as_json(config.to_dict())}
    if training is not None:
        contents[TRAINING_FILE] = _as_json(training)
    for name, content in contents.items():
        path = folder / name
        if not (only_changes and path.is_file() and path.read_bytes() == content):
            replace_file(path, [content])


def _fits_half(x: Tensor) -> bool:
    """Whether 16-bit floats, which end at 65504, can hold these numbers."""
    return x.is_floating_point() and bool(x.half().isfinite().all())


def _as_json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def read_config(path: Path) -> NRKNetConfig:
    """Read a config.json.

    Raises:
        ValueError: the file is missing, broken or far too large, or has unknown keys or bad values; one sentence.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes are too many, expected at most {MAX_CONFIG_BYTES}")
        text = path.read_text(encoding="utf-8")
        return NRKNetConfig.from_dict(json.loads(text, object_pairs_hook=_without_repetition))
    except RecursionError as error:
        raise ValueError(f"{path}: lists in lists without end") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def read_description(folder: Path) -> tuple[NRKNetConfig, dict[str, Tensor]]:
    """Read config.json, and names, shapes and types of what model.safetensors holds, but none of its numbers.

    Returns:
        The configuration, and tensors without memory (on the device "meta").

    Raises:
        ValueError: a file is missing or broken, the configuration has unknown keys or bad values, or a type is not one
            that networks are stored in.
    """
    import torch

    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} is not a model folder with {CONFIG_FILE} and {WEIGHTS_FILE}: no {name}")
    config, path = read_config(folder / CONFIG_FILE), folder / WEIGHTS_FILE
    found: dict[str, Tensor] = {}
    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
        if header > MAX_HEADER_BYTES:
            raise ValueError(f"its header is said to take {header} bytes, expected at most {MAX_HEADER_BYTES}")
        with safe_open(path, "pt") as tensors:
            for name in tensors.keys():
                part = tensors.get_slice(name)
                if part.get_dtype() not in _TYPES:
                    raise ValueError(f"{name[:80]} holds {part.get_dtype()}, expected one of {', '.join(_TYPES)}")
                dtype = getattr(torch, _TYPES[part.get_dtype()])
                found[name] = torch.empty(part.get_shape(), dtype=dtype, device="meta")
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"{path} is not a safetensors file of a network: {error}") from error
    return config, found


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read model.safetensors, floats as 32 bit, on the CPU.

    Raises:
        ValueError: the file is broken, or holds a number that is not finite.
    """
    from safetensors.torch import load_file

    path = folder / WEIGHTS_FILE
    try:
        tensors = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"{path} is not a safetensors file of a network: {error}") from error
    tensors = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    check_finite(tensors, source=str(path))
    return tensors


def read_arrays(folder: Path) -> dict[str, Floats]:
    """Read the floats of model.safetensors as float32; names, shapes and numbers are not checked.

    Raises:
        ValueError: the file is missing or broken, or holds bfloat16, which NumPy has none of.
    """
    from safetensors.numpy import load_file

    path = folder / WEIGHTS_FILE
    try:
        arrays = load_file(path)
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise ValueError(f"{path} is not a safetensors file of a network: {error}") from error
    return {k: v.astype(np.float32, copy=False) for k, v in arrays.items() if v.dtype.kind == "f"}


def check_finite(tensors: dict[str, Tensor], *, source: str) -> None:
    """Refuse weights that can only give garbage.

    Raises:
        ValueError: a tensor holds NaN or an infinity, as 32-bit floats; names it.
    """
    for name in sorted(tensors):
        if not tensors[name].float().isfinite().all():
            raise ValueError(f"{source}: {name} holds numbers that are not finite; such a network gives no photo")


def check_state(found: dict[str, Tensor], expected: dict[str, Tensor], *, source: str) -> None:
    """Compare parameter names, shapes, and whether they are floats.

    Raises:
        ValueError: one line that names the missing, extra, misshapen or mistyped parameters.
    """
    problems = []
    for word, names in (("missing", expected.keys() - found.keys()), ("unexpected", found.keys() - expected.keys())):
        if names:
            shown = sorted(names)
            problems.append(f"{word} {', '.join(shown[:4])}{f' and {len(shown) - 4} more' if len(shown) > 4 else ''}")
    for name in sorted(expected.keys() & found.keys()):
        if found[name].shape != expected[name].shape:
            problems.append(f"{name} is {list(found[name].shape)}, expected {list(expected[name].shape)}")
        elif found[name].is_floating_point() != expected[name].is_floating_point():
            problems.append(f"{name} holds {found[name].dtype}, expected {expected[name].dtype}")
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ValueError(f"{source}: {'; '.join(problems[:4])}{more}")
