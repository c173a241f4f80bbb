"""Benchmarks are found as their authors lay them out; a folder in any other order is refused in one sentence."""

from pathlib import Path

import numpy as np
import pytest
from networks import one_line
from PIL import Image

from nrknet.datasets import DATASETS, find_pairs


def save(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path)


def dpdd(root: Path) -> None:
    for split in ("train", "val", "test"):
        for number in (12, 14, 20):
            save(root / f"{split}_c" / "source" / f"1P0A{number}.png")
            save(root / f"{split}_c" / "target" / f"1P0A{number + 1}.png")


def lfdof(root: Path) -> None:
    for split in ("train", "test"):
        for scene in ("IMG_3", "IMG_10"):
            save(root / f"{split}_data" / "ground_truth" / f"{scene}.png")
            for shot in ("ap1_05", "ap2_11"):
                save(root / f"{split}_data" / "input" / scene / f"{scene}_{shot}.png")


def realdof(root: Path) -> None:
    for number in range(3):
        save(root / "source" / f"{number:02}.png", root / "target" / f"{number:02}.png")


def rtf(root: Path) -> None:
    for number in (0, 1, 11):
        save(root / "image" / "0" / f"image_{number:02}.png", root / "GT" / f"sharp_{number:02}.png")


LAYOUTS = {"pairs": realdof, "dpdd": dpdd, "lfdof": lfdof, "realdof": realdof, "rtf": rtf}
FOLDERS = {"dpdd": "dd_dp_dataset_png", "lfdof": "LFDOF", "realdof": "RealDOF", "rtf": "RTFDataset"}
FIRST = {
    "pairs": ("00.png", "00.png"),
    "dpdd": ("1P0A12.png", "1P0A13.png"),
    "lfdof": ("IMG_10_ap1_05.png", "IMG_10.png"),
    "realdof": ("00.png", "00.png"),
    "rtf": ("image_00.png", "sharp_00.png"),
}


def test_every_data_set_has_a_layout_here() -> None:
    assert set(LAYOUTS) == set(DATASETS)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("inside", [False, True], ids=["its folder", "the folder above"])
def test_pairs_are_found_in_the_authors_layout(name: str, inside: bool, tmp_path: Path) -> None:
    if inside and name not in FOLDERS:
        pytest.skip("pairs have no name of their own")
    LAYOUTS[name](tmp_path / FOLDERS[name] if inside else tmp_path)
    pairs = find_pairs(name, tmp_path)
    assert len(pairs) == (4 if name == "lfdof" else 3)
    assert (pairs[0].blurred.name, pairs[0].sharp.name) == FIRST[name]
    assert len({pair.name for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert pair.blurred.is_file() and pair.sharp.is_file() and pair.blurred.parent != pair.sharp.parent


@pytest.mark.parametrize("name", ["dpdd", "lfdof"])
def test_a_split_is_read_from_its_own_folder(name: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    for split in ("train", "test"):
        assert all(f"{split}_" in str(p.blurred.relative_to(tmp_path)) for p in find_pairs(name, tmp_path, split=split))


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_empty_folder_is_refused_and_told_what_was_expected(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is missing; expected") as error:
        find_pairs(name, tmp_path)
    one_line(error.value)


def remove(path: Path) -> None:
    assert path.is_file()
    path.unlink()


@pytest.mark.parametrize(
    ("name", "gone", "named"),
    [
        ("dpdd", "test_c/target/1P0A15.png", "source/ holds 3 photos and target/ 2"),
        ("realdof", "target/01.png", "source/ holds 3 photos and target/ 2"),
        ("lfdof", "test_data/ground_truth/IMG_3.png", "IMG_3_ap1_05.png has no partner"),
        ("rtf", "GT/sharp_11.png", "image_11.png has no partner"),
    ],
)
def test_a_missing_partner_is_named(name: str, gone: str, named: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    remove(tmp_path / gone)
    with pytest.raises(ValueError, match=named) as error:
        find_pairs(name, tmp_path)
    one_line(error.value)


def test_wrong_names_are_refused_and_the_known_ones_listed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown data set 'DPDD'; known: pairs, dpdd"):
        find_pairs("DPDD", tmp_path)
    with pytest.raises(ValueError, match="unknown split 'all'; known: train, val, test"):
        find_pairs("dpdd", tmp_path, split="all")
    with pytest.raises(ValueError, match="no such folder"):
        find_pairs("dpdd", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="lfdof has the splits train and test"):
        find_pairs("lfdof", tmp_path, split="val")


def test_a_photo_without_a_number_is_named(tmp_path: Path) -> None:
    rtf(tmp_path)
    save(tmp_path / "GT" / "sharp_x.png")
    with pytest.raises(ValueError, match=r"sharp_x\.png has no number in its name"):
        find_pairs("rtf", tmp_path)
