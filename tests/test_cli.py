"""The command line: what it prints, what it writes, what it leaves alone, and how it exits."""

import errno
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import random_alexnet
from PIL import Image

from nrknet import cli
from nrknet._version import __version__
from nrknet.batch import find_photos, plan
from nrknet.config import PRESETS
from nrknet.model import NRKNet
from nrknet.weights import bundled_models, save_model

COMMANDS = ("deblur", "train", "evaluate", "convert", "push")


def run_command(
    *arguments: str | Path, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "nrknet", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=child_environment(environment), capture_output=True, text=True, timeout=300
    )


def child_environment(more: dict[str, str]) -> dict[str, str]:
    root = str(Path(cli.__file__).parents[1])
    # One thread: on a busy machine, threads that wait for each other over tiny photos take minutes.
    return {**os.environ, "PYTHONPATH": root, "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1", **more}


def save_photo(path: Path, size: tuple[int, int] = (24, 20), seed: int = 0) -> Path:
    """Write a small photo, in the format of its suffix, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def files_in(folder: Path) -> list[str]:
    """Every file below a folder, hidden ones and leftovers too."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three photos, one in a sub-folder, with other things beside them."""
    folder = tmp_path / "photos"
    save_photo(folder / "one.png", seed=1)
    save_photo(folder / "two.jpg", seed=2)
    save_photo(folder / "trip" / "three.png", seed=3)
    (folder / "notes.txt").write_text("not a photo")
    save_photo(folder / ".hidden.png")
    save_photo(folder / ".thumbnails" / "one.png")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small network nobody has trained."""
    folder = tmp_path_factory.mktemp("network")
    torch.manual_seed(0)
    save_model(NRKNet(replace(PRESETS["lite"], widths=(8, 8, 8))), folder)
    return str(folder)


class FakeDeblurrer:
    """Stands in where the network does not matter: counts how often it is loaded."""

    loads = 0

    def __init__(self, *_: object, **__: object) -> None:
        type(self).loads += 1


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Replaces the network by a copy of the file, which is what tests of names and folders need."""

    def copy(_: object, source: Path, target: Path, progress: Callable[[float], None] | None = None) -> None:
        if progress is not None:
            progress(0.5)
        target.write_bytes(source.read_bytes())

    FakeDeblurrer.loads = 0
    monkeypatch.setattr("nrknet.inference.Deblurrer", FakeDeblurrer)
    monkeypatch.setattr("nrknet.inference.restore_file", copy)
    yield copy


# --- the command itself


