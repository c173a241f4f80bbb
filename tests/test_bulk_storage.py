"""Folders of results: local ones, and those behind URLs, which fsspec's memory stands in for here."""

import os
from pathlib import Path
from typing import Any

import pytest
from commandline import files_in

from nrknet.bulk import storage
from nrknet.bulk.storage import Folder, LocalFolder, RemoteFolder, StorageError, open_folder, open_url, persist

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty store; urls lead to it whatever they are."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    monkeypatch.setattr(storage, "open_url", lambda url: (system, "/" + url.partition("://")[2]))
    return system


@pytest.fixture(params=["local", "object store", "server"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch) -> Folder:
    if request.param == "local":
        return LocalFolder(tmp_path / "out")
    if request.param == "object store":
        monkeypatch.setattr(storage, "_OBJECT_STORES", {"memory"})
    return RemoteFolder("memory://bucket/out")


def test_what_is_written_is_found_and_read(folder: Folder, tmp_path: Path) -> None:
    assert list(folder.files()) == [] and folder.look("a.png") is None
    folder.write("a.png", b"one")
    (tmp_path / "photo").write_bytes(b"other")
    folder.put(tmp_path / "photo", "trip/b c.png")
    folder.write("a.png", b"three")
    assert {found.name: found.size for found in folder.files()} == {"a.png": 5, "trip/b c.png": 5}
    assert [found.name for found in folder.files("trip")] == ["trip/b c.png"]
    assert folder.read("a.png") == b"three" and folder.read("trip/b c.png") == b"other"
    assert folder.look("a.png") == next(found for found in folder.files() if found.name == "a.png")
    folder.delete(["a.png", "not there.png"])
    folder.delete([])
    assert [found.name for found in folder.files()] == ["trip/b c.png"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, memory: Any
) -> None:
    folder.write("a.png", b"old")

    def fail(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr(type(memory), "mv", fail)
    monkeypatch.setattr(type(memory), "pipe_file", fail)
    with pytest.raises(OSError, match="no space"):
        folder.write("a.png", b"new")
    assert folder.read("a.png") == b"old"
    assert [found.name for found in folder.files()] == ["a.png"]


def test_a_linked_result_is_replaced_behind_its_link(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere.png").write_bytes(b"old")
    (tmp_path / "out" / "a.png").symlink_to(tmp_path / "elsewhere.png")
    folder = LocalFolder(tmp_path / "out")
    folder.write("a.png", b"new")
    assert (tmp_path / "elsewhere.png").read_bytes() == b"new"
    assert (tmp_path / "out" / "a.png").is_symlink()


def test_a_result_moves_to_another_disk_by_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refused = os.replace, []

    def other_disk(source: Path, target: Path) -> None:
        if not refused:
            refused.append(target)
            raise OSError(18, "Invalid cross-device link")
        real(source, target)

    (tmp_path / "photo").write_bytes(b"pixels")
    monkeypatch.setattr(os, "replace", other_disk)
    LocalFolder(tmp_path / "out").put(tmp_path / "photo", "a.png")
    assert refused and files_in(tmp_path / "out") == ["a.png"]
    assert (tmp_path / "out" / "a.png").read_bytes() == b"pixels"


def test_a_file_url_is_a_path_of_this_machine(tmp_path: Path) -> None:
    folder = open_folder(f"file://{tmp_path}")
    assert isinstance(folder, LocalFolder) and folder.place == str(tmp_path)


@pytest.mark.parametrize(
    ("url", "says"),
    [("memory://a", "cannot reach"), ("zip://a::s3://b", "cannot reach"), ("nosuch://a", "nosuch://a: nothing here")],
)
def test_urls_that_workers_cannot_use_are_refused_in_one_sentence(url: str, says: str) -> None:
    with pytest.raises(StorageError, match=says) as refused:
        open_url(url)
    assert "\n" not in str(refused.value)


def test_what_a_network_did_is_tried_again_with_growing_pauses() -> None:
    pauses: list[float] = []
    answers = iter([ConnectionError("reset"), TimeoutError("slow"), None])

    def answer() -> str:
        error = next(answers)
        if error:
            raise error
        return "content"

    assert persist(answer, "s3://b/a", retries=3, sleep=pauses.append) == "content"
    assert pauses == [1, 2]


@pytest.mark.parametrize(
    ("error", "tries", "says"),
    [
        (ConnectionError("reset by\npeer."), 3, "s3://b/a: reset by peer"),
        (FileNotFoundError("b/a"), 1, "s3://b/a: no such file or folder"),
        (PermissionError(13, "Permission denied"), 1, "s3://b/a: permission denied"),
    ],
)
def test_what_stays_as_it_is_ends_in_one_sentence(error: Exception, tries: int, says: str) -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise error

    with pytest.raises(StorageError) as refused:
        persist(fail, "s3://b/a", retries=2, sleep=lambda _: None)
    assert str(refused.value) == says and len(calls) == tries
