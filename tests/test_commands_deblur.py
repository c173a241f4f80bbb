"""nrknet deblur: what it prints, what it writes, what it leaves alone, and how it exits."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from commandline import child_environment, files_in, run_command, save_photo
from PIL import Image

from nrknet import cli
from nrknet.batch import find_photos, plan
from nrknet.imageio import read_photo
from nrknet.inference import Deblurrer
from nrknet.weights import bundled_models


class FakeDeblurrer:
    """Stands in where the network does not matter: counts how often it is loaded."""

    loads = 0

    def __init__(self, *_: object, **__: object) -> None:
        type(self).loads += 1


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Replaces the network by a copy of the file, which is what tests of names and folders need."""

    def copy(
        _: object, source: Path, target: Path, progress: Callable[[float], None] | None = None, **how: object
    ) -> None:
        if progress is not None:
            progress(0.5)
        target.write_bytes(source.read_bytes())

    FakeDeblurrer.loads = 0
    monkeypatch.setattr("nrknet.inference.Deblurrer", FakeDeblurrer)
    monkeypatch.setattr("nrknet.inference.restore_file", copy)
    yield copy


# --- with the real network


def test_a_folder_is_deblurred_around_a_bad_file(photos: Path, out: Path, network: str) -> None:
    (photos / "broken.jpg").write_bytes(b"these are not pixels")
    done = run_command("deblur", photos, "-o", out, "--model", network)
    assert done.returncode == 1, done.stderr
    assert files_in(out) == ["one.png", "trip/three.png", "two.jpg"]
    assert done.stdout == "3 deblurred, 0 skipped, 1 failed\n"
    complaints = [line for line in done.stderr.splitlines() if line.startswith("nrknet: ")]
    assert len(complaints) == 1 and "broken.jpg" in complaints[0]
    assert complaints[0].count("broken.jpg") == 1
    assert "Traceback" not in done.stderr
    with Image.open(out / "trip" / "three.png") as image:
        assert image.size == (24, 20)


