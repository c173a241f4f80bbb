"""One of two checkpoints is whole whatever happens, and a damaged one is told from a whole one."""

import builtins
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from commandline import files_in
from networks import one_line

from nrknet.checkpoint import (
    CHECKPOINT_FILE,
    DAMAGED_FILE,
    KEYS,
    PREVIOUS_FILE,
    has_checkpoint,
    read_checkpoint,
    write_checkpoint,
)


def state(value: float, *, size: int = 1000) -> dict[str, Any]:
    return {**{key: {"value": value} for key in KEYS}, "model": {"weight": torch.full((size,), value)}}


def value_in(folder: Path) -> float | None:
    """Which state is read; its tensor must agree with its numbers."""
    found = read_checkpoint(folder)
    if found is None:
        return None
    value = found["run"]["value"]
    assert found.keys() == KEYS and torch.equal(found["model"]["weight"], torch.full((1000,), value))
    return value


def test_a_checkpoint_comes_back_as_it_was_written_and_the_one_before_is_kept(tmp_path: Path) -> None:
    assert value_in(tmp_path) is None and not has_checkpoint(tmp_path)
    for value in (1.5, 2.5, 3.5):
        write_checkpoint(tmp_path, state(value))
        assert value_in(tmp_path) == value and has_checkpoint(tmp_path)
    assert files_in(tmp_path) == [PREVIOUS_FILE, CHECKPOINT_FILE]
    (tmp_path / CHECKPOINT_FILE).unlink()
    assert value_in(tmp_path) == 2.5


def test_every_tool_that_reads_what_torch_saves_reads_a_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, state(1.0))
    for mapped in (False, True):
        assert torch.load(tmp_path / CHECKPOINT_FILE, weights_only=True, mmap=mapped)["run"] == {"value": 1.0}


# ---------------------------------------------------------------------------------------------------------------- kills


class Killed(BaseException):
    """The process is gone: it does nothing more."""


@contextmanager
def killed_at(number: int, calls: list[str]) -> Iterator[None]:
    """Within it, the process ends instead of the system call of this number; every later one fails too."""
    made = 0

    def dying(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made > number:
                raise Killed
            calls.append(name)
            return call(*arguments, **options)

        return wrapped

    with pytest.MonkeyPatch.context() as patched:
        for name in ("open", "link", "replace", "unlink", "fsync", "close", "remove", "rename"):
            patched.setattr(os, name, dying(name, getattr(os, name)))
        opened = dying("builtins.open", builtins.open)
        patched.setattr("io.open", opened)
        patched.setattr(builtins, "open", opened)
        yield


def all_kills(prepare: Callable[[Path], None], folder: Path) -> Iterator[tuple[Path, bool]]:
    """Folders in which the writing of state 3 was ended at one call after another, and whether it came to its end."""
    for number in range(100):
        place = folder / str(number)
        place.mkdir()
        prepare(place)
        calls: list[str] = []
        try:
            with killed_at(number, calls):
                write_checkpoint(place, state(3.0))
        except Killed:
            yield place, False
            continue
        assert {"link", "fsync", "replace"} <= set(calls) and number > 8
        yield place, True
        return
    pytest.fail("it makes more calls than that")


def two_checkpoints(folder: Path) -> None:
    write_checkpoint(folder, state(1.0))
    write_checkpoint(folder, state(2.0))


def killed_between_the_renamings(folder: Path) -> None:
    two_checkpoints(folder)
    (folder / PREVIOUS_FILE).unlink()
    os.link(folder / CHECKPOINT_FILE, folder / PREVIOUS_FILE)
    (folder / f"{CHECKPOINT_FILE}.part").write_bytes(b"left over")
    (folder / f"{PREVIOUS_FILE}.part").write_bytes(b"left over")


@pytest.mark.parametrize("prepare", [two_checkpoints, killed_between_the_renamings])
def test_a_kill_at_any_call_leaves_a_whole_checkpoint_and_the_next_one_is_written(
    prepare: Callable[[Path], None], tmp_path: Path
) -> None:
    seen = set()
    for place, is_done in all_kills(prepare, tmp_path):
        assert (place / CHECKPOINT_FILE).exists(), "not for a moment is it gone"
        found = value_in(place)
        seen.add(found)
        assert found == 3.0 if is_done else found in (2.0, 3.0)
        # the one before is whole at that moment too
        other = tmp_path / "other"
        other.mkdir()
        shutil.copy(place / PREVIOUS_FILE, other / CHECKPOINT_FILE)
        assert value_in(other) in (1.0, 2.0)
        shutil.rmtree(other)
        write_checkpoint(place, state(4.0))
        assert value_in(place) == 4.0 and files_in(place) == [PREVIOUS_FILE, CHECKPOINT_FILE]
        (place / CHECKPOINT_FILE).unlink()
        assert value_in(place) == found
    assert seen == {2.0, 3.0}


def test_on_a_disk_without_hard_links_a_kill_at_any_call_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    for number in range(100):
        place = tmp_path / str(number)
        place.mkdir()
        two_checkpoints(place)
        try:
            with killed_at(number, []):
                write_checkpoint(place, state(3.0))
        except Killed:
            assert value_in(place) in (2.0, 3.0)
            continue
        break
    assert any("going on from checkpoint-previous.pt" in text for text in caplog.messages), "for a moment it was alone"
    assert value_in(place) == 3.0


def test_the_content_is_on_the_disk_before_it_takes_the_place_of_the_old_one_and_the_name_after(tmp_path: Path) -> None:
    calls: list[str] = []
    write_checkpoint(tmp_path, state(1.0))
    with killed_at(100, calls):
        write_checkpoint(tmp_path, state(2.0))
    order = [name for name in calls if name in ("fsync", "link", "replace")]
    assert order == ["fsync", "link", "replace", "replace", "fsync"]


@pytest.mark.parametrize("failing", ["fsync", "replace", "link"])
def test_an_error_of_the_disk_leaves_both_checkpoints_and_nothing_half_written(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_checkpoints(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)}

    def crash(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, failing, crash)
        if failing == "link":
            patched.setattr(os, "replace", crash)
        with pytest.raises(OSError, match="No space left"):
            write_checkpoint(tmp_path, state(3.0))
    assert {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)} == before


