"""Scores of a model, or of any method's saved outputs, on pairs of defocused and sharp photos."""

import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nrknet.datasets import Pair, pairs_from_folder
from nrknet.imageio import is_probably_image, read_photo
from nrknet.inference import Deblurrer, Pixels
from nrknet.metrics import METRICS

__all__ = ["PROTOCOLS", "ImageScores", "Pair", "Scores", "evaluate", "pairs_from_folder", "score_restored"]

Size = tuple[int, int]


@dataclass(frozen=True)
class ImageScores:
    """Scores of one photo; `before` are the input's, `after` the output's, keyed as METRICS; seconds to restore it."""

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
    resize: Size | None = None

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
        """Everything, rounded to 5 digits, as JSON; the infinite PSNR of equal images is null."""
        content: dict[str, object] = {"protocol": self.protocol, "model": self.model}
        if self.resize is not None:
            content["resize"] = "{}x{}".format(*self.resize)
        content["mean"] = self.mean
        images = [asdict(i) for i in self.images]
        return json.dumps(_rounded({**content, "images": images}), indent=1) + "\n"


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None  # equal images; JSON has no infinity
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value


PROTOCOLS = {
    "default": "8-bit RGB after clipping and rounding, full frame; SSIM uniform 7x7 and Gaussian 11x11 sigma 1.5; "
    "psnr_affine after a per-image, per-channel affine fit to the truth",
}


def evaluate(
    deblurrer: Deblurrer,
    pairs: Sequence[Pair],
    protocol: str = "default",
    *,
    model_name: str = "",
    resize: Size | None = None,
    on_image: Callable[[ImageScores], None] | None = None,
) -> Scores:
    """Deblur each photo and score input and output against the sharp one.

    Args:
        deblurrer: the network.
        pairs: at least one; 16-bit photos are scored at 8 bits.
        protocol: one of PROTOCOLS.
        model_name: noted in the result.
        resize: (width, height) to which both photos are first reduced, antialiased, at 8 bits.
        on_image: called after each photo.

    Raises:
        ValueError: no pairs, an unknown protocol, or a pair of unequal size.
        ImageError: a photo cannot be read.
    """
    return _score(lambda pair, blurred: deblurrer(blurred), pairs, protocol, model_name, resize, on_image)


def score_restored(
    folder: Path,
    pairs: Sequence[Pair],
    protocol: str = "default",
    *,
    name: str = "",
    resize: Size | None = None,
    on_image: Callable[[ImageScores], None] | None = None,
) -> Scores:
    """Score photos that any method has restored and saved, against the sharp ones.

    Args:
        folder: one photo for each pair, of the blurred photo's stem and, after `resize`, its size.
        pairs, protocol, resize, on_image: as for `evaluate`.
        name: of the method, noted in the result.

    Raises:
        ValueError: as `evaluate`; or a restored photo is missing, is there twice, or has another size.
        ImageError: a photo cannot be read.
    """
    files = _by_stem(Path(folder), pairs)

    def read(pair: Pair, blurred: Pixels) -> Pixels:
        restored = read_photo(files[pair.blurred.stem]).pixels
        if restored.shape != blurred.shape:
            sizes = f"{restored.shape[1]}x{restored.shape[0]}, expected {blurred.shape[1]}x{blurred.shape[0]}"
            raise ValueError(f"{files[pair.blurred.stem]} is {sizes} pixels")
        return restored

    return _score(read, pairs, protocol, name, resize, on_image)


def _by_stem(folder: Path, pairs: Sequence[Pair]) -> dict[str, Path]:
    """The restored photo of each pair, found before anything is scored."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    files: dict[str, Path] = {}
    wanted = {pair.blurred.stem for pair in pairs}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stem in wanted and is_probably_image(path):
            if path.stem in files:
                raise ValueError(f"{folder} holds both {files[path.stem].name} and {path.name}; expected one of them")
            files[path.stem] = path
    missing = [pair.blurred.stem for pair in pairs if pair.blurred.stem not in files]
    if missing:
        raise ValueError(f"{folder} holds no restored photo of {missing[0]} ({len(missing)} of {len(pairs)} missing)")
    return files


def _score(
    restore: Callable[[Pair, Pixels], Pixels],
    pairs: Sequence[Pair],
    protocol: str,
    name: str,
    resize: Size | None,
    on_image: Callable[[ImageScores], None] | None,
) -> Scores:
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    if not pairs:
        raise ValueError("there are no pairs to evaluate")
    results = []
    for pair in pairs:
        blurred, sharp = (read_photo(path).pixels for path in (pair.blurred, pair.sharp))
        if blurred.shape != sharp.shape:
            raise ValueError(f"{pair.blurred} and {pair.sharp} differ in size: {blurred.shape[:2]}, {sharp.shape[:2]}")
        truth = _to_8bit(sharp)
        if resize is not None:
            blurred, truth = _reduced(_to_8bit(blurred), resize), _reduced(truth, resize)
        started = time.perf_counter()
        restored = restore(pair, blurred)
        seconds = time.perf_counter() - started
        before, after = (
            {name: score(_to_8bit(image), truth) for name, score in METRICS.items()} for image in (blurred, restored)
        )
        results.append(ImageScores(pair.name, before, after, seconds))
        if on_image is not None:
            on_image(results[-1])
    return Scores(protocol, name, tuple(results), resize)


def _reduced(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """(H,W,3) brought to (width, height) with Pillow's antialiased bicubic filter."""
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _to_8bit(image: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
