"""Where the published benchmarks keep their photos, as their authors lay them out, and any folder of pairs."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A defocused photo and its sharp version on disk."""

    name: str
    blurred: Path
    sharp: Path


@dataclass(frozen=True)
class Masked:
    """A defocused photo without a sharp version, and the mask of its blurred part (white), where there is one."""

    name: str
    blurred: Path
    mask: Path | None = None


def find_photos(dataset: str, root: Path, *, split: str = "test") -> list[Pair] | list[Masked]:
    """The photos of a data set, in the order of their names.

    Args:
        dataset: one of DATASETS.
        root: its folder, under the name that its authors gave it or any other.
        split: "train", "val" or "test", where the data set has it; RealDOF, RTF, CUHK and "pairs" have only one.

    Returns:
        Pairs; for CUHK, of which no sharp versions exist, photos with their masks.

    Raises:
        ValueError: an unknown data set or split, or a folder that is laid out in another way; names what is missing.
    """
    _check(dataset, DATASETS, root, split)
    return DATASETS[dataset](Path(root), split)


def find_pairs(dataset: str, root: Path, *, split: str = "test") -> list[Pair]:
    """As `find_photos`, of the data sets whose photos have sharp partners: one of PAIRED."""
    _check(dataset, PAIRED, root, split)
    return PAIRED[dataset](Path(root), split)


def _check(dataset: str, known: Iterable[str], root: Path, split: str) -> None:
    if dataset not in known:
        raise ValueError(f"unknown data set {dataset!r}; known: {', '.join(known)}")
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    if not Path(root).is_dir():
        raise ValueError(f"{root}: no such folder")


def pairs_from_folder(root: Path) -> list[Pair]:
    """Pairs of root/source and root/target: equal stems where they are all equal, sorted order otherwise.

    Raises:
        ValueError: a folder is missing or empty, or the two hold different numbers of photos.
    """
    root = Path(root)
    layout = "expected source/ (defocused) and target/ (sharp)"
    blurred, sharp = _photos(root / "source", layout), _photos(root / "target", layout)
    _same_number(root, "source", blurred, "target", sharp)
    by_stem = {p.stem: p for p in sharp}
    if all(p.stem in by_stem for p in blurred):
        sharp = [by_stem[p.stem] for p in blurred]
    return [Pair(b.stem, b, s) for b, s in zip(blurred, sharp, strict=True)]


def _dpdd(root: Path, split: str) -> list[Pair]:
    """DPDD: names of partners differ by 1 or 2, so the sorted order pairs them."""
    base = _base(root, "dd_dp_dataset_png", f"{split}_c")
    layout = f"expected {split}_c/source and {split}_c/target, as in dd_dp_dataset_png"
    blurred, sharp = (_photos(base / f"{split}_c" / part, layout) for part in ("source", "target"))
    _same_number(base / f"{split}_c", "source", blurred, "target", sharp)
    return [Pair(b.stem, b, s) for b, s in zip(blurred, sharp, strict=True)]


def _lfdof(root: Path, split: str) -> list[Pair]:
    """LFDOF: several apertures and focus distances of a scene share one sharp photo."""
    if split == "val":
        raise ValueError("lfdof has the splits train and test, got 'val'")
    base = _base(root, "LFDOF", f"{split}_data")
    layout = f"expected {split}_data/input/IMG_X/IMG_X_apN_MM.png and {split}_data/ground_truth/IMG_X.png"
    inputs, truths = (base / f"{split}_data" / part for part in ("input", "ground_truth"))
    sharp = {p.stem: p for p in _photos(truths, layout)}
    scenes = sorted(p for p in _folder(inputs, layout).iterdir() if p.is_dir())
    if not scenes:
        raise ValueError(f"{inputs} holds no folders; {layout}")
    pairs = []
    for scene in scenes:
        for photo in _photos(scene, layout):
            if scene.name not in sharp:
                raise ValueError(f"{photo} has no partner {truths / scene.name}.png; {layout}")
            pairs.append(Pair(photo.stem, photo, sharp[scene.name]))
    return pairs


def _realdof(root: Path, split: str) -> list[Pair]:
    """RealDOF: source/NN.png and target/NN.png."""
    return pairs_from_folder(_base(root, "RealDOF", "source"))


def _rtf(root: Path, split: str) -> list[Pair]:
    """RTF: image/0/image_NN.png and GT/sharp_NN.png."""
    base = _base(root, "RTFDataset", "image")
    layout = "expected image/0/image_NN.png and GT/sharp_NN.png"
    blurred, sharp = _by_number(base / "image" / "0", layout), _by_number(base / "GT", layout)
    for number, photo in blurred.items():
        if number not in sharp:
            raise ValueError(f"{photo} has no partner in {base / 'GT'}/; {layout}")
    return [Pair(photo.stem, photo, sharp[number]) for number, photo in blurred.items()]


