"""Scores of a model, or of any method's saved outputs, on pairs of defocused and sharp photos."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nrknet.imageio import is_probably_image, read_photo
from nrknet.inference import Deblurrer
from nrknet.metrics import METRICS


@dataclass(frozen=True)
class Pair:
    """A defocused photo and its sharp version on disk."""

    name: str
    blurred: Path
    sharp: Path


@dataclass(frozen=True)
class ImageScores:
    """Scores of one photo; `before` are the input's, `after` the output's, keyed as METRICS; seconds to deblur it."""

    name: str
    before: dict[str, float]
    after: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Scores:
    """Scores of a set of pairs under a named protocol."""

    protocol: str
    model: str
    images: tuple[ImageScores, ...]

    @property
    def mean(self) -> dict[str, float]:
        """Means over the photos: NAME_input, NAME for the output, and the share of photos whose PSNR rose."""
        result: dict[str, float] = {}
        for name in METRICS:
            result[f"{name}_input"] = statistics.fmean(i.before[name] for i in self.images)
            result[name] = statistics.fmean(i.after[name] for i in self.images)
        better = [i.after["psnr"] > i.before["psnr"] for i in self.images]
        result["share_better"] = sum(better) / len(better)
        result["seconds"] = statistics.fmean(i.seconds for i in self.images)
        return result

    def to_json(self) -> str:
        """Everything, rounded to 5 digits, as JSON."""
        content = {"protocol": self.protocol, "model": self.model, "mean": self.mean}
        images = [asdict(i) for i in self.images]
        return json.dumps(_rounded({**content, "images": images}), indent=1) + "\n"


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value


PROTOCOLS = {
    "default": "8-bit RGB after clipping and rounding, full frame; SSIM uniform 7x7 and Gaussian 11x11 sigma 1.5; "
    "psnr_affine after a per-image, per-channel affine fit to the truth",
}


def pairs_from_folder(root: Path) -> list[Pair]:
    """Pairs of root/source and root/target: equal stems where they are all equal, sorted order otherwise.

    Raises:
        ValueError: a folder is missing or empty, or the two hold different numbers of photos.
    """
    folders = [Path(root) / "source", Path(root) / "target"]
    listed = []
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{root} must hold source/ (defocused) and target/ (sharp); {folder.name}/ is missing")
        listed.append(sorted(p for p in folder.iterdir() if p.is_file() and is_probably_image(p)))
    blurred, sharp = listed
    if not blurred or len(blurred) != len(sharp):
        counts = f"source/ holds {len(blurred)} photos and target/ {len(sharp)}"
        raise ValueError(f"{root}: {counts}; expected equal numbers, not 0")
    by_stem = {p.stem: p for p in sharp}
    if all(p.stem in by_stem for p in blurred):
        sharp = [by_stem[p.stem] for p in blurred]
    return [Pair(b.stem, b, s) for b, s in zip(blurred, sharp, strict=True)]


def evaluate(
    deblurrer: Deblurrer,
    pairs: Sequence[Pair],
    protocol: str = "default",
    *,
    model_name: str = "",
    on_image: Callable[[ImageScores], None] | None = None,
) -> Scores:
    """Deblur each photo and score input and output against the sharp one.

    Args:
        deblurrer: the network.
        pairs: at least one; 16-bit photos are scored at 8 bits.
        protocol: one of PROTOCOLS.
        model_name: noted in the result.
        on_image: called after each photo.

    Raises:
        ValueError: no pairs, an unknown protocol, or a pair of unequal size.
        ImageError: a photo cannot be read.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    if not pairs:
        raise ValueError("there are no pairs to evaluate")
    results = []
    for pair in pairs:
        blurred, truth = read_photo(pair.blurred).pixels, _to_8bit(read_photo(pair.sharp).pixels)
        if blurred.shape != truth.shape:
            raise ValueError(f"{pair.blurred} and {pair.sharp} differ in size: {blurred.shape[:2]}, {truth.shape[:2]}")
        started = time.perf_counter()
        restored = deblurrer(blurred)
        seconds = time.perf_counter() - started
        before, after = (
            {name: score(_to_8bit(image), truth) for name, score in METRICS.items()} for image in (blurred, restored)
        )
        results.append(ImageScores(pair.name, before, after, seconds))
        if on_image is not None:
            on_image(results[-1])
    return Scores(protocol, model_name, tuple(results))


def _to_8bit(image: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
