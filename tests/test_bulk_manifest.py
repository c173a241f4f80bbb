"""The manifest: no kill takes anything from it, and nothing in it stands for a result that is not there."""

from dataclasses import replace
from pathlib import Path

import pytest
from commandline import files_in

from nrknet.bulk.manifest import (
    COLUMNS,
    MANIFEST,
    PART_ROWS,
    WORK,
    Manifest,
    Record,
    finished,
    new_record,
    sha256,
    write_record,
)
from nrknet.bulk.sources import Source
from nrknet.bulk.storage import LocalFolder, StorageError

pq = pytest.importorskip("pyarrow.parquet")

HOW: Record = {
    "model": "lite", "weights": "abc", "precision": "auto", "tile": "auto", "strength": 1.0, "terms": None,
    "nrknet_version": "1",
}  # fmt: skip
PHOTO = Source("/photos/a.png", "a.png", 10, "17")


@pytest.fixture
def folder(tmp_path: Path) -> LocalFolder:
    return LocalFolder(tmp_path / "out")


def done(folder: LocalFolder, source: Source = PHOTO, content: bytes = b"pixels") -> Record:
    """The record of a result, and that result in a file that is not in place yet."""
    folder.write("new", content)
    digest = sha256(folder.folder / "new")
    facts = {"target_bytes": len(content), "target_sha256": digest, "attempts": 1, "seconds": 0.5}
    return new_record(source, "done", None, HOW) | facts


def put(folder: LocalFolder, record: Record) -> None:
    folder.put(folder.folder / "new", record["target"])


def rows(folder: LocalFolder) -> list[Record]:
    return pq.read_table(folder.folder / MANIFEST).to_pylist()


def holds(manifest: Manifest, folder: LocalFolder, source: Source = PHOTO, **how: object) -> bool:
    found = folder.look(source.target)
    return found is not None and manifest.holds(source, found, {**HOW, **how})


def test_what_is_added_is_in_the_file_with_its_types(folder: LocalFolder) -> None:
    manifest = Manifest(folder)
    record = done(folder)
    put(folder, record)
    manifest.add(record)
    manifest.add(new_record(replace(PHOTO, target="b.png"), "failed", "it is no photo", HOW))
    manifest.close()
    table = pq.read_table(folder.folder / MANIFEST)
    assert table.column_names == list(COLUMNS)
    assert str(table.schema.field("finished_at").type) == "timestamp[us, tz=UTC]"
    good, bad = table.to_pylist()
    assert (good["status"], good["target_sha256"], good["model"]) == ("done", record["target_sha256"], "lite")
    assert (bad["status"], bad["reason"], bad["width"]) == ("failed", "it is no photo", None)


@pytest.mark.parametrize("moment", ["before its record", "before its result", "before its report", "before the end"])
def test_a_kill_loses_no_result_and_invents_none(moment: str, folder: LocalFolder) -> None:
    manifest = Manifest(folder)
    record = done(folder)
    if moment != "before its record":
        write_record(folder, record)
    is_done = moment in ("before its report", "before the end")
    if is_done:
        put(folder, record)
    if moment == "before the end":
        manifest.add(record)
        manifest.flush()
    assert (finished(folder, "a.png") is not None) == (moment == "before its report")
    again = Manifest(folder)  # the first one's close never comes
    assert holds(again, folder) == is_done
    again.close()
    assert (len(rows(folder)) if is_done else (folder.folder / MANIFEST).exists()) == is_done
    assert [name for name in files_in(folder.folder) if name.startswith(WORK)] == []


def test_a_record_does_not_stand_for_an_earlier_result_of_the_same_size(folder: LocalFolder) -> None:
    folder.write("a.png", b"PIXELS")
    write_record(folder, done(folder, content=b"pixels"))
    assert finished(folder, "a.png") is None
    assert not holds(Manifest(folder), folder)


@pytest.mark.parametrize(
    "change", [{"weights": "other"}, {"precision": "exact"}, {"tile": "512"}, {"strength": 0.5}, {"terms": 2},
               {"size": 11}, {"version": "18"}, {"place": "/others/a.png"}]
)  # fmt: skip
def test_another_photo_or_another_way_is_not_done(change: dict[str, object], folder: LocalFolder) -> None:
    manifest = Manifest(folder)
    record = done(folder)
    put(folder, record)
    manifest.add(record)
    manifest.close()
    manifest = Manifest(folder)
    assert holds(manifest, folder) and holds(manifest, folder, model="renamed", nrknet_version="2")
    about = {name: value for name, value in change.items() if name in ("size", "version", "place")}
    how = {name: value for name, value in change.items() if name not in about}
    assert not holds(manifest, folder, replace(PHOTO, **about), **how)  # type: ignore[arg-type]


def test_a_result_that_was_cut_short_since_is_not_done(folder: LocalFolder) -> None:
    manifest = Manifest(folder)
    record = done(folder)
    put(folder, record)
    manifest.add(record)
    manifest.close()
    folder.write("a.png", b"pix")
    assert not holds(Manifest(folder), folder)


def test_the_later_of_two_rows_about_a_result_counts(folder: LocalFolder) -> None:
    for why in ("first", "second"):
        manifest = Manifest(folder)
        manifest.add(new_record(PHOTO, "failed", why, HOW))
        manifest.close()
    assert [row["reason"] for row in rows(folder)] == ["second"]


def test_a_kill_while_parts_are_joined_repeats_no_row(folder: LocalFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest(folder)
    for i in range(3):
        manifest.add(new_record(replace(PHOTO, target=f"{i}.png"), "failed", "no", HOW))
        manifest.flush()

    def killed(self: object, names: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LocalFolder, "delete", killed)
        manifest.close()
    assert len(list(folder.files(f"{WORK}/parts"))) == 3
    Manifest(folder).close()
    assert sorted(row["target"] for row in rows(folder)) == ["0.png", "1.png", "2.png"]


def test_parts_are_written_by_number_and_by_time(folder: LocalFolder) -> None:
    now = [0.0]
    manifest = Manifest(folder, clock=lambda: now[0])

    def num_parts() -> int:
        return len(list(folder.files(f"{WORK}/parts")))

    for i in range(PART_ROWS - 1):
        manifest.add(new_record(replace(PHOTO, target=f"{i}.png"), "failed", "no", HOW))
    assert num_parts() == 0
    manifest.add(new_record(PHOTO, "failed", "no", HOW))
    assert num_parts() == 1
    now[0] = 31
    manifest.add(new_record(replace(PHOTO, target="last.png"), "failed", "no", HOW))
    assert num_parts() == 2


def test_a_file_that_is_no_manifest_is_refused_and_left(folder: LocalFolder) -> None:
    folder.write(MANIFEST, b"my own notes")
    with pytest.raises(StorageError, match="cannot be read as a manifest"):
        Manifest(folder)
    assert folder.read(MANIFEST) == b"my own notes"
