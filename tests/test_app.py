"""The web application, driven as a program drives it: over its API."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import data_dir

pytest.importorskip("gradio", reason="the web application needs gradio")

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

import app
from demo.examples import make_examples
from demo.pictures import MAP_WIDTHS, draw_defocus_map, palette, save_screen_picture
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


def command_line(photo: Path, out: Path) -> Path:
    """What `nrknet deblur` makes of a photo."""
    command = [sys.executable, "-m", "nrknet", "deblur", str(photo), "-o", str(out)]
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
    (before, after), defocus_map, _ = client.predict(handle_file(portrait), api_name="/deblur")
    assert Image.open(before).size == Image.open(after).size == (128, 192)
    width, height = Image.open(defocus_map).size
    assert width == MAP_WIDTHS[0] and height > width * 192 / 128  # the map, and its scale below


def test_picture_before_has_exactly_the_pixels_of_the_photo(client: Client, portrait: Path) -> None:
    (before, _), _, _ = client.predict(handle_file(portrait), api_name="/deblur")
    upright = Image.open(portrait).transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(np.asarray(Image.open(before)), np.asarray(upright))


def test_example_photo_works_exactly_too(client: Client) -> None:
    example = Path(app._examples_folder.name) / "cat.png"
    _, _, download = client.predict(handle_file(example), precision="exact", api_name="/deblur")
    assert Image.open(download).size == Image.open(example).size


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
    monkeypatch.setattr(app, "LARGEST_PHOTO", 10_000)
    message = fails_with(client, portrait)
    assert is_one_sentence(message) and "megapixels" in message, message


def test_no_photo_gives_one_sentence(client: Client) -> None:
    assert fails_with(client, None) == "Drop a photo first, or pick one of the examples."


def test_api_page_documents_the_endpoint_and_no_other(client: Client) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(endpoints) == ["/deblur"]
    assert [parameter["parameter_name"] for parameter in endpoints["/deblur"]["parameters"]][0] == "photo"


def test_model_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(app, "Deblurrer", lambda model, **_: made.append(model))
    app._load.cache_clear()
    for _ in range(3):
        app.load_deblurrer("default", "auto")
    app._load.cache_clear()
    assert made == ["default"]


def test_app_asks_a_space_for_its_gpu_before_torch_is_there(tmp_path: Path) -> None:
    (tmp_path / "spaces.py").write_text(
        "import sys\n"
        "assert 'torch' not in sys.modules\n"
        "def GPU(function):\n"
        "    print('GPU for', function.__name__)\n"
        "    return function\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", "import app"], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "GPU for deblur\n"


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


def test_palette_rises_in_lightness() -> None:
    assert (np.diff(palette() @ [0.2126, 0.7152, 0.0722]) >= 0).all()


def test_screen_picture_keeps_the_profile_and_shrinks_only_when_told(tmp_path: Path) -> None:
    pixels = np.full((40, 60, 3), 32896, dtype=np.uint16)
    photo = Photo(pixels, icc_profile=b"profile")
    full = Image.open(save_screen_picture(photo, tmp_path / "full"))
    small = Image.open(save_screen_picture(photo, tmp_path / "small", longest=30))
    assert (full.size, small.size) == ((60, 40), (30, 20))
    assert full.getpixel((5, 5)) == (128, 128, 128) and full.info["icc_profile"] == b"profile"
