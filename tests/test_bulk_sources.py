"""Which photos a collection has, what their results are called, and which are left to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import save_photo

from nrknet.batch import find_photos, plan
from nrknet.bulk import sources, storage
from nrknet.bulk.sources import Sorted, Source, find_sources, sort_out
from nrknet.bulk.storage import Folder, Found, LocalFolder, RemoteFolder

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty store; urls lead to it whatever they are."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    for module in (storage, sources):
        monkeypatch.setattr(module, "open_url", lambda url: (system, "/" + url.partition("://")[2]))
    return system


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """Photos whose names clash, hidden ones, one whose name says another format, and things that are none."""
    folder = tmp_path / "crowd"
    for name in ("a.bmp", "a.gif", "b.png", "sub/b.png", "sub/deep/c.jpg", ".hidden.png", ".thumbs/b.png", "A.tif"):
        save_photo(folder / name)
    save_photo(folder / "scan.png").rename(folder / "scan.jpg")
    (folder / "notes.txt").write_text("not a photo")
    (folder / "broken.jpg").write_bytes(b"no pixels")
    return folder


def upload(system: Any, folder: Path, url_path: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            system.pipe_file(f"{url_path}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def nothing_recorded(*_: object) -> bool:
    return False


def sort(
    found: list[Source], out: Folder, *, skip: bool = False, recorded: Callable[..., bool] = nothing_recorded
) -> Sorted:
    return sort_out(found, out, is_recorded=recorded, skip_existing=skip)


def test_names_are_those_of_the_local_engine_on_disk_and_in_a_store(crowd: Path, out: Path, memory: Any) -> None:
    local, problems = find_sources([str(crowd)], LocalFolder(out))
    expected = {
        str(job.source.relative_to(crowd)): job.target.relative_to(out).as_posix()
        for job in plan(find_photos([crowd], out)[0], out)
    }
    assert len(expected) == 8 and expected["scan.jpg"] == "scan.png" and expected["a.bmp"] == "a_bmp.png"
    assert problems == []
    assert {str(Path(source.place).relative_to(crowd)): source.target for source in local} == expected
    upload(memory, crowd, "/bucket/crowd")
    remote, problems = find_sources(["memory://bucket/crowd/"], LocalFolder(out))
    assert problems == []
    assert {source.place.removeprefix("memory:///bucket/crowd/").removeprefix("memory://bucket/crowd/"): source.target
            for source in remote} == expected  # fmt: skip
    sizes = {Path(source.place).name: source.size for source in local}
    assert {Path(source.place).name: source.size for source in remote} == sizes


def test_a_changed_photo_has_another_version(crowd: Path, out: Path) -> None:
    before = {source.place: source.version for source in find_sources([str(crowd)], LocalFolder(out))[0]}
    save_photo(crowd / "b.png", seed=9)
    after = {source.place: source.version for source in find_sources([str(crowd)], LocalFolder(out))[0]}
    assert {place for place in after if after[place] != before[place]} == {str(crowd / "b.png")}


def test_paths_that_give_nothing_are_named_and_the_others_go_on(tmp_path: Path, out: Path, memory: Any) -> None:
    photo = save_photo(tmp_path / "a.png")
    memory.pipe_file("/bucket/notes/readme.txt", b"text")
    places = [str(tmp_path / "gone.png"), "memory://bucket/gone", "memory://bucket/notes", str(photo)]
    found, problems = find_sources(places, LocalFolder(out))
    assert [source.place for source in found] == [str(photo)]
    assert [problem.partition(": ")[2] for problem in problems] == [
        "no such file or folder", "no such file or folder", "no photos in this folder",
    ]  # fmt: skip


def test_a_single_remote_photo_is_taken_whatever_its_suffix_and_once(crowd: Path, out: Path, memory: Any) -> None:
    memory.pipe_file("/bucket/scan.dat", (crowd / "b.png").read_bytes())
    found, problems = find_sources(["memory://bucket/scan.dat", "memory://bucket/scan.dat"], LocalFolder(out))
    assert [source.target for source in found] == ["scan.png"] and problems == []


def test_the_output_folder_inside_a_remote_folder_is_not_searched(crowd: Path, memory: Any) -> None:
    upload(memory, crowd, "/bucket/crowd")
    upload(memory, crowd, "/bucket/crowd/restored")
    found, _ = find_sources(["memory://bucket/crowd"], RemoteFolder("memory://bucket/crowd/restored"))
    assert len(found) == 8 and not any("restored" in source.place for source in found)


@pytest.mark.parametrize("skip", [False, True])
def test_results_are_sorted_by_what_is_known_of_them(crowd: Path, out: Path, skip: bool) -> None:
    folder = LocalFolder(out)
    found, _ = find_sources([str(crowd)], folder)
    for name in ("b.png", "sub/b.png"):
        folder.write(name, b"earlier")
    batch = sort(found, folder, skip=skip, recorded=lambda source, _: source.target == "b.png")
    assert [source.target for source in batch.recorded] == ["b.png"]
    assert [source.target for source in batch.existing] == (["sub/b.png"] if skip else [])
    assert len(batch.todo) == len(found) - (2 if skip else 1) and not batch.refused


@pytest.mark.parametrize("link", ["the folder itself", "a link to the folder", "a hard link"])
def test_a_photo_is_never_overwritten(link: str, crowd: Path, out: Path) -> None:
    if link == "the folder itself":
        out = crowd
    elif link == "a link to the folder":
        out.symlink_to(crowd)
    else:
        out.mkdir()
        (out / "b.png").hardlink_to(crowd / "b.png")
    found, _ = find_sources([str(crowd / "b.png")], LocalFolder(out))
    batch = sort(found, LocalFolder(out), skip=True, recorded=lambda *_: True)
    ((source, why),) = batch.refused
    assert source.place == str(crowd / "b.png") and "replace an input photo" in why


def test_a_remote_photo_is_never_overwritten(crowd: Path, memory: Any) -> None:
    upload(memory, crowd, "/bucket/crowd")
    out = RemoteFolder("memory://bucket/crowd")
    found, _ = find_sources(["memory://bucket/crowd/b.png", "memory://bucket/crowd/a.bmp"], out)
    batch = sort(found, out, skip=True)
    assert [source.target for source, _ in batch.refused] == ["b.png"]
    assert [source.target for source in batch.todo] == ["a.png"]


def test_a_photo_beside_the_input_is_not_replaced(crowd: Path) -> None:
    save_photo(crowd / "a.png")
    found, _ = find_sources([str(crowd / "a.bmp")], LocalFolder(crowd))
    ((_, why),) = sort(found, LocalFolder(crowd)).refused
    assert why == "there is already a a.png beside it; choose another output folder"
    assert not sort(found, LocalFolder(crowd), recorded=lambda *_: True).refused


def test_whether_a_result_is_recorded_is_asked_with_its_size(crowd: Path, out: Path) -> None:
    folder = LocalFolder(out)
    folder.write("b.png", b"12345")
    asked: list[tuple[Source, Found]] = []

    def note(source: Source, found: Found) -> bool:
        asked.append((source, found))
        return True

    found, _ = find_sources([str(crowd / "b.png")], folder)
    sort(found, folder, recorded=note)
    assert [(source.target, result.size) for source, result in asked] == [("b.png", 5)]
