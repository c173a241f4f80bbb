"""What a folder of training data is, recognised by its layout, and the crops that a recipe takes from it."""

import logging
import re
from pathlib import Path
from typing import Any, Protocol

import torch

from nrknet.curation import find_all
from nrknet.data import RenderedCrops, SharpPhotos
from nrknet.datasets import PAIRED, Pair, find_pairs
from nrknet.fingerprint import fingerprint_files
from nrknet.inference import Deblurrer
from nrknet.pairs import PairedCrops, check_pairs, hold_out
from nrknet.processes import Processes
from nrknet.recipes import Recipe
from nrknet.stream import Crops, CropStream, StreamOptions

log = logging.getLogger(__name__)

SHARP, AUTO = "sharp", "auto"
TRAINING_DATA = (AUTO, SHARP, *PAIRED)
"""Names for the layout of a folder of training data."""

NUM_VALIDATION, VALIDATION_SEED = 24, 12345
"""The validation crops are the same for every seed, budget and network of one crop size."""

_FOLDERS = {
    "dpdd": ("dd_dp_dataset_png", ("train_c", "val_c", "test_c")),
    "lfdof": ("LFDOF", ("train_data", "test_data")),
    "rtf": ("RTFDataset", ("image/0",)),
    "realdof": ("RealDOF", ()),
    "pairs": ("", ("source", "target")),
}
"""What gives a layout away: the authors' name of the whole, inside `root`, or folders of theirs."""
_TRAIN_SPLITS = ("dpdd", "lfdof")
_CUHK_NAME = re.compile(r"out_of_focus\d+", re.IGNORECASE)


class Source(Protocol):
    """Photos to train on.

    Attributes:
        name: of their layout.
        has_radius: whether the true blur radius of the crops is known.
    """

    name: str
    has_radius: bool

    def summary(self) -> dict[str, Any]:
        """What the data are, for the records of the run."""

    def fingerprint(self) -> str:
        """A short hash of the names and sizes of all files."""

    def stream(self, processes: Processes, *, pool: int, seed: int) -> CropStream[Any]:
        """Training crops."""

    def validation(self, device: torch.device, *, count: int = NUM_VALIDATION) -> Crops:
        """A pool of at most `count` crops of photos that are held out of training."""


