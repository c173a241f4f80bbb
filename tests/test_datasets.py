"""Benchmarks are found as their authors lay them out; a folder in any other order is refused in one sentence."""

from pathlib import Path

import numpy as np
import pytest
from networks import one_line
from PIL import Image

from nrknet.datasets import DATASETS, Masked, Pair, check_photos, find_photos, pairs_from_folder
from nrknet.imageio import ImageError


def save(*paths: Path, size: tuple[int, int] = (16, 16)) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*size[::-1], 3), np.uint8)).save(path)


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


def cuhk(root: Path) -> None:
    for number in (2, 1, 30):
        save(root / "image" / f"out_of_focus{number:04}.jpg", root / "gt" / f"out_of_focus{number:04}.png")
    save(root / "image" / "motion0001.jpg", root / "gt" / "motion0001.png")


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
    assert {*LAYOUTS, "cuhk"} == set(DATASETS)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("inside", [False, True], ids=["its folder", "the folder above"])
def test_pairs_are_found_in_the_authors_layout(name: str, inside: bool, tmp_path: Path) -> None:
    if inside and name not in FOLDERS:
        pytest.skip("pairs have no name of their own")
    LAYOUTS[name](tmp_path / FOLDERS[name] if inside else tmp_path)
    pairs = find_photos(name, tmp_path)
    assert all(isinstance(pair, Pair) for pair in pairs)
    assert len(pairs) == (4 if name == "lfdof" else 3)
    assert (pairs[0].blurred.name, pairs[0].sharp.name) == FIRST[name]
    assert len({pair.name for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert pair.blurred.is_file() and pair.sharp.is_file() and pair.blurred.parent != pair.sharp.parent


@pytest.mark.parametrize("name", ["dpdd", "lfdof"])
def test_a_split_is_read_from_its_own_folder(name: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    for split in ("train", "test"):
        found = find_photos(name, tmp_path, split=split)
        assert all(f"{split}_" in str(photo.blurred.relative_to(tmp_path)) for photo in found)


@pytest.mark.parametrize("name", [*LAYOUTS, "cuhk"])
def test_an_empty_folder_is_refused_and_told_what_was_expected(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is missing; expected") as error:
        find_photos(name, tmp_path)
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
        ("cuhk", "gt/out_of_focus0002.png", "out_of_focus0002.jpg has no mask .*out_of_focus0002.png; expected"),
    ],
)
def test_a_missing_partner_is_named(name: str, gone: str, named: str, tmp_path: Path) -> None:
    {**LAYOUTS, "cuhk": cuhk}[name](tmp_path)
    remove(tmp_path / gone)
    with pytest.raises(ValueError, match=named) as error:
        find_photos(name, tmp_path)
    one_line(error.value)


def test_wrong_names_are_refused_and_the_known_ones_listed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown data set 'DPDD'; known: pairs, dpdd"):
        find_photos("DPDD", tmp_path)
    with pytest.raises(ValueError, match="unknown split 'all'; known: train, val, test"):
        find_photos("dpdd", tmp_path, split="all")
    with pytest.raises(ValueError, match="no such folder"):
        find_photos("dpdd", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="lfdof has the splits train and test"):
        find_photos("lfdof", tmp_path, split="val")


def test_a_photo_without_a_number_is_named(tmp_path: Path) -> None:
    rtf(tmp_path)
    save(tmp_path / "GT" / "sharp_x.png")
    with pytest.raises(ValueError, match=r"sharp_x\.png has no number in its name"):
        find_photos("rtf", tmp_path)


# --- photos without a sharp version


@pytest.mark.parametrize("masks", ["gt", "mask"])
def test_out_of_focus_photos_get_their_masks_and_moving_ones_stay_out(masks: str, tmp_path: Path) -> None:
    cuhk(tmp_path)
    (tmp_path / "gt").rename(tmp_path / masks)
    found = find_photos("cuhk", tmp_path)
    names = ["out_of_focus0001", "out_of_focus0002", "out_of_focus0030"]
    assert found == [
        Masked(name, tmp_path / "image" / f"{name}.jpg", tmp_path / masks / f"{name}.png") for name in names
    ]


def test_masks_may_be_missing_all_together(tmp_path: Path) -> None:
    cuhk(tmp_path)
    (tmp_path / "gt").rename(tmp_path / "elsewhere")
    found = find_photos("cuhk", tmp_path)
    assert len(found) == 3 and all(isinstance(photo, Masked) and photo.mask is None for photo in found)


def test_photos_of_other_names_are_not_taken_for_the_data_set(tmp_path: Path) -> None:
    save(tmp_path / "image" / "motion0001.jpg")
    with pytest.raises(ValueError, match="holds no photo named out_of_focusNNNN; expected image/") as error:
        find_photos("cuhk", tmp_path)
    one_line(error.value)


# --- any pairs


def test_pairs_are_matched_by_stem_whatever_the_order_and_suffix(tmp_path: Path) -> None:
    save(*(tmp_path / name for name in ("source/b.png", "source/a.png", "target/b.webp", "target/a.png")))
    found = [(pair.blurred.name, pair.sharp.name) for pair in pairs_from_folder(tmp_path)]
    assert found == [("a.png", "a.png"), ("b.png", "b.webp")]


def test_pairs_with_other_names_are_matched_in_sorted_order(tmp_path: Path) -> None:
    save(*(tmp_path / name for name in ("source/1P1.png", "source/1P3.png", "target/1P2.png", "target/1P4.png")))
    assert [pair.sharp.name for pair in pairs_from_folder(tmp_path)] == ["1P2.png", "1P4.png"]


# --- the check before an evaluation


def test_partners_of_unequal_size_are_named_with_both_sizes(tmp_path: Path) -> None:
    save(tmp_path / "a.png", tmp_path / "b.png")
    save(tmp_path / "c.png", size=(16, 15))
    with pytest.raises(ValueError, match=r"a\.png and .*c\.png differ in size \(16x16 pixels, 16x15\)") as error:
        check_photos(
            [Pair("a", tmp_path / "a.png", tmp_path / "b.png"), Pair("b", tmp_path / "a.png", tmp_path / "c.png")],
            has_truth=True,
        )
    one_line(error.value)
    with pytest.raises(ValueError, match=r"a\.png and .*c\.png differ in size"):
        check_photos([Masked("a", tmp_path / "a.png", tmp_path / "c.png")], has_truth=False)


def test_a_file_that_is_missing_or_no_image_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"not an image")
    for name in ("b.png", "gone.png"):
        with pytest.raises(ImageError, match=name) as error:
            check_photos([Pair("a", tmp_path / "a.png", tmp_path / name)], has_truth=True)
        one_line(error.value)


def test_a_protocol_gets_only_the_photos_that_it_is_for(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    pair, masked = Pair("a", tmp_path / "a.png", tmp_path / "a.png"), Masked("a", tmp_path / "a.png")
    check_photos([pair], has_truth=True)
    check_photos([masked], has_truth=False)
    with pytest.raises(ValueError, match="for photos with a sharp version; .*a.png has none"):
        check_photos([masked], has_truth=True)
    with pytest.raises(ValueError, match="for photos without a sharp version; .*a.png has one"):
        check_photos([pair], has_truth=False)
    with pytest.raises(ValueError, match="no photos"):
        check_photos([], has_truth=True)
