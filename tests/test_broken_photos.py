"""Broken and odd photo files through everything that reads photos: restored, or refused in one sentence."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commandline import child_environment, files_in, run_command
from PIL import Image

from benchmarks.reliability.broken.sample import BrokenPhoto
from benchmarks.reliability.broken_photos import broken_photos, large_photos, write
from nrknet import model, photo
from nrknet.imageio import ImageError, output_suffix, photo_size, read_photo, write_photo

PHOTOS = broken_photos()
KINDS = sorted({broken.kind for broken in PHOTOS})
REFUSED = [broken for broken in PHOTOS if broken.outcome == "refused"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All of them in one folder; 90 MB, so it goes when it is no longer needed."""
    path = tmp_path_factory.mktemp("broken")
    write(PHOTOS, path)
    yield path
    shutil.rmtree(path)


def assert_sentence(message: str, path: Path) -> None:
    assert message.startswith(f"Cannot read {path}: ") and message.endswith(".") and "\n" not in message
    said = message.removeprefix(f"Cannot read {path}: ")
    assert not any(word in said for word in ("Errno", "Traceback", "NoneType", "has no attribute", "supported between"))


def outcome(path: Path) -> str:
    """What becomes of a file, but for the network."""
    try:
        found = read_photo(path)
    except ImageError as error:
        assert_sentence(str(error), path)
        return "refused"
    assert photo_size(path) == found.pixels.shape[1::-1]
    return "restored" if min(found.pixels.shape[:2]) >= photo.SMALLEST_SIDE else "refused"


def test_there_are_hundreds_of_them_under_names_of_their_own_and_the_same_each_time() -> None:
    names = [broken.name for broken in PHOTOS]
    assert len(names) >= 200 and len(set(map(str.casefold, names))) == len(names)
    broken_photos.cache_clear()
    assert broken_photos() == PHOTOS


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_read_or_refused_in_one_sentence_as_it_ought_to_be(folder: Path, kind: str) -> None:
    for broken in PHOTOS:
        if broken.kind == kind:
            found = outcome(folder / broken.name)
            assert broken.outcome in (found, "either"), (broken.name, found)


def test_the_size_is_told_or_refused_in_one_sentence(folder: Path) -> None:
    for broken in PHOTOS:
        try:
            width, height = photo_size(folder / broken.name)
        except ImageError as error:
            assert_sentence(str(error), folder / broken.name)
        else:
            assert isinstance(width, int) and isinstance(height, int) and width >= 0 and height >= 0


def test_what_is_read_can_be_written_in_its_format(folder: Path, tmp_path: Path) -> None:
    for broken in PHOTOS:
        if broken.kind == "odd" and broken.outcome == "restored":
            found = read_photo(folder / broken.name)
            target = tmp_path / f"result{output_suffix(found, Path(broken.name).suffix)}"
            write_photo(target, found)
            assert read_photo(target).pixels.shape == found.pixels.shape, broken.name


_MEASURED = """\
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from nrknet.imageio import ImageError, read_photo
import imagecodecs, tifffile
imagecodecs.png_decode, imagecodecs.lzw_decode
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        read_photo(path)
    except ImageError as error:
        assert "not enough memory" not in str(error), error
print(json.dumps([before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


_READ_EACH = """\
import contextlib, sys
from nrknet.imageio import ImageError, photo_size, read_photo
for path in sys.argv[1:]:
    for read in (read_photo, photo_size):
        with contextlib.suppress(ImageError):
            read(path)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured as Linux does")
