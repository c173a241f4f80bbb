"""The checkpoints of a training run: the last one and the one before, each with a checksum; one is always whole.

A checkpoint is the zip archive that `torch.save` writes, with the SHA-256 of all before it in the archive's comment. So
it is one file, which is there or not; it says by itself whether it is whole; and every tool that read it before still
does.
"""

import hashlib
import io
import logging
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

from nrknet.replacement import replace_file
from nrknet.tensorfile import MoreThanTensors, read_tensors

log = logging.getLogger(__name__)

CHECKPOINT_FILE, PREVIOUS_FILE = "checkpoint.pt", "checkpoint-previous.pt"
DAMAGED_FILE = "checkpoint-damaged.pt"
KEYS = frozenset({"identity", "run", "progress", "model", "ema", "optimiser"})
_MARK = b"sha256:"
_COMMENT_BYTES = len(_MARK) + hashlib.sha256().digest_size * 2
_END, _END_BYTES = b"PK\5\6", 22  # of a zip archive: its last record, two bytes of which say how long the comment is


_ADVICE = "choose another --out folder to begin anew"


class DamagedCheckpoint(ValueError):
    """A checkpoint is not as it was written; the message names it."""


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Replace the folder's checkpoint.pt by this state; the one that was there is checkpoint-previous.pt from then on.

    At every moment one of the two is whole and on the disk.

    Args:
        folder: the run's.
        state: tensors, numbers and strings under KEYS.

    Raises:
        OSError: it cannot be written; both are as they were.
    """
    stored = io.BytesIO()
    torch.save(state, stored)
    archive = stored.getbuffer()
    archive[-2:] = struct.pack("<H", _COMMENT_BYTES)
    checksum = _MARK + hashlib.sha256(archive).hexdigest().encode()
    replace_file(folder / CHECKPOINT_FILE, (archive, checksum), keep=folder / PREVIOUS_FILE)


def has_checkpoint(folder: Path) -> bool:
    """Whether the folder holds a checkpoint, whole or damaged."""
    return any((folder / name).exists() for name in (CHECKPOINT_FILE, PREVIOUS_FILE))


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The state in the folder's checkpoint.pt, on the CPU; None where there is none.

    Where it is damaged or gone, the one before is read. The damaged one then goes by the name of
    checkpoint-damaged.pt: else the next one to be written would push the good one out.

    Raises:
        ValueError: the files are damaged, or no checkpoints of this version; names them.
        OSError: a file cannot be opened.
    """
    path, before = folder / CHECKPOINT_FILE, folder / PREVIOUS_FILE
    if not path.exists():
        if not before.exists():
            return None
        log.warning("%s is not there: going on from %s", path, before.name)
        return _read(before)
    try:
        return _read(path)
    except DamagedCheckpoint as damage:
        if not before.exists():
            raise
        try:
            state = _read(before)
        except DamagedCheckpoint:
            raise ValueError(f"{path} is damaged, and {before.name}, the one before, is too; {_ADVICE}") from damage
        log.warning("%s is damaged: going on from %s, and keeping it as %s", path, before.name, DAMAGED_FILE)
        os.replace(path, folder / DAMAGED_FILE)
        return state


def _read(path: Path) -> dict[str, Any]:
    try:
        _check_whole(path)
        state = read_tensors(path)
    except MoreThanTensors as error:
        raise ValueError(f"{path} holds more than tensors ({error}) and was not loaded; {_ADVICE}") from error
    except ValueError as error:
        raise DamagedCheckpoint(f"{path} is damaged or cut short and cannot be read; {_ADVICE}") from error
    if not isinstance(state, dict) or not state.keys() >= KEYS:
        raise ValueError(f"{path} is not a checkpoint of this version of nrknet; {_ADVICE}")
    return state


def _check_whole(path: Path) -> None:
    """Compare a checkpoint with its checksum; one that was written before there were any, with those of its entries.

    Raises:
        ValueError: it is not as it was written.
    """
    content = memoryview(path.read_bytes())
    archive, comment = content[:-_COMMENT_BYTES], bytes(content[-_COMMENT_BYTES:])
    if comment.startswith(_MARK):
        if comment != _MARK + hashlib.sha256(archive).hexdigest().encode():
            raise ValueError("the checksum is another")
        return
    end = bytes(content[-_END_BYTES:])
    if not (end.startswith(_END) and end.endswith(b"\0\0")):  # an archive without a comment
        raise ValueError("no end")
    try:
        with zipfile.ZipFile(path) as entries:
            damaged = entries.testzip()
    except Exception as error:  # on damaged files zipfile raises nearly anything
        raise ValueError("no archive") from error
    if damaged is not None:
        raise ValueError(f"{damaged} is damaged")
