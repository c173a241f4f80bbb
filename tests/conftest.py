"""What the tests of several commands work on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commandline import save_photo

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
