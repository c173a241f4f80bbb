"""The model folder: config.json and model.safetensors, written atomically and read strictly."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from nrknet.config import NRKNetConfig

CONFIG_FILE, WEIGHTS_FILE, TRAINING_FILE = "config.json", "model.safetensors", "training.json"
MAX_CONFIG_BYTES = 100_000
"""A configuration takes under 1000; what comes from elsewhere is not read whole to find that out."""


def write_folder(
    folder: Path,
    config: NRKNetConfig,
    tensors: dict[str, Tensor],
    *,
    training: dict[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Write config.json and model.safetensors (and training.json), each atomically.

    Args:
        folder: made when missing.
        config: the network's structure.
        tensors: its state dict.
        training: how the weights came about, kept beside them.
        half: store the convolutions' weights as 16-bit floats, which reading turns back to 32 bit. Everything else
            stays as it is: atoms, basis and table are few, and a small error in them shows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    if half:
        stored = {k: v.half() if v.is_floating_point() and v.ndim == 4 else v for k, v in stored.items()}
    part = folder / (WEIGHTS_FILE + ".part")
    part.write_bytes(save(stored, metadata={"format": "pt"}))  # its own writer leaves a file that only its owner reads
    part.replace(folder / WEIGHTS_FILE)
    _write_json(folder / CONFIG_FILE, config.to_dict())
    if training is not None:
        _write_json(folder / TRAINING_FILE, training)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    part.replace(path)


def read_config(path: Path) -> NRKNetConfig:
    """Read a config.json.

    Raises:
        ValueError: the file is missing, broken or far too large, or has unknown keys or bad values; one sentence.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes are too many, expected at most {MAX_CONFIG_BYTES}")
        return NRKNetConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except RecursionError as error:
        raise ValueError(f"{path}: lists in lists without end") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def read_folder(folder: Path) -> tuple[NRKNetConfig, dict[str, Tensor]]:
    """Read config.json and model.safetensors, floats as 32 bit, on the CPU.

    Raises:
        ValueError: a file is missing or broken, or the configuration has unknown keys or bad values.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} is not a model folder with {CONFIG_FILE} and {WEIGHTS_FILE}: no {name}")
    config = read_config(folder / CONFIG_FILE)
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"{folder / WEIGHTS_FILE} is not a safetensors file: {error}") from error
    return config, {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


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
