"""A checkpoint is the old one or the new one, whatever happens, and a damaged one is named."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import one_line

from nrknet.checkpoint import CHECKPOINT_FILE, KEYS, read_checkpoint, write_checkpoint


def state(value: float) -> dict[str, Any]:
    return {**{key: {"value": value} for key in KEYS}, "model": {"weight": torch.full((1000,), value)}}


def test_a_checkpoint_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path) is None
    write_checkpoint(tmp_path, state(1.5))
    found = read_checkpoint(tmp_path)
    assert found is not None and found.keys() == KEYS
    assert found["run"] == {"value": 1.5} and torch.equal(found["model"]["weight"], torch.full((1000,), 1.5))
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT_FILE]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_checkpoint_before(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, state(1.0))

    def crash(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(os, failing, crash)
        with pytest.raises(OSError):
            write_checkpoint(tmp_path, state(2.0))
    found = read_checkpoint(tmp_path)
    assert found is not None and found["run"] == {"value": 1.0}


def test_the_file_is_on_the_disk_before_it_takes_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append("fsync") or fsync(handle))
    monkeypatch.setattr(os, "replace", lambda *names: calls.append("replace") or replace(*names))
    write_checkpoint(tmp_path, state(1.0))
    assert calls[:2] == ["fsync", "replace"]


def test_a_checkpoint_cut_short_anywhere_is_one_sentence(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, state(1.0))
    path = tmp_path / CHECKPOINT_FILE
    whole = path.read_bytes()
    for length in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="damaged or cut short") as caught:
            read_checkpoint(tmp_path)
        assert str(path) in one_line(caught.value)


@pytest.mark.parametrize("content", [{"model": {}}, [1, 2], torch.zeros(3)])
def test_another_file_is_no_checkpoint(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / CHECKPOINT_FILE)
    with pytest.raises(ValueError, match="is not a checkpoint of this version of nrknet") as caught:
        read_checkpoint(tmp_path)
    one_line(caught.value)
