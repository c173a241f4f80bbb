"""A batch of photos that is killed, or finds the disk full or names too long, loses nothing and goes on."""

import errno
import gc
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from types import FrameType
from typing import IO, Any

import numpy as np
import pytest
from commandline import files_in, save_photo

from benchmarks.reliability import batch_kills
from nrknet import cli, imageio, replacement
from nrknet.batch import MAX_NAME_BYTES, find_photos, plan
from nrknet.imageio import ImageError, read_photo, write_photo
from nrknet.photo import Photo
from nrknet.replacement import remove_leftovers, replacing

WRITER = """
import sys, time
from pathlib import Path
from nrknet.replacement import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


def half_written(folder: Path) -> list[Path]:
    return sorted(folder.glob(".nrknet-*.tmp"))


@pytest.fixture
def writer(out: Path) -> Any:
    """Another process in the midst of writing a photo."""
    out.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(out / "a.png")], env=batch_kills.environment(), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == b"writing\n"
        yield process
        process.kill()


# -------------------------------------------------------------------------------------------------------------- kills


@pytest.mark.slow
def test_a_batch_that_is_killed_goes_on_to_the_same_results_and_touches_no_photo(tmp_path: Path) -> None:
    photos = batch_kills.save_photos(tmp_path / "photos", number=2, side=120)
    found = batch_kills.kill_often(photos, tmp_path / "photos", tmp_path / "kills", num_kills=2, seed=1)
    assert found["kills"] == 2 and found["photos"] >= 20
    for name in ("half-written results", "results that differ", "leftovers in the end", "inputs changed"):
        assert found[name] == 0, name


def test_what_a_killed_process_has_left_is_removed_and_what_a_living_one_writes_is_not(
    writer: "subprocess.Popen[bytes]", out: Path
) -> None:
    (left,) = half_written(out)
    assert remove_leftovers(out) == 0 and left.exists()
    writer.kill()
    writer.wait()
    save_photo(out / "b.png")
    assert remove_leftovers(out) == 1 and files_in(out) == ["b.png"]
    assert remove_leftovers(out / "not there") == 0


def test_the_command_removes_what_was_left_beside_its_results(
    writer: "subprocess.Popen[bytes]", photos: Path, out: Path, network: str
) -> None:
    writer.kill()
    writer.wait()
    assert len(half_written(out)) == 1
    arguments = ["deblur", str(photos), "-o", str(out), "--model", network, "--device", "cpu", "--skip-existing"]
    assert cli.main(arguments) == 0
    assert files_in(out) == ["one.png", "trip/three.png", "two.jpg"]


def test_a_file_that_is_taken_for_a_leftover_before_it_is_locked_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, attempts = replacement._lock, []

    def late(file: IO[bytes], *, wait: bool) -> None:
        if wait:
            attempts.append(file.name)
            if len(attempts) == 1:
                assert remove_leftovers(tmp_path) == 1
        lock(file, wait=wait)

    monkeypatch.setattr(replacement, "_lock", late)
    with replacing(tmp_path / "a.png") as file:
        file.write(b"whole")
    assert len(attempts) == 2 and (tmp_path / "a.png").read_bytes() == b"whole" and files_in(tmp_path) == ["a.png"]


# -------------------------------------------------------------------------------------------------------------- disk


def photo() -> Photo:
    return Photo(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8), format="PNG")


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_photo_that_cannot_be_written_leaves_the_one_before(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photo(tmp_path / "a.png", photo())
    before = (tmp_path / "a.png").read_bytes()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(ImageError, match=r"a\.png: no space left on device\.$"):
        write_photo(tmp_path / "a.png", photo())
    assert files_in(tmp_path) == ["a.png"] and (tmp_path / "a.png").read_bytes() == before


def test_a_full_disk_ends_the_batch_and_it_goes_on_once_there_is_room(
    photos: Path, out: Path, network: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["deblur", str(photos), "-o", str(out), "--model", network, "--device", "cpu", "--skip-existing"]
    written: list[Path] = []

    def replacing_twice(target: Path) -> Any:
        written.append(target)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replacing(target)

    with monkeypatch.context() as patched:
        patched.setattr(imageio, "replacing", replacing_twice)
        assert cli.main(arguments) == 1
    said = capsys.readouterr()
    complaints = [line for line in said.err.splitlines() if line.startswith("nrknet: ")]
    assert len(complaints) == 2 and complaints[0].endswith("no space left on device.")
    assert complaints[1] == (
        "nrknet: the disk is full; once there is room, the same command with --skip-existing goes on"
    )
    assert said.out == "1 deblurred, 0 skipped, 1 failed, 1 left\n" and len(written) == 2
    assert files_in(out) == ["one.png"]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == "2 deblurred, 1 skipped, 0 failed\n"
    for name in files_in(out):
        read_photo(out / name)


def test_an_error_that_is_no_full_disk_ends_no_batch() -> None:
    full = OSError(errno.ENOSPC, "full")
    for error, expected in ((full, True), (OSError(errno.EACCES, "no"), False), (ValueError("x"), False)):
        wrapped = ImageError("Cannot write")
        wrapped.__cause__ = error
        assert replacement.is_full(error) is replacement.is_full(wrapped) is expected


# -------------------------------------------------------------------------------------------------------------- names


def targets(tmp_path: Path, names: list[str]) -> list[str]:
    """Names of the results of empty files of these names, given one by one."""
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found, problems = find_photos([tmp_path / name for name in names], tmp_path / "out")
    assert not problems and len(found) == len(names)
    jobs = plan(found, tmp_path / "out")
    assert set(plan(found[::-1], tmp_path / "out")) == set(jobs)
    return [job.target.name for job in jobs]


@pytest.mark.parametrize(
    "names",
    [
        ["n" * 251 + ".png"],
        ["n" * 251 + ".bmp", "n" * 251 + ".png", "n" * 251 + ".gif"],
        ["x/" + "n" * 251 + ".png", "y/" + "n" * 251 + ".png"],
        ["x/1/" + "n" * 251 + ".png", "y/1/" + "n" * 251 + ".png"],
        ["n" * 255],
        ["n" * 250 + "a", "n" * 250 + "b"],
        ["写" * 83 + "ab.bmp", "写" * 83 + "ab.gif"],
        ["é" * 125 + "a.gif", "é" * 125 + "a.png", "é" * 125 + "a.bmp"],
    ],
)
def test_results_have_names_of_their_own_that_file_systems_take(names: list[str], tmp_path: Path) -> None:
    found = targets(tmp_path, names)
    assert len({name.casefold() for name in found}) == len(names)
    for name in found:
        assert len(name.encode()) <= MAX_NAME_BYTES and name.endswith(".png")
        (tmp_path / name).touch()
    if len(names) == 1 and names[0].endswith(".png"):
        assert found == names, "one that fits is left alone"


def test_both_unicode_forms_of_a_name_each_keep_a_result(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "café.png") for form in ("NFC", "NFD")]
    found = targets(tmp_path, names)
    assert len({unicodedata.normalize("NFC", name) for name in found}) == 2


def test_a_long_name_that_is_no_unicode_is_cut_too(tmp_path: Path) -> None:
    raw = b"\xff" * 251
    try:
        for suffix in (b".gif", b".png"):
            Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + raw + suffix)).touch()
    except OSError:
        pytest.skip("this file system takes Unicode alone")
    jobs = plan(find_photos([tmp_path], tmp_path / "out")[0], tmp_path / "out")
    assert len({job.target for job in jobs}) == 2
    assert all(len(os.fsencode(job.target.name)) <= MAX_NAME_BYTES for job in jobs)


def test_an_interruption_anywhere_leaves_nothing_half_written(tmp_path: Path) -> None:
    """Before the n-th line of `replacing` and what it calls, for every n until it is through."""
    file = replacement.__file__
    lines = 0

    def interrupt(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if frame.f_code.co_filename != file:
            return None
        if event == "line":
            lines -= 1
            if lines == 0:
                raise KeyboardInterrupt
        return interrupt

    whole = 0
    for number in range(1, 100):
        target, lines = tmp_path / f"{number}.png", number
        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            with replacing(target) as out:
                out.write(b"all")
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        gc.collect()
        assert half_written(tmp_path) == [], number
        if target.exists():
            assert target.read_bytes() == b"all"
        whole += lines > 0
    assert 0 < whole < 95