def test_odd_names_and_a_leading_dash_work(tmp_path: Path, network: str) -> None:
    names = ["-dash.png", "a b  c.png", "Möwe 写真 🌅.png", "100%.png", "noon.tar.png"]
    for name in names:
        save_photo(tmp_path / name)
    arguments = ["deblur", "-o", "out", "--model", network, "--", *names]
    done = run_command(*arguments, cwd=tmp_path, LC_ALL="C", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert files_in(tmp_path / "out") == sorted(names)


def test_a_photo_too_small_for_the_network_is_refused_in_one_sentence(
    tmp_path: Path, out: Path, network: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dot = save_photo(tmp_path / "dot.png", size=(1, 1))
    assert cli.main(["deblur", str(dot), "-o", str(out), "--model", network]) == 1
    captured = capsys.readouterr()
    assert captured.out == "0 deblurred, 0 skipped, 1 failed\n"
    assert re.fullmatch(r"nrknet: .*dot\.png.*16.*\n", captured.err)
    assert files_in(out) == []


def test_an_unknown_network_exits_with_2_in_one_sentence(
    photos: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["deblur", str(photos), "-o", str(out), "--model", "no-such-network"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("nrknet: ") and "no-such-network" in error and error.count("\n") == 1
    assert files_in(out) == []


def test_an_unknown_device_exits_with_2_in_one_sentence(
    photos: Path, out: Path, network: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["deblur", str(photos), "-o", str(out), "--model", network, "--device", "toaster"]) == 2
    error = capsys.readouterr().err
    assert "toaster" in error and error.count("\n") == 1


def test_the_network_that_comes_with_the_package_is_the_default(photos: Path, out: Path) -> None:
    if not bundled_models():
        pytest.skip("no network comes with this copy of the package")
    assert cli.main(["deblur", str(photos / "one.png"), "-o", str(out)]) == 0
    assert files_in(out) == ["one.png"]


def test_tile_and_precision_reach_the_network(photos: Path, out: Path, network: str) -> None:
    options = ["--tile", "256", "--precision", "exact", "--device", "cpu", "--model", network]
    assert cli.main(["deblur", str(photos / "one.png"), "-o", str(out), *options]) == 0
    assert files_in(out) == ["one.png"]


def test_strength_and_terms_reach_the_network(photos: Path, out: Path, network: str) -> None:
    photo, options = photos / "one.png", ["--device", "cpu", "--model", network, "--strength", "0.25", "--terms", "2"]
    assert cli.main(["deblur", str(photo), "-o", str(out), *options]) == 0
    expected = Deblurrer(network, device="cpu")(read_photo(photo).pixels, strength=0.25, terms=2)
    assert np.array_equal(read_photo(out / "one.png").pixels, expected)


def test_a_missing_output_folder_exits_with_2_in_one_sentence(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["deblur", str(photos / "one.png")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "-o" in said


# --- names, folders, and what must never happen


def test_the_network_is_loaded_once_and_only_when_there_is_work(
    photos: Path, out: Path, quick: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["deblur", str(photos / "gone.jpg"), "-o", str(out)]) == 2
    assert FakeDeblurrer.loads == 0 and not out.exists()
    assert cli.main(["deblur", str(photos), "-o", str(out)]) == 0
    assert FakeDeblurrer.loads == 1
    assert cli.main(["deblur", str(photos), "-o", str(out), "--skip-existing"]) == 0
    assert FakeDeblurrer.loads == 1
    assert capsys.readouterr().out.splitlines()[-1] == "0 deblurred, 3 skipped, 0 failed"


def test_existing_results_are_replaced_or_skipped_as_told(photos: Path, out: Path, quick: object) -> None:
    out.mkdir()
    (out / "one.png").write_bytes(b"earlier")
    assert cli.main(["deblur", str(photos), "-o", str(out), "--skip-existing"]) == 0
    assert (out / "one.png").read_bytes() == b"earlier"
    assert (out / "two.jpg").exists()
    assert cli.main(["deblur", str(photos), "-o", str(out)]) == 0
    assert (out / "one.png").read_bytes() == (photos / "one.png").read_bytes()


def test_a_missing_path_is_named_and_the_others_go_on(
    photos: Path, out: Path, quick: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["deblur", str(photos / "gone.jpg"), str(photos / "one.png"), "-o", str(out)]) == 1
    captured = capsys.readouterr()
    assert "gone.jpg: no such file or folder" in captured.err
    assert captured.out == "1 deblurred, 0 skipped, 1 failed\n"


def test_an_empty_folder_is_an_error(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert cli.main(["deblur", str(tmp_path / "empty"), "-o", str(out)]) == 2
    assert "no photos in this folder" in capsys.readouterr().err
    assert not out.exists()


def test_an_explicit_file_is_tried_whatever_its_suffix(tmp_path: Path, out: Path, quick: object) -> None:
    photo = save_photo(tmp_path / "scan.png").rename(tmp_path / "scan.dat")
    assert cli.main(["deblur", str(photo), "-o", str(out)]) == 0
    (result,) = files_in(out)
    assert Path(result).stem == "scan"


def test_the_output_folder_inside_the_input_folder_is_not_searched(photos: Path, quick: object) -> None:
    inside = photos / "restored"
    for _ in range(2):
        assert cli.main(["deblur", str(photos), "-o", str(inside)]) == 0
        assert files_in(inside) == ["one.png", "trip/three.png", "two.jpg"]
    everything = [str(path) for path in sorted(photos.glob("[a-z]*")) if path.name != "notes.txt"]
    assert str(inside) in everything
    assert cli.main(["deblur", *everything, "-o", str(inside), "--skip-existing"]) == 0
    assert files_in(inside) == ["one.png", "three.png", "trip/three.png", "two.jpg"]


def test_the_same_photo_given_twice_is_done_once(photos: Path, out: Path, quick: object) -> None:
    paths = [photos, photos / "one.png", photos / "trip" / ".." / "two.jpg"]
    assert cli.main(["deblur", *map(str, paths), "-o", str(out)]) == 0
    assert files_in(out) == ["one.png", "trip/three.png", "two.jpg"]


@pytest.mark.parametrize("link", ["the folder itself", "a link to the folder", "a symlink", "a hard link"])
def test_a_photo_is_never_overwritten(
    link: str, photos: Path, out: Path, quick: object, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = photos / "one.png"
    before = photo.read_bytes()
    if link == "the folder itself":
        out = photos
    elif link == "a link to the folder":
        out.symlink_to(photos)
    elif link == "a symlink":
        out.mkdir()
        (out / "one.png").symlink_to(photo)
    else:
        out.mkdir()
        os.link(photo, out / "one.png")
    for option in ([], ["--skip-existing"]):
        assert cli.main(["deblur", str(photo), "-o", str(out), *option]) == 1
        error = capsys.readouterr().err
        assert "one.png" in error and "choose another output folder" in error and error.count("\n") == 1
    assert photo.read_bytes() == before
    assert (out / "one.png").samefile(photo)


def test_a_photo_beside_the_input_is_not_replaced(photos: Path, quick: object) -> None:
    save_photo(photos / "one.bmp", seed=7)
    before = (photos / "one.png").read_bytes()
    assert plan(find_photos([photos / "one.bmp"], photos)[0], photos)[0].target == photos / "one.png"
    assert cli.main(["deblur", str(photos / "one.bmp"), "-o", str(photos)]) == 1
    assert (photos / "one.png").read_bytes() == before


def test_both_photos_of_one_stem_are_written(tmp_path: Path, out: Path, quick: object) -> None:
    folder = tmp_path / "in"
    contents = {save_photo(folder / f"a.{suffix}", seed=i).read_bytes() for i, suffix in enumerate(("bmp", "png"))}
    assert cli.main(["deblur", str(folder), "-o", str(out)]) == 0
    assert {(out / name).read_bytes() for name in files_in(out)} == contents


@pytest.mark.parametrize("place", ["a file", "below a file"])
def test_an_output_folder_that_cannot_be_exits_with_2(
    place: str, photos: Path, tmp_path: Path, quick: object, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    out = tmp_path / "taken" / ("" if place == "a file" else "out")
    assert cli.main(["deblur", str(photos), "-o", str(out)]) == 2
    error = capsys.readouterr().err
    assert "taken" in error and error.count("\n") == 1
    assert FakeDeblurrer.loads == 0


def test_a_read_only_output_folder_exits_with_2(
    photos: Path, out: Path, quick: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    # What the system does for everyone but root, who may be running this.
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert cli.main(["deblur", str(photos), "-o", str(out)]) == 2
    error = capsys.readouterr().err
    assert "cannot write there" in error and error.count("\n") == 1
    assert FakeDeblurrer.loads == 0


def test_an_unforeseen_error_is_one_line_and_the_others_go_on(
    photos: Path, out: Path, quick: Callable[..., None], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail_once(deblurrer: object, source: Path, target: Path, progress: object = None, **how: object) -> None:
        if source.name == "one.png":
            raise RuntimeError("CUDA out of memory.\nTried to allocate 2 GiB")
        if source.name == "two.jpg":
            raise KeyError("surprise")
        quick(deblurrer, source, target)

    monkeypatch.setattr("nrknet.inference.restore_file", fail_once)
    monkeypatch.delenv("NRKNET_DEBUG", raising=False)
    assert cli.main(["deblur", str(photos), "-o", str(out)]) == 1
    captured = capsys.readouterr()
    assert "one.png: not enough memory; a smaller --tile needs less" in captured.err
    assert "two.jpg: unexpected KeyError: 'surprise'" in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == "1 deblurred, 0 skipped, 2 failed\n"
    monkeypatch.setenv("NRKNET_DEBUG", "1")
    assert cli.main(["deblur", str(photos), "-o", str(out)]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_leaves_no_half_files(photos: Path, out: Path, network: str) -> None:
    for i in range(200):
        save_photo(photos / f"many-{i:03}.png", size=(96, 96), seed=i)
    arguments = ["deblur", str(photos), "-o", str(out), "--device", "cpu", "--model", network]
    # A shell may have told this process and its children to ignore interruptions.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); import nrknet.cli as cli; "
    with subprocess.Popen(
        [sys.executable, "-c", code + f"sys.exit(cli.main({arguments!r}))"],
        env=child_environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 250
        while not any(out.rglob("[!.]*.png")) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error.endswith("nrknet: stopped\n") and "Traceback" not in error
    results = files_in(out)
    assert 0 < len(results) < 203
    for name in results:
        assert not Path(name).name.startswith(".") and name.endswith((".png", ".jpg"))
        with Image.open(out / name) as image:
            image.load()


def test_the_progress_bar_is_for_terminals_only(
    photos: Path, out: Path, quick: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["deblur", str(photos), "-o", str(out)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" -> ")[2] for line in lines] == [
        str(out / name) for name in ("one.png", "two.jpg", "trip/three.png")
    ]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert cli.main(["deblur", str(photos), "-o", str(out)]) == 0
    error = capsys.readouterr().err
    assert "three.png (3 of 3): 100%" in error and " -> " not in error
