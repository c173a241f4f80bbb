"""What the tests of several commands work on."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from commandline import save_photo
from hub_server import HubServer
from PIL import Image
from skimage.data import data_dir

from nrknet.config import PRESETS
from nrknet.model import NRKNet
from nrknet.weights import save_model


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
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "pairs"
    for i in range(3):
        save_photo(folder / "source" / f"{i}.png", size=(32, 32), seed=i)
        save_photo(folder / "target" / f"{i}.png", size=(32, 32), seed=i + 10)
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


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A stand-in of the Hub that this process talks to, logged in as `me`, with an empty cache."""
    with HubServer().running() as server:
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # another protocol
        without_waiting = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
        monkeypatch.setattr("huggingface_hub.utils._http.time", without_waiting)  # which tries again for 23 seconds
        monkeypatch.setenv("HF_TOKEN", "hf_write")
        yield server


@pytest.fixture(scope="module")
def app_url() -> Iterator[str]:
    """The web application, served on this machine."""
    import app

    _, url, _ = app.demo.launch(**app.LAUNCH, prevent_thread_lock=True, quiet=True)
    yield url
    app.demo.close(verbose=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium."""
    from playwright import sync_api
    from visits import launch

    with sync_api.sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def cat_photo(tmp_path: Path) -> Path:
    """A photo of 256 x 200 pixels."""
    path = tmp_path / "photo.png"
    with Image.open(Path(data_dir) / "chelsea.png") as cat:
        cat.convert("RGB").crop((60, 20, 316, 220)).save(path)
    return path
