"""A folder of training data is known by its layout; test splits are never trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import one_line
from PIL import Image

from nrknet.processes import Processes
from nrknet.recipes import Recipe
from nrknet.sources import NUM_VALIDATION, PairSource, SharpSource, open_source, recognise

RECIPE = Recipe(size=16, margin=4, batch=2, pool=4, reuse=2)
CPU = Processes(torch.device("cpu"))


def save(*paths: Path, level: int = 0) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 24, 3), level, np.uint8)).save(path)


def sharp(root: Path) -> None:
    save(*(root / f"{i}.png" for i in range(3)))


def pairs(root: Path) -> None:
    save(*(root / part / f"{i:02}.png" for part in ("source", "target") for i in range(12)))


def dpdd(root: Path) -> None:
    for level, split in ((10, "train"), (20, "val"), (30, "test")):
        save(*(root / f"{split}_c" / part / f"{i}.png" for part in ("source", "target") for i in range(3)), level=level)


def lfdof(root: Path) -> None:
    for level, split in ((10, "train"), (30, "test")):
        for scene in range(12):
            save(root / f"{split}_data" / "ground_truth" / f"IMG_{scene:02}.png", level=level)
            shots = [f"IMG_{scene:02}/IMG_{scene:02}_ap{shot}_05.png" for shot in range(2)]
            save(*(root / f"{split}_data" / "input" / shot for shot in shots), level=level)


def rtf(root: Path) -> None:
    for i in range(3):
        save(root / "image" / "0" / f"image_{i:02}.png", root / "GT" / f"sharp_{i:02}.png")


LAYOUTS = {"sharp": sharp, "pairs": pairs, "dpdd": dpdd, "lfdof": lfdof, "rtf": rtf}
AUTHORS_FOLDERS = {"dpdd": "dd_dp_dataset_png", "lfdof": "LFDOF", "rtf": "RTFDataset", "realdof": "RealDOF"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_recognised(name: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    assert recognise(tmp_path) == name
    assert open_source(tmp_path, "auto", RECIPE).summary() == open_source(tmp_path, name, RECIPE).summary()


@pytest.mark.parametrize("name", AUTHORS_FOLDERS)
def test_a_layout_is_recognised_by_the_authors_folder_in_it(name: str, tmp_path: Path) -> None:
    {**LAYOUTS, "realdof": pairs}[name](tmp_path / AUTHORS_FOLDERS[name])
    assert recognise(tmp_path) == name
    assert isinstance(open_source(tmp_path, "auto", RECIPE), PairSource)


@pytest.mark.parametrize(
    ("name", "summary"),
    [
        ("sharp", {"dataset": "sharp", "photos": 2, "validation_photos": 1, "curated": False}),
        ("pairs", {"dataset": "pairs", "pairs": 10, "validation_pairs": 2}),
        ("dpdd", {"dataset": "dpdd", "pairs": 3, "validation_pairs": 3}),
        ("lfdof", {"dataset": "lfdof", "pairs": 20, "validation_pairs": 4}),
        ("rtf", {"dataset": "rtf", "pairs": 2, "validation_pairs": 1}),
    ],
)
def test_what_is_held_out_is_said(name: str, summary: dict[str, Any], tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    source = open_source(tmp_path, name, RECIPE)
    assert source.summary() == summary and source.has_radius == (name == "sharp")
    batch = source.stream(CPU, pool=4, seed=0).at(0)
    assert batch.sharp.shape == (2, 3, 16, 16) and (batch.radius is None) == (name != "sharp")
    held_out = source.validation(CPU.device)
    assert held_out.sharp.shape == (4 if name == "sharp" else NUM_VALIDATION, 3, 16, 16)


@pytest.mark.parametrize(("name", "held_out"), [("dpdd", 20), ("lfdof", 10)])
def test_the_test_split_is_never_used(name: str, held_out: int, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    source = open_source(tmp_path, "auto", RECIPE)
    assert source.stream(CPU, pool=32, seed=0).make_pool(0).sharp.unique().tolist() == [10]
    assert source.validation(CPU.device).sharp.unique().tolist() == [held_out]


def test_dpdd_without_its_validation_split_holds_scenes_out(tmp_path: Path) -> None:
    dpdd(tmp_path)
    (tmp_path / "val_c").rename(tmp_path / "gone")
    assert open_source(tmp_path, "auto", RECIPE).summary() == {"dataset": "dpdd", "pairs": 2, "validation_pairs": 1}


def test_a_test_split_alone_is_refused(tmp_path: Path) -> None:
    dpdd(tmp_path)
    (tmp_path / "train_c").rename(tmp_path / "gone")
    with pytest.raises(ValueError, match="train_c/source/ is missing; expected train_c/source and train_c/target"):
        open_source(tmp_path, "auto", RECIPE)


@pytest.mark.parametrize("inside", ["", "image"])
def test_cuhk_is_refused_as_it_has_no_sharp_versions(inside: str, tmp_path: Path) -> None:
    save(*(tmp_path / inside / f"out_of_focus{i:04}.jpg" for i in range(3)))
    with pytest.raises(ValueError, match="CUHK's .* have no sharp versions to train towards; expected") as caught:
        open_source(tmp_path, "auto", RECIPE)
    assert str(tmp_path) in one_line(caught.value)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("layout", "gone", "named"),
    [
        ("pairs", "target/03.png", "source/ holds 12 photos and target/ 11; .*source/03.png has no namesake"),
        ("pairs", "source/03.png", "source/ holds 11 photos and target/ 12; .*target/03.png has no namesake"),
        ("lfdof", "train_data/ground_truth/IMG_03.png", "IMG_03_ap0_05.png has no partner"),
        ("rtf", "GT/sharp_01.png", "image_01.png has no partner"),
    ],
)
def test_a_missing_partner_is_named(layout: str, gone: str, named: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path)
    remove(tmp_path / gone)
    with pytest.raises(ValueError, match=named) as caught:
        open_source(tmp_path, "auto", RECIPE)
    assert "expected" in one_line(caught.value)


def test_half_a_folder_of_pairs_is_no_folder_of_sharp_photos(tmp_path: Path) -> None:
    save(tmp_path / "source" / "a.png", tmp_path / "source" / "b.png")
    with pytest.raises(ValueError, match="target/ is missing; expected source/ .* and target/"):
        open_source(tmp_path, "auto", RECIPE)


def test_every_pair_is_decoded_before_training_unless_another_process_does(tmp_path: Path) -> None:
    pairs(tmp_path)
    (tmp_path / "target" / "07.png").write_bytes((tmp_path / "target" / "07.png").read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"target/07\.png") as caught:
        open_source(tmp_path, "pairs", RECIPE)
    one_line(caught.value)
    second = Processes(CPU.device)
    second.is_first_here = False
    assert open_source(tmp_path, "pairs", RECIPE, processes=second).summary()["pairs"] == 10


@pytest.mark.parametrize("layout", ["sharp", "pairs"])
def test_equal_data_have_one_fingerprint_wherever_they_are_and_other_data_another(layout: str, tmp_path: Path) -> None:
    for name in "ab":
        LAYOUTS[layout](tmp_path / name)

    def fingerprint(name: str) -> str:
        return open_source(tmp_path / name, layout, RECIPE).fingerprint()

    before = fingerprint("a")
    assert before == fingerprint("b")
    changed = next(path for path in sorted((tmp_path / "b").rglob("*.png")))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(changed)
    assert fingerprint("b") != before


def test_validation_crops_of_sharp_photos_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    sharp(tmp_path)
    one = SharpSource(tmp_path, RECIPE).validation(CPU.device)
    other = SharpSource(tmp_path, Recipe(size=16, margin=4, batch=8, pool=16)).validation(CPU.device)
    assert torch.equal(one.blurred, other.blurred)


def test_wrong_names_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown data set 'cuhk'; known: auto, sharp, pairs, dpdd"):
        open_source(tmp_path, "cuhk", RECIPE)
    with pytest.raises(ValueError, match="is not a folder; expected a folder of sharp photos or of pairs"):
        open_source(tmp_path / "nowhere", "auto", RECIPE)
