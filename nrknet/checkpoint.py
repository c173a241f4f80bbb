"""The checkpoint of a training run: written so that a crash leaves the one before, and read with care."""

import os
from pathlib import Path
from typing import Any

import torch

CHECKPOINT_FILE = "checkpoint.pt"
KEYS = frozenset({"identity", "run", "progress", "model", "ema", "optimiser"})


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Replace the folder's checkpoint.pt by this state, on the disk before the old one goes.

    Args:
        folder: the run's.
        state: tensors, numbers and strings under KEYS.
    """
    part = folder / f"{CHECKPOINT_FILE}.part"
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, folder / CHECKPOINT_FILE)
    if hasattr(os, "O_DIRECTORY"):  # the new name, too, must outlive a power cut; Windows has no way to ask for it
        handle = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The state in the folder's checkpoint.pt, on the CPU, or None where there is none.

    Raises:
        ValueError: the file is damaged, cut short, or no checkpoint of this version; names it.
    """
    path = folder / CHECKPOINT_FILE
    if not path.exists():
        return None
    advice = "remove it, or choose another --out folder, to begin anew"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on damaged files the unpickler raises nearly anything, IndexError and TypeError too
        raise ValueError(f"{path} is damaged or cut short and cannot be read; {advice}") from error
    if not isinstance(state, dict) or not state.keys() >= KEYS:
        raise ValueError(f"{path} is not a checkpoint of this version of nrknet; {advice}")
    return state