def test_help_and_version_do_not_import_torch_or_numpy() -> None:
    for arguments in (["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)):
        code = (
            "import sys\nfrom nrknet.cli import main\n"
            f"try: main({arguments!r})\nexcept SystemExit as stop: assert not stop.code\n"
            "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules), 'heavy import'"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=child_environment({}), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"nrknet {__version__}\n"
    try:
        installed = importlib.metadata.version("nrknet")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("nrknet is not installed, only on the path")
    assert installed == __version__


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sharpen"],
        ["deblur"],
        ["deblur", "a.jpg"],
        ["deblur", "a.jpg", "-o", "out", "--tile", "0"],
        ["deblur", "a.jpg", "-o", "out", "--tile", "big"],
        ["deblur", "a.jpg", "-o", "out", "--precision", "low"],
        ["deblur", "a.jpg", "-o", "out", "--no-such-option"],
        ["train", "--data", ".", "--out", "o", "--steps", "3", "--minutes", "1"],
        ["train", "--data", ".", "--out", "o", "--minutes", "nan"],
        ["train", "--data", ".", "--out", "o", "--steps", "-1"],
        ["evaluate", "--dataset", "nonsense", "--root", "."],
        ["train", "--data", ".", "--out", "o", "--dataset", "cuhk"],
        ["convert", "only.pth"],
        ["push", "folder"],
    ],
)
def test_a_command_that_makes_no_sense_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage: nrknet" in capsys.readouterr().err


# --- deblur, with the real network


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


# --- deblur: names, folders, and what must never happen


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


def test_a_photo_that_is_not_what_its_name_says_gets_the_right_suffix(tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "in"
    save_photo(folder / "a.png").rename(folder / "a.jpg")
    save_photo(folder / "b.bmp")
    jobs = plan(find_photos([folder], out)[0], out)
    assert [job.target.name for job in jobs] == ["a.png", "b.png"]


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


@pytest.mark.parametrize(
    ("names", "results"),
    [
        (["a.png", "b.png"], ["a.png", "b.png"]),
        (["a.bmp", "a.png"], ["a_bmp.png", "a_png.png"]),
        (["x/a.png", "y/a.png"], ["x_a.png", "y_a.png"]),
        (["x/a.png", "y/a.png", "y/a.bmp"], ["x_a_png.png", "y_a_png.png", "y_a_bmp.png"]),
        (["x/1/a.png", "y/1/a.png"], ["x_1_a.png", "y_1_a.png"]),
        (["a.bmp", "a.png", "a_bmp.png"], ["a_bmp_2.png", "a_png.png", "a_bmp.png"]),
        (["a.png", "A.png"], ["a_png_2.png", "A_png.png"]),
    ],
)
def test_photos_that_would_share_a_name_each_keep_a_result(
    names: list[str], results: list[str], tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found, problems = find_photos([tmp_path / name for name in names], tmp_path / "out")
    if len(found) < len(names):
        pytest.skip("the file system takes capitals for small letters")
    jobs = plan(found, tmp_path / "out")
    assert not problems
    assert [str(job.target.relative_to(tmp_path / "out")) for job in jobs] == results
    again = plan(list(reversed(found)), tmp_path / "out")
    assert set(again) == set(jobs), "the names do not hang on the order"


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
    def fail_once(deblurrer: object, source: Path, target: Path, progress: object = None) -> None:
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


# --- evaluate, train, convert


@pytest.fixture(autouse=True)
def no_backbone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test downloads AlexNet, or depends on whether it was downloaded here before."""
    monkeypatch.delenv("NRKNET_LPIPS_BACKBONE", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("nrknet.perceptual.BACKBONE_URL", "http://127.0.0.1:9/alexnet.pth")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "pairs"
    for i in range(3):
        save_photo(folder / "source" / f"{i}.png", size=(32, 32), seed=i)
        save_photo(folder / "target" / f"{i}.png", size=(32, 32), seed=i + 10)
    return folder


def test_evaluate_prints_a_table_and_writes_json(
    pairs: Path, tmp_path: Path, network: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results" / "scores.json"
    options = ["--root", str(pairs), "--model", network, "--device", "cpu", "--limit", "2", "--json", str(file)]
    assert cli.main(["evaluate", "--dataset", "pairs", *options]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].split()[:3] == ["photo", "psnr", "psnr_affine"]
    assert [line.split()[0] for line in lines[2:5]] == ["0", "1", "mean"]
    assert "protocol default" in printed.out and "ssim_gaussian 11x11" in printed.out, "which SSIM is said"
    scores = json.loads(file.read_text(encoding="utf-8"))
    assert len(scores["images"]) == 2 and scores["environment"]["torch"] == torch.__version__
    assert f"{scores['mean']['psnr']:.3f}" in lines[4]
    assert scores["mean"]["lpips"] is None and lines[4].split()[-3:-1] == ["-", "-"]
    assert printed.err.startswith("nrknet: the LPIPS column stays empty: ") and printed.err.count("\n") == 1


def test_evaluate_takes_the_backbone_and_the_protocol_that_are_named(
    pairs: Path, tmp_path: Path, network: str, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone, file = tmp_path / "alexnet.pth", tmp_path / "scores.json"
    torch.save(random_alexnet(), backbone)
    options = ["--root", str(pairs), "--model", network, "--device", "cpu", "--lpips-backbone", str(backbone)]
    assert cli.main(["evaluate", "--dataset", "pairs", *options, "--protocol", "nrknet", "--json", str(file)]) == 0
    scores = json.loads(file.read_text(encoding="utf-8"))
    assert scores["protocol"] == "nrknet" and scores["mean"]["lpips_bgr"] > 0 and scores["mean"]["lpips_bgr_input"] > 0
    assert capsys.readouterr().err == ""
    backbone.write_bytes(b"not weights")
    assert cli.main(["evaluate", "--dataset", "pairs", *options]) == 2
    error = capsys.readouterr().err
    assert "alexnet.pth does not hold" in error and error.count("\n") == 1


def test_evaluate_measures_photos_without_a_sharp_version(
    tmp_path: Path, network: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        save_photo(tmp_path / "image" / f"out_of_focus{number:04}.jpg", size=(40, 32), seed=number)
        save_photo(tmp_path / "gt" / f"out_of_focus{number:04}.png", size=(40, 32), seed=number)
    options = ["--dataset", "cuhk", "--root", str(tmp_path), "--model", network, "--device", "cpu"]
    assert cli.main(["evaluate", *options]) == 0
    printed = capsys.readouterr()
    assert printed.out.split()[:4] == ["photo", "sharpening", "sharpening_blurred", "sharpening_sharp"]
    assert printed.err == "", "LPIPS is not asked for"
    assert cli.main(["evaluate", *options, "--protocol", "papers"]) == 2
    assert "for photos with a sharp version" in capsys.readouterr().err


def test_evaluate_looks_at_all_files_before_it_loads_a_network(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_photo(pairs / "target" / "2.png", size=(32, 31))
    options = ["--dataset", "pairs", "--root", str(pairs), "--model", "no-such-model"]
    assert cli.main(["evaluate", *options]) == 2
    error = capsys.readouterr().err
    assert "differ in size" in error and error.count("\n") == 1


def test_evaluate_scores_saved_photos_at_another_size_without_a_model(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scores.json"
    for i in range(3):
        with Image.open(pairs / "target" / f"{i}.png") as sharp:
            sharp.resize((24, 20), Image.Resampling.BICUBIC).save(tmp_path / f"{i}.png")
    options = ["--restored", str(tmp_path), "--resize", "24x20", "--json", str(file), "--model", "no-such-model"]
    assert cli.main(["evaluate", "--dataset", "pairs", "--root", str(pairs), *options]) == 0
    scores = json.loads(file.read_text(encoding="utf-8"))
    assert scores["resize"] == "24x20" and scores["mean"]["share_better"] == 1
    assert scores["mean"]["psnr"] is None, "equal images have an infinite PSNR"
    assert cli.main(["evaluate", "--dataset", "pairs", "--root", str(pairs), "--restored", str(pairs)]) == 2
    assert "holds no restored photo of 0" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["640", "0x10", "axb", "640x480x3", "-64x64"])
def test_evaluate_refuses_a_size_that_is_none(size: str, pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", "--dataset", "pairs", "--root", str(pairs), f"--resize={size}"])
    assert stop.value.code == 2 and "as in 1024x683" in capsys.readouterr().err


def test_evaluate_without_pairs_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for root in (tmp_path, tmp_path / "gone"):
        assert cli.main(["evaluate", "--dataset", "pairs", "--root", str(root)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("nrknet: ") and error.count("\n") == 1


def test_train_makes_a_network_that_deblur_takes(
    photos: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(4):
        save_photo(tmp_path / "sharp" / f"{i}.png", size=(200, 200), seed=i)
    run = tmp_path / "run"
    options = ["--preset", "lite", "--recipe", "smoke", "--steps", "1", "--device", "cpu", "--out", str(run)]
    assert cli.main(["train", "--data", str(tmp_path / "sharp"), *options]) == 0
    found = re.search(r"--model (.+)\n", capsys.readouterr().out)
    assert found is not None
    assert cli.main(["deblur", str(photos / "one.png"), "-o", str(out), "--model", found[1]]) == 0
    assert files_in(out) == ["one.png"]


@pytest.mark.parametrize("option", ["--preset", "--variant", "--recipe"])
def test_train_lists_the_known_names_for_an_unknown_one(
    option: str, photos: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(photos), "--out", str(out), "--steps", "1", "--device", "cpu"]
    assert cli.main(["train", *arguments, option, "no-such-name"]) == 2
    error = capsys.readouterr().err
    assert "no-such-name" in error and "known" in error and "Traceback" not in error


def test_train_without_data_exits_with_2(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--data", str(tmp_path / "gone"), "--out", str(out)]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_train_takes_pairs_and_shows_a_line_where_nobody_watches(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("nrknet.progress.LINE_EVERY", 0.0)
    for photo in pairs.rglob("*.png"):
        save_photo(photo, size=(80, 70), seed=int(photo.stem))
    options = ["--dataset", "pairs", "--preset", "lite", "--recipe", "smoke", "--steps", "2", "--device", "cpu"]
    with caplog.at_level("INFO"):
        assert cli.main(["train", "--data", str(pairs), *options, "--out", str(tmp_path / "run")]) == 0
    lines = [message for message in caplog.messages if message.startswith("step ") and "left" in message]
    assert len(lines) == 2
    assert re.fullmatch(r"step 2, loss \d\.\d{5}, gain [+-]\d\.\d\d dB, \d+\.\d crops/s, 00:00 left", lines[1])


def test_train_with_a_bar_says_step_loss_gain_speed_and_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(2):
        save_photo(tmp_path / "sharp" / f"{i}.png", size=(90, 90), seed=i)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    options = ["--recipe", "smoke", "--steps", "1", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert cli.main(["train", "--data", str(tmp_path / "sharp"), *options]) == 0
    assert re.search(r"step 1, loss .*, gain .* dB, .* crops/s, .* left.*100%", capsys.readouterr().err)


def test_train_names_a_damaged_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(2):
        save_photo(tmp_path / "sharp" / f"{i}.png", size=(90, 90), seed=i)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"PK\x03\x04 cut short")
    options = ["--recipe", "smoke", "--steps", "1", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert cli.main(["train", "--data", str(tmp_path / "sharp"), *options]) == 2
    complaints = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nrknet: ")]
    assert len(complaints) == 1 and "checkpoint.pt is damaged or cut short" in complaints[0]


@pytest.mark.parametrize(
    ("repo", "token", "named"), [("name", "t", "'name' is no name"), ("me/net", "", "needs a token")]
)
def test_a_push_that_cannot_work_stops_training_before_it_begins(
    repo: str, token: str, named: str, photos: Path, out: Path, network: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("nrknet.hub.get_token", lambda: token or None)
    assert cli.main(["train", "--data", str(photos), "--out", str(out), "--steps", "1", "--push-to-hub", repo]) == 2
    assert cli.main(["push", network, "--repo", repo]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all(named in error for error in errors)
    assert not out.exists()


def test_a_push_that_fails_after_training_leaves_the_network_and_says_how_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise ValueError("the Hub is out for lunch")

    monkeypatch.setattr("nrknet.hub.get_token", lambda: "token")
    monkeypatch.setattr("nrknet.hub.push_folder", fail)
    for i in range(2):
        save_photo(tmp_path / "sharp" / f"{i}.png", size=(90, 90), seed=i)
    options = ["--recipe", "smoke", "--steps", "1", "--device", "cpu", "--push-to-hub", "me/net"]
    run = tmp_path / "run"
    assert cli.main(["train", "--data", str(tmp_path / "sharp"), *options, "--out", str(run)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "out for lunch" in last and f"`nrknet push {run / 'model'} --repo me/net` tries again" in last
    assert (run / "model" / "model.safetensors").is_file()


def test_convert_refuses_a_file_that_is_none_of_the_authors(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", str(tmp_path / "gone.pth"), str(out)]) == 2
    assert "no such file" in capsys.readouterr().err
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"not a network")
    assert cli.main(["convert", str(bad), str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("nrknet: ") and error.count("\n") == 1 and "unexpected" not in error