def _cuhk(root: Path, split: str) -> list[Masked]:
    """CUHK-BD: image/out_of_focusNNNN.jpg, masks in gt/ (or mask/); its photos blurred by motion are left out."""
    layout = "expected image/out_of_focusNNNN.jpg and, for the masks, gt/out_of_focusNNNN.png"
    photos = [p for p in _photos(root / "image", layout) if p.stem.startswith("out_of_focus")]
    if not photos:
        raise ValueError(f"{root / 'image'}/ holds no photo named out_of_focusNNNN; {layout}")
    folder = next((root / name for name in ("gt", "mask") if (root / name).is_dir()), None)
    if folder is None:
        return [Masked(photo.stem, photo) for photo in photos]
    masks = {mask.stem: mask for mask in _photos(folder, layout)}
    for photo in photos:
        if photo.stem not in masks:
            raise ValueError(f"{photo} has no mask {folder / photo.stem}.png; {layout}")
    return [Masked(photo.stem, photo, masks[photo.stem]) for photo in photos]


def check_photos(photos: Sequence[Pair] | Sequence[Masked], *, has_truth: bool) -> None:
    """Find out from the files' headers, before hours of work, that photos are what an evaluation needs.

    Args:
        photos: what is to be evaluated.
        has_truth: whether Pairs are needed, or Masked photos.

    Raises:
        ValueError: there are none, they are of the other kind, or partners differ in size.
        ImageError: a file is missing or no image.
    """
    from nrknet.imageio import photo_size

    if not photos:
        raise ValueError("there are no photos to evaluate")
    for photo in photos:
        if isinstance(photo, Pair) != has_truth:
            needs, has = ("photos with", "none") if has_truth else ("photos without", "one")
            raise ValueError(f"this protocol is for {needs} a sharp version; {photo.blurred} has {has}")
        partner = photo.sharp if isinstance(photo, Pair) else photo.mask
        sizes = [photo_size(path) for path in (photo.blurred, partner) if path is not None]
        if sizes[0] != sizes[-1]:
            unequal = "{}x{} pixels, {}x{}".format(*sizes[0], *sizes[-1])
            raise ValueError(f"{photo.blurred} and {partner} differ in size ({unequal}); expected equal sizes")


PAIRED: dict[str, Callable[[Path, str], list[Pair]]] = {
    "pairs": lambda root, split: pairs_from_folder(root),
    "dpdd": _dpdd,
    "lfdof": _lfdof,
    "realdof": _realdof,
    "rtf": _rtf,
}
DATASETS: dict[str, Callable[[Path, str], list[Pair] | list[Masked]]] = {**PAIRED, "cuhk": _cuhk}
SPLITS = ("train", "val", "test")


def _base(root: Path, authors_name: str, marker: str) -> Path:
    """The data set's own folder: `root`, or the one of the authors' name inside it."""
    inside = root / authors_name
    return inside if not (root / marker).is_dir() and inside.is_dir() else root


def _folder(folder: Path, layout: str) -> Path:
    if not folder.is_dir():
        raise ValueError(f"{folder}/ is missing; {layout}")
    return folder


def _photos(folder: Path, layout: str) -> list[Path]:
    """Photos of a folder in sorted order, at least one."""
    from nrknet.imageio import is_probably_image  # here, so that the command line knows the names without it

    found = sorted(p for p in _folder(folder, layout).iterdir() if p.is_file() and is_probably_image(p))
    if not found:
        raise ValueError(f"{folder}/ holds no photos; {layout}")
    return found


def _by_number(folder: Path, layout: str) -> dict[int, Path]:
    """Photos by the number that ends their names."""
    numbered = {}
    for photo in _photos(folder, layout):
        digits = re.search(r"\d+$", photo.stem)
        if not digits:
            raise ValueError(f"{photo} has no number in its name; {layout}")
        numbered[int(digits[0])] = photo
    return numbered


def _same_number(root: Path, left: str, blurred: Sequence[Path], right: str, sharp: Sequence[Path]) -> None:
    if len(blurred) != len(sharp):
        counts = f"{left}/ holds {len(blurred)} photos and {right}/ {len(sharp)}"
        stems = [{photo.stem for photo in side} for side in (blurred, sharp)]
        alone = [p for p in (*blurred, *sharp) if not all(p.stem in side for side in stems)]
        named = f", and {alone[0]} has no namesake" if alone else ""
        raise ValueError(f"{root}: {counts}; expected equal numbers{named}")
