"""The web application, driven as a program drives it: over its API."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from skimage.data import data_dir

pytest.importorskip("gradio", reason="the web application needs gradio")

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

import app
from demo import endpoints, restorer
from demo.endpoints import EXAMPLES
from demo.examples import make_examples
from demo.pictures import KERNEL_SIDE, MAP_WIDTHS, draw_defocus_map, draw_kernel, palette, save_screen_picture
from nrknet.imageio import Photo

ROOT = Path(app.__file__).parent
ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    _, url, _ = app.demo.launch(**app.LAUNCH, prevent_thread_lock=True, quiet=True)
    yield Client(url, verbose=False, analytics_enabled=False)
    app.demo.close(verbose=False)


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    """A photo taken with the camera on its side: 192 x 128 in the file, 128 x 192 the right way up."""
    path = tmp_path / "IMG 0001.JPG"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    with Image.open(Path(data_dir) / "chelsea.png") as cat:
        cat.convert("RGB").crop((100, 60, 292, 188)).save(path, quality=92, exif=exif)
    return path


def command_line(photo: Path, out: Path, *options: str) -> Path:
    """What `nrknet deblur` makes of a photo."""
    command = [sys.executable, "-m", "nrknet", "deblur", str(photo), "-o", str(out), *options]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True, timeout=300)
    (result,) = out.iterdir()
    return result


def test_download_is_the_file_that_the_command_line_writes(client: Client, portrait: Path, tmp_path: Path) -> None:
    _, _, download = client.predict(handle_file(portrait), api_name="/deblur")
    expected = command_line(portrait, tmp_path / "out")
    assert Path(download).name == expected.name == portrait.name
    assert Path(download).read_bytes() == expected.read_bytes()


def test_16_bit_file_reaches_the_network_and_the_download_unreduced(client: Client, tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    photo = tmp_path / "scan.tif"
    ramp = np.linspace(0, 65535, 64 * 48 * 3).reshape(64, 48, 3)
    tifffile.imwrite(photo, ramp.astype(np.uint16), photometric="rgb")
    _, _, download = client.predict(handle_file(photo), api_name="/deblur")
    assert tifffile.imread(download).dtype == np.uint16
    assert Path(download).read_bytes() == command_line(photo, tmp_path / "out").read_bytes()


def test_pictures_on_the_page_are_upright_and_of_full_size(client: Client, portrait: Path) -> None:
    shown, defocus_map, _ = client.predict(handle_file(portrait), api_name="/deblur")
    assert Image.open(shown["before"]).size == Image.open(shown["after"]).size == (128, 192)
    assert (shown["width"], shown["height"]) == (128, 192)
    width, height = Image.open(defocus_map).size
    assert width == MAP_WIDTHS[0] and height > width * 192 / 128  # the map, and its scale below


def test_picture_before_has_exactly_the_pixels_of_the_photo(client: Client, portrait: Path) -> None:
    shown, _, _ = client.predict(handle_file(portrait), api_name="/deblur")
    upright = Image.open(portrait).transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(np.asarray(Image.open(shown["before"])), np.asarray(upright))


def test_example_photo_works_exactly_too(client: Client) -> None:
    example = client.predict("Cat", api_name="/example")
    _, _, download = client.predict(handle_file(example), precision="exact", api_name="/deblur")
    assert Image.open(download).size == Image.open(example).size == Image.open(EXAMPLES["Cat"]).size


def fails_with(client: Client, photo: Path | None) -> str:
    """The message for a photo that cannot be deblurred."""
    with pytest.raises(AppError) as caught:
        client.predict(None if photo is None else handle_file(photo), api_name="/deblur")
    return str(caught.value)


def is_one_sentence(message: str) -> bool:
    return message.endswith(".") and "\n" not in message and ". " not in message and len(message) < 200


def test_broken_file_gives_one_sentence_that_keeps_the_servers_folders_private(client: Client, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 not a photo")
    message = fails_with(client, broken)
    assert is_one_sentence(message), message
    assert "broken.jpg" in message and "/" not in message


def test_photo_that_is_too_small_gives_one_sentence(client: Client, tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (12, 40)).save(small)
    message = fails_with(client, small)
    assert is_one_sentence(message) and "16" in message, message


def test_photo_that_is_too_large_gives_one_sentence(
    client: Client, portrait: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restorer, "LARGEST_PHOTO", 10_000)
    message = fails_with(client, portrait)
    assert is_one_sentence(message) and "megapixels" in message, message


def test_no_photo_gives_one_sentence(client: Client) -> None:
    assert fails_with(client, None) == "Drop a photo first, or pick one of the examples."


def test_api_page_documents_the_endpoints_and_no_other(client: Client) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(endpoints) == ["/deblur", "/deblur_many", "/kernel", "/refocus", "/example"]
    names = [parameter["parameter_name"] for parameter in endpoints["/deblur"]["parameters"]]
    assert names == ["photo", "model", "precision", "strength", "terms"]
    assert all(parameter["parameter_has_default"] for parameter in endpoints["/refocus"]["parameters"][1:])


def test_strength_and_terms_give_the_file_that_the_command_line_writes(
    client: Client, portrait: Path, tmp_path: Path
) -> None:
    _, _, whole = client.predict(handle_file(portrait), api_name="/deblur")
    _, _, half = client.predict(handle_file(portrait), strength=0.5, terms=1, api_name="/deblur")
    expected = command_line(portrait, tmp_path / "out", "--strength", "0.5", "--terms", "1")
    assert Path(half).read_bytes() == expected.read_bytes() != Path(whole).read_bytes()


def test_another_strength_needs_no_network(client: Client, portrait: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, _, _ = client.predict(handle_file(portrait), api_name="/deblur")
    monkeypatch.setattr(restorer, "load_deblurrer", lambda *names: pytest.fail("the result is known"))
    weaker, _, _ = client.predict(handle_file(portrait), strength=0.4, api_name="/deblur")
    before, after, mixed = (
        np.asarray(Image.open(file)).astype(float) for file in (shown["before"], shown["after"], weaker["after"])
    )
    assert np.abs(mixed - (before + 0.4 * (after - before))).max() <= 0.51


def test_several_photos_come_back_in_one_zip_and_a_broken_one_is_named(
    client: Client, portrait: Path, tmp_path: Path
) -> None:
    broken, other = tmp_path / "broken.jpg", tmp_path / "other" / "IMG 0001.JPG"
    broken.write_bytes(b"not a photo")
    other.parent.mkdir()
    Image.open(portrait).rotate(180).save(other)
    photos = [handle_file(file) for file in (portrait, broken, other)]
    archive, table = client.predict(photos, api_name="/deblur_many")
    rows = table["data"]
    assert [row[0] for row in rows] == [portrait.name, "broken.jpg", portrait.name]
    assert is_one_sentence(rows[1][1]) and "broken.jpg" in rows[1][1] and "/" not in rows[1][1]
    with zipfile.ZipFile(archive) as zipped:
        names = zipped.namelist()
        assert len(set(names)) == 2 and all("IMG 0001" in name for name in names)
        assert [row[1] for row in (rows[0], rows[2])] == [f"restored as {name}" for name in names]
        first = zipped.read(names[0])
    assert first == command_line(portrait, tmp_path / "out").read_bytes()


def test_no_photos_and_too_many_are_refused(
    client: Client, portrait: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AppError, match="Drop a photo first"):
        client.predict([], api_name="/deblur_many")
    monkeypatch.setattr(endpoints, "MOST_PHOTOS", 1)
    with pytest.raises(AppError, match="2 photos are more than 1; `nrknet deblur` takes any number"):
        client.predict([handle_file(portrait)] * 2, api_name="/deblur_many")


def test_the_kernel_at_a_pixel_is_drawn_and_said(client: Client) -> None:
    photo = client.predict("Portrait", api_name="/example")
    picture, said = client.predict(handle_file(photo), row=200, column=260, api_name="/kernel")
    assert min(Image.open(picture).size) >= KERNEL_SIDE
    assert said.startswith("At row 200, column 260 the photo is")
    with pytest.raises(AppError, match="pixel must lie in the photo"):
        client.predict(handle_file(photo), row=9000, column=0, api_name="/kernel")


def test_focus_moves_to_a_pixel(client: Client, portrait: Path) -> None:
    shown, download = client.predict(handle_file(portrait), row=10, column=20, aperture=2, api_name="/refocus")
    assert shown["pixel"] == {"row": 10, "column": 20} and shown["after_label"] == "refocused"
    assert Path(download).name == "IMG 0001_refocused.JPG" and Image.open(download).size == (128, 192)
    still, _ = client.predict(handle_file(portrait), row=10, column=20, aperture=0, api_name="/refocus")
    sharp, _, _ = client.predict(handle_file(portrait), api_name="/deblur")
    assert np.array_equal(np.asarray(Image.open(still["after"])), np.asarray(Image.open(sharp["after"])))


def test_an_unknown_example_names_the_known_ones(client: Client) -> None:
    with pytest.raises(AppError, match="Cat, Motorcycle, Coffee, Portrait"):
        client.predict("Dog", api_name="/example")


def test_what_is_remembered_is_cleared_away_when_old_or_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, photo = tmp_path / "kept", tmp_path / "photo.png"
    keeper = restorer.Restorer(folder)
    Image.new("RGB", (32, 32), (90, 120, 60)).save(photo)
    for terms in (1, 2, 3):
        keeper.restore(str(photo), restorer.Settings(terms=terms))
    assert len(list(folder.iterdir())) == 3
    one = sum(file.stat().st_size for file in next(folder.iterdir()).iterdir())
    monkeypatch.setattr(restorer, "KEPT_BYTES", 2 * one)
    keeper.clear_away()
    assert len(list(folder.iterdir())) == 2
    monkeypatch.setattr(restorer, "KEEP_FOR", -1)
    keeper.clear_away()
    assert not list(folder.iterdir())


def test_a_link_opens_the_page_with_its_settings_and_ignores_what_makes_no_sense() -> None:
    def opened(query: dict[str, str]) -> tuple[str, str, float, int]:
        return app.settings_of_link(SimpleNamespace(query_params=query))  # type: ignore[arg-type]

    assert opened({"precision": "exact", "strength": "0.35", "terms": "2"}) == ("default", "exact", 0.35, 2)
    assert opened({}) == opened({"model": "../../etc", "precision": "x", "strength": "nan", "terms": "9"})
    assert opened({}) == ("default", "auto", 1.0, 3)


def test_model_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(restorer, "Deblurrer", lambda model, **_: made.append(model))
    restorer._load.cache_clear()
    for _ in range(3):
        restorer.load_deblurrer("default", "auto")
    restorer._load.cache_clear()
    assert made == ["default"]


def test_app_asks_a_space_for_its_gpu_before_torch_is_there(tmp_path: Path) -> None:
    (tmp_path / "spaces.py").write_text(
        "import sys\n"
        "assert 'torch' not in sys.modules\n"
        "def GPU(function):\n"
        "    print('GPU for', function.__name__)\n"
        "    return function\n"
    )
    environment = {**os.environ, "SPACES_ZERO_GPU": "true", "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", "import app"], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["GPU for run_network", "GPU for find_kernel"]


def test_examples_are_the_same_each_time(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    made, again = make_examples(first), make_examples(second)
    assert len(made) >= 2
    assert [path.read_bytes() for path in made.values()] == [path.read_bytes() for path in again.values()]


def test_defocus_map_is_dark_where_sharp_and_bright_where_blurred() -> None:
    radius = np.zeros((100, 600), dtype=np.float32)
    radius[:, 300:] = 6
    drawn = np.asarray(draw_defocus_map(radius)).astype(int).sum(axis=2)
    assert (drawn[:100, :300] < 60).all() and (drawn[:100, 300:] > 600).all()


@pytest.mark.parametrize("shape", [(16, 16), (16, 5000), (3000, 20)])
def test_defocus_map_of_any_shape_is_drawn_at_a_readable_width(shape: tuple[int, int]) -> None:
    drawn = draw_defocus_map(np.ones(shape, dtype=np.float32))
    assert MAP_WIDTHS[0] <= drawn.width <= MAP_WIDTHS[1]


def test_a_kernel_is_drawn_with_its_middle_brightest_and_what_is_below_0_in_blue() -> None:
    kernel = np.zeros((41, 41), np.float32)
    kernel[20, 20], kernel[20, 24] = 0.9, -0.1
    drawn = np.asarray(draw_kernel(kernel, 2.0)).astype(int)
    side, pixels = drawn.shape[1], 11
    zoom = side // pixels
    assert drawn[side // 2, side // 2].sum() > 600
    red, _, blue = drawn[side // 2, side // 2 + 4 * zoom]
    assert blue > red


def test_palette_rises_in_lightness() -> None:
    assert (np.diff(palette() @ [0.2126, 0.7152, 0.0722]) >= 0).all()


def test_screen_picture_keeps_the_profile_and_shrinks_only_when_told(tmp_path: Path) -> None:
    pixels = np.full((40, 60, 3), 32896, dtype=np.uint16)
    photo = Photo(pixels, icc_profile=b"profile")
    full = Image.open(save_screen_picture(photo, tmp_path / "full"))
    small = Image.open(save_screen_picture(photo, tmp_path / "small", longest=30))
    assert (full.size, small.size) == ((60, 40), (30, 20))
    assert full.getpixel((5, 5)) == (128, 128, 128) and full.info["icc_profile"] == b"profile"