# --------------------------------------------------------------------------------------------------------------- damage


def test_any_bit_that_is_another_is_found(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, state(1.0, size=1))
    path = tmp_path / CHECKPOINT_FILE
    whole = path.read_bytes()
    assert len(whole) < 5000
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged or cut short"):
            read_checkpoint(tmp_path)


def test_a_checkpoint_cut_short_anywhere_is_one_sentence(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, state(1.0, size=1))
    path = tmp_path / CHECKPOINT_FILE
    whole = path.read_bytes()
    for length in (*range(0, len(whole), 9), *range(len(whole) - 100, len(whole))):  # through checksum and last record
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="damaged or cut short") as caught:
            read_checkpoint(tmp_path)
        assert str(path) in one_line(caught.value)


def spoil(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    return bytes(content)


def test_in_the_place_of_a_damaged_checkpoint_the_one_before_is_read_and_stays_until_two_new_ones_are_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    two_checkpoints(tmp_path)
    damaged = spoil(tmp_path / CHECKPOINT_FILE)
    assert value_in(tmp_path) == 1.0
    (message,) = caplog.messages
    assert str(tmp_path / CHECKPOINT_FILE) in message and PREVIOUS_FILE in message and "\n" not in message
    assert (tmp_path / DAMAGED_FILE).read_bytes() == damaged
    write_checkpoint(tmp_path, state(3.0))
    assert value_in(tmp_path) == 3.0
    spoil(tmp_path / CHECKPOINT_FILE)
    assert value_in(tmp_path) == 1.0, "the damaged one has not pushed the good one out"


def test_two_damaged_checkpoints_are_one_sentence_and_stay_where_they_are(tmp_path: Path) -> None:
    two_checkpoints(tmp_path)
    before = {name: spoil(tmp_path / name) for name in (CHECKPOINT_FILE, PREVIOUS_FILE)}
    with pytest.raises(ValueError, match="is damaged, and checkpoint-previous.pt, the one before, is too") as caught:
        read_checkpoint(tmp_path)
    assert str(tmp_path / CHECKPOINT_FILE) in one_line(caught.value)
    assert {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)} == before


def test_a_checkpoint_from_before_there_were_checksums_is_read_and_its_damage_found(tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT_FILE
    torch.save(state(1.0), path)
    assert value_in(tmp_path) == 1.0
    whole = path.read_bytes()
    start = whole.index(torch.full((1000,), 1.0).numpy().tobytes())
    for position in (start, start + 1777, start + 3999):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged or cut short"):
            read_checkpoint(tmp_path)
    path.write_bytes(whole)
    write_checkpoint(tmp_path, state(2.0))
    spoil(path)
    assert value_in(tmp_path) == 1.0


@pytest.mark.parametrize("content", [{"model": {}}, [1, 2], torch.zeros(3)])
def test_another_file_is_no_checkpoint(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / CHECKPOINT_FILE)
    with pytest.raises(ValueError, match="is not a checkpoint of this version of nrknet") as caught:
        read_checkpoint(tmp_path)
    one_line(caught.value)