def recognise(root: Path) -> str:
    """The name of a folder's layout, one of TRAINING_DATA: pairs as somebody lays them out, else sharp photos.

    Raises:
        ValueError: no folder, or photos of CUHK, which have no sharp versions.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; expected a folder of sharp photos or of pairs")
    for name, (authors_name, folders) in _FOLDERS.items():
        if any((root / folder).is_dir() for folder in (authors_name, *folders) if folder):
            return name
    if any(_CUHK_NAME.fullmatch(path.stem) for path in (*root.glob("*.jpg"), *root.glob("*/*.jpg"))):
        raise ValueError(
            f"{root} holds CUHK's out_of_focusNNNN.jpg, which have no sharp versions to train towards; "
            "expected sharp photos, which are defocused on the fly, or pairs in source/ and target/"
        )
    return SHARP


def open_source(
    root: Path,
    dataset: str,
    recipe: Recipe,
    *,
    curator: Deblurrer | None = None,
    processes: Processes | None = None,
) -> Source:
    """Find the training data of a folder and check every file.

    Args:
        root: the folder.
        dataset: one of TRAINING_DATA.
        recipe: its crops must fit into the photos.
        curator: leaves out crops of sharp photos of which this network finds a part out of focus.
        processes: that open the same data: they share the curator's work, and pairs are decoded by the first of each
            machine alone; sharp photos are kept in memory, and so decoded by each.

    Raises:
        ValueError: an unknown name, another layout, a missing partner, a file that cannot be read, or photos too small.
    """
    if dataset not in TRAINING_DATA:
        raise ValueError(f"unknown data set {dataset!r}; known: {', '.join(TRAINING_DATA)}")
    name = recognise(root) if dataset == AUTO else dataset
    if curator is not None and name != SHARP:
        raise ValueError(f"a curator looks through sharp photos; {root} holds {name}, whose truth is given")
    source: Source
    if name == SHARP:
        source = SharpSource(root, recipe, curator, processes)
    else:
        source = PairSource(root, name, recipe, check=processes is None or processes.is_first_here)
    log.info("training data: %s", ", ".join(f"{key} {value}" for key, value in source.summary().items()))
    return source


class SharpSource:
    """Sharp photos, defocused on the fly; every tenth is held out."""

    name, has_radius = SHARP, True

    def __init__(
        self, root: Path, recipe: Recipe, curator: Deblurrer | None = None, processes: Processes | None = None
    ) -> None:
        photos = SharpPhotos(root, least_side=min(recipe.size, 64))
        self._files = photos.paths
        self._recipe, self._is_curated = recipe, curator is not None
        self._training, self._held_out = photos.split()
        self._softness, self._held_out_softness = (
            find_all(some, curator, processes) if curator else [] for some in (self._training, self._held_out)
        )

    def summary(self) -> dict[str, Any]:
        counts = {"photos": len(self._training), "validation_photos": len(self._held_out)}
        return {"dataset": self.name, **counts, "curated": self._is_curated}

    def fingerprint(self) -> str:
        return fingerprint_files(self._files)

    def stream(self, processes: Processes, *, pool: int, seed: int) -> RenderedCrops:
        recipe = self._recipe
        return RenderedCrops(
            self._training, _for_training(recipe, processes, pool=pool, seed=seed), margin=recipe.margin,
            defocus=recipe.defocus, jpeg_chance=recipe.jpeg_chance, flat_chance=recipe.flat_chance,
            softness=self._softness,
        )  # fmt: skip

    def validation(self, device: torch.device, *, count: int = NUM_VALIDATION) -> Crops:
        recipe, count = self._recipe, min(count, 4 * len(self._held_out))
        crops = RenderedCrops(
            self._held_out, _for_validation(recipe, device, count=count), margin=recipe.margin,
            defocus=recipe.defocus, softness=self._held_out_softness,
        )  # fmt: skip
        return crops.make_pool(0)


class PairSource:
    """Pairs of defocused and sharp photos; held out: the authors' validation split, else every tenth scene."""

    has_radius = False

    def __init__(self, root: Path, name: str, recipe: Recipe, *, check: bool) -> None:
        self.name, self._recipe = name, recipe
        if name not in _TRAIN_SPLITS:
            log.info("%s has no split of its own for training: all of it is used, and is no longer a test", name)
        training = find_pairs(name, root, split="train")
        self._training, self._held_out = (training, own) if (own := _own_validation(root, name)) else hold_out(training)
        if check:
            check_pairs([*self._training, *self._held_out], least_side=recipe.size)

    def summary(self) -> dict[str, Any]:
        return {"dataset": self.name, "pairs": len(self._training), "validation_pairs": len(self._held_out)}

    def fingerprint(self) -> str:
        pairs = (*self._training, *self._held_out)
        return fingerprint_files(path for pair in pairs for path in (pair.blurred, pair.sharp))

    def stream(self, processes: Processes, *, pool: int, seed: int) -> PairedCrops:
        return PairedCrops(self._training, _for_training(self._recipe, processes, pool=pool, seed=seed))

    def validation(self, device: torch.device, *, count: int = NUM_VALIDATION) -> Crops:
        return PairedCrops(self._held_out, _for_validation(self._recipe, device, count=count)).make_pool(0)


def _for_training(recipe: Recipe, processes: Processes, *, pool: int, seed: int) -> StreamOptions:
    return StreamOptions(
        size=recipe.size, batch=recipe.batch, pool=pool, reuse=recipe.reuse, seed=seed, device=processes.device,
        processes=processes,
    )  # fmt: skip


def _for_validation(recipe: Recipe, device: torch.device, *, count: int) -> StreamOptions:
    return StreamOptions(size=recipe.size, batch=1, pool=count, reuse=1, seed=VALIDATION_SEED, device=device)


def _own_validation(root: Path, name: str) -> list[Pair]:
    """The pairs of the data set's own validation split; none where it has none."""
    authors_name, folders = _FOLDERS[name]
    there = any((base / "val_c").is_dir() for base in (root, root / authors_name))
    return find_pairs(name, root, split="val") if "val_c" in folders and there else []