def test_bombs_and_lies_take_little_memory(folder: Path) -> None:
    paths = [str(folder / broken.name) for broken in PHOTOS if broken.kind in ("bomb", "lying")]
    command = [sys.executable, "-c", _MEASURED, *paths]
    done = subprocess.run(command, env=child_environment({}), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    assert (after - before) / 1024 < 400  # megabytes; one of the bombs is a gigabyte, another claims 13 of them


def test_what_decoders_note_about_bad_files_is_not_printed(folder: Path) -> None:
    names = [broken.name for broken in PHOTOS if broken.kind in ("odd", "lying")]
    command = [sys.executable, "-W", "ignore", "-c", _READ_EACH, *(str(folder / name) for name in names)]
    done = subprocess.run(command, env=child_environment({}), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stderr == "", done.stderr


# --- the command line


@pytest.mark.slow
def test_a_folder_of_them_gives_results_and_one_line_for_each_that_has_none(
    folder: Path, tmp_path: Path, network: str
) -> None:
    before = digests(folder)
    done = run_command("deblur", folder, "-o", tmp_path / "out", "--model", network)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    complaints = [line for line in done.stderr.splitlines() if line.startswith("nrknet: ")]
    results = [line for line in done.stderr.splitlines() if " -> " in line]
    assert len(complaints) + len(results) == len(done.stderr.splitlines()) == len(PHOTOS)
    assert done.stdout == f"{len(results)} deblurred, 0 skipped, {len(complaints)} failed\n"
    for broken in PHOTOS:
        is_refused = sum(f"{folder / broken.name}:" in line for line in complaints)
        is_restored = sum(line.startswith(f"{folder / broken.name} -> ") for line in results)
        assert is_refused + is_restored == 1, broken.name
        assert broken.outcome in ("either", "refused" if is_refused else "restored"), broken.name
    assert digests(folder) == before
    written = files_in(tmp_path / "out")
    assert sorted(line.rpartition(" -> ")[2] for line in results) == [str(tmp_path / "out" / name) for name in written]
    for name in written:
        assert not name.startswith(".")
        read_photo(tmp_path / "out" / name)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["png-rgb-cut-50.png", "jpeg-1x60.jpg", "other-heic.jpg", "jpeg-5000-scans.jpg"])
def test_a_photo_that_is_refused_needs_no_network(folder: Path, tmp_path: Path, name: str) -> None:
    code = (
        "import sys; import nrknet.cli as cli; "
        f"status = cli.main(['deblur', {str(folder / name)!r}, '-o', {str(tmp_path / 'out')!r}]); "
        "sys.exit(99 if 'torch' in sys.modules else status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_environment({}), capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout == "0 deblurred, 0 skipped, 1 failed\n" and files_in(tmp_path / "out") == []
    assert done.stderr.startswith("nrknet: ") and done.stderr.count("\n") == 1 and name in done.stderr


def test_the_side_that_is_too_small_is_the_networks() -> None:
    assert photo.SMALLEST_SIDE == model.MIN_SIZE


# --- the app


@pytest.fixture
def endpoints() -> Any:
    pytest.importorskip("gradio", reason="the web application needs gradio")
    from demo import endpoints

    return endpoints


def assert_private(said: str, name: str, folder: Path) -> None:
    """One sentence that names the file, and not where it lies."""
    assert name in said and str(folder) not in said
    assert said.rstrip("*").endswith(".") and "\n" not in said


def test_the_page_shows_each_or_says_in_one_sentence_what_is_wrong(folder: Path, endpoints: Any) -> None:
    for broken in PHOTOS:
        shown, about, *_ = endpoints.show_photo(str(folder / broken.name))
        if shown["value"] is None:
            assert broken.outcome != "restored", broken.name
            assert_private(about["value"], broken.name, folder)
        else:
            with Image.open(shown["value"]) as picture:
                picture.load()


@pytest.mark.parametrize("broken", REFUSED, ids=lambda broken: broken.name)
def test_the_app_refuses_in_one_sentence(folder: Path, endpoints: Any, broken: BrokenPhoto, no_network: None) -> None:
    import gradio

    with pytest.raises(gradio.Error) as caught:
        endpoints.deblur(str(folder / broken.name))
    said = str(caught.value.message)
    assert said.endswith(".") and "\n" not in said and str(folder) not in said


@pytest.fixture
def no_network(endpoints: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos that are too small are refused by the network's own check, which needs none of its weights."""
    from demo import restorer
    from nrknet.photo import check_sides

    def run(pixels: Any, *_: object) -> None:
        check_sides(pixels.shape[1], pixels.shape[0])
        raise AssertionError("a photo to be refused has reached the network")

    monkeypatch.setattr(restorer, "run_network", run)


def test_small_files_of_many_pixels_are_too_large_for_the_app(tmp_path: Path, endpoints: Any) -> None:
    for large in large_photos():
        (path,) = write([large], tmp_path)
        _, about, *_ = endpoints.show_photo(str(path))
        assert "are more than the limit of 50 megapixels" in about["value"], large.name
