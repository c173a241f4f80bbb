"""Scores of a model, or of any method's saved outputs, on photos of a data set."""

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from nrknet._version import __version__
from nrknet.datasets import Masked, Pair, check_photos
from nrknet.fingerprint import fingerprint_files, fingerprint_weights
from nrknet.imageio import is_probably_image, photo_size, read_photo
from nrknet.inference import Deblurrer, Pixels
from nrknet.metrics import METRICS, Image8, Metric
from nrknet.noreference import Mask, changes
from nrknet.processes import Processes
from nrknet.protocols import find_protocol
from nrknet.scores import ImageScores, Scores, Size

if TYPE_CHECKING:
    from nrknet.perceptual import Lpips

__all__ = ["ImageScores", "Masked", "Pair", "Scores", "evaluate", "score_restored"]

Photos = Sequence[Pair] | Sequence[Masked]
OnImage = Callable[[ImageScores], None]


def evaluate(
    deblurrer: Deblurrer,
    photos: Photos,
    protocol: str = "default",
    *,
    model_name: str = "",
    resize: Size | None = None,
    lpips: "Lpips | None" = None,
    on_image: OnImage | None = None,
    processes: Processes | None = None,
) -> Scores:
    """Deblur each photo and score input and output against the sharp one, or output against input where there is none.

    Args:
        deblurrer: the network.
        photos: at least one; 16-bit photos are scored at 8 bits.
        protocol: a key of PROTOCOLS; "cuhk" for Masked photos, any other for Pairs.
        model_name: noted in the result.
        resize: (width, height) to which all photos are first brought, antialiased, at 8 bits.
        lpips: as `load_lpips` gives it; without it, that column stays empty.
        on_image: called after each photo, by the main process.
        processes: that share the photos, each with a network of its own; all return the same scores.

    Raises:
        ValueError: no photos, an unknown protocol or one for other photos, or partners of unequal size; AgreedError in
            several processes, also where they hold other photos or another network.
        ImageError: a photo cannot be read.
    """
    processes = processes or Processes(deblurrer.device)
    processes.check_same({"network": fingerprint_weights(deblurrer.model)})
    return _score(
        lambda photo, blurred: deblurrer(blurred), photos, protocol, name=model_name, resize=resize, lpips=lpips,
        on_image=on_image, environment=_environment(processes, deblurrer), processes=processes,
    )  # fmt: skip


def score_restored(
    folder: Path,
    photos: Photos,
    protocol: str = "default",
    *,
    name: str = "",
    resize: Size | None = None,
    lpips: "Lpips | None" = None,
    on_image: OnImage | None = None,
    processes: Processes | None = None,
) -> Scores:
    """Score photos that any method has restored and saved.

    Args:
        folder: one photo for each of `photos`, of the blurred photo's stem and, after `resize`, its size.
        photos, protocol, resize, lpips, on_image, processes: as for `evaluate`.
        name: of the method, noted in the result.

    Raises:
        ValueError: as `evaluate`; or a restored photo is missing, is there twice, or has another size.
        ImageError: a photo cannot be read.
    """
    processes = processes or Processes(torch.device("cpu"))
    files = processes.together(lambda: _restored_files(Path(folder), photos, resize))
    processes.check_same({"set of restored photos": fingerprint_files(files.values())})
    return _score(
        lambda photo, blurred: read_photo(files[photo.blurred.stem]).pixels, photos, protocol, name=name,
        resize=resize, lpips=lpips, on_image=on_image, environment=_environment(processes), processes=processes,
    )  # fmt: skip


def _restored_files(folder: Path, photos: Photos, resize: Size | None) -> dict[str, Path]:
    """The restored version of each photo by its stem, of the size that is scored."""
    files = _by_stem(folder, photos)
    for photo in photos:
        expected, found = resize or photo_size(photo.blurred), photo_size(files[photo.blurred.stem])
        if found != expected:
            sizes = "{}x{}, expected {}x{}".format(*found, *expected)
            raise ValueError(f"{files[photo.blurred.stem]} is {sizes} pixels")
    return files


def _by_stem(folder: Path, photos: Photos) -> dict[str, Path]:
    """The restored version of each photo, found before anything is scored."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    files: dict[str, Path] = {}
    wanted = {photo.blurred.stem for photo in photos}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stem in wanted and is_probably_image(path):
            if path.stem in files:
                raise ValueError(f"{folder} holds both {files[path.stem].name} and {path.name}; expected one of them")
            files[path.stem] = path
    missing = [photo.blurred.stem for photo in photos if photo.blurred.stem not in files]
    if missing:
        raise ValueError(f"{folder} holds no restored photo of {missing[0]} ({len(missing)} of {len(photos)} missing)")
    return files


def _score(
    restore: Callable[[Pair | Masked, Pixels], Pixels],
    photos: Photos,
    protocol: str,
    *,
    name: str,
    resize: Size | None,
    lpips: "Lpips | None",
    on_image: OnImage | None,
    environment: dict[str, str | int],
    processes: Processes,
) -> Scores:
    def look() -> Mapping[str, Metric]:
        rules = find_protocol(protocol)
        check_photos(photos, has_truth=rules.has_truth)
        known = METRICS if lpips is None else {**METRICS, **lpips.metrics}
        return {metric: known[metric] for metric in rules.metrics if metric in known}

    def score(photo: Pair | Masked) -> ImageScores:
        blurred = read_photo(photo.blurred).pixels
        if resize is not None:
            blurred = _reduced(_to_8bit(blurred), resize)
        started = time.perf_counter()
        restored = restore(photo, blurred)
        seconds = time.perf_counter() - started
        before, after = _measure(photo, _to_8bit(blurred), _to_8bit(restored), resize, metrics)
        return ImageScores(photo.name, before, after, seconds)

    metrics = processes.together(look)
    files = fingerprint_files(path for photo in photos for path in _files(photo))
    processes.check_same({"set of photos": files, "set of metrics": list(metrics), "size": resize})
    results = []
    for scored in processes.in_turns(score, list[Pair | Masked](photos)):
        results.append(scored)
        if on_image is not None and processes.is_main:
            on_image(scored)
    return Scores(protocol, name, tuple(results), resize, environment)


def _files(photo: Pair | Masked) -> Iterator[Path]:
    """The files that scoring a photo reads."""
    partner = photo.mask if isinstance(photo, Masked) else photo.sharp
    yield from (photo.blurred,) if partner is None else (photo.blurred, partner)


def _measure(
    photo: Pair | Masked, blurred: Image8, restored: Image8, resize: Size | None, metrics: Mapping[str, Metric]
) -> tuple[dict[str, float], dict[str, float]]:
    """Scores of the input and of the output; where nothing is known to be sharp, only how the output differs."""
    if isinstance(photo, Masked):
        return {}, changes(restored, blurred, _read_mask(photo, resize))
    truth = _to_8bit(read_photo(photo.sharp).pixels)
    if resize is not None:
        truth = _reduced(truth, resize)
    before, after = ({name: score(image, truth) for name, score in metrics.items()} for image in (blurred, restored))
    return before, after


def _read_mask(photo: Masked, resize: Size | None) -> Mask | None:
    """(H,W), true where the photo is blurred: white in the file."""
    if photo.mask is None:
        return None
    white = Image.fromarray(_to_8bit(read_photo(photo.mask).pixels)).convert("L")
    return np.asarray(white if resize is None else white.resize(resize, Image.Resampling.NEAREST)) > 127


def _environment(processes: Processes, deblurrer: Deblurrer | None = None) -> dict[str, str | int]:
    """Where and with what it is measured; without a network, only the scoring's part."""
    record: dict[str, str | int] = {
        "nrknet": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": platform.machine(),
        "cores": os.cpu_count() or 1,
        "processes": processes.count,
    }
    if deblurrer is not None:
        device = deblurrer.device
        record["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        record |= {"threads": torch.get_num_threads(), "precision": deblurrer.precision, "tile": deblurrer.tile}
    return record


def _reduced(image: Image8, size: Size) -> Image8:
    """(H,W,3) brought to (width, height) with Pillow's antialiased bicubic filter."""
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _to_8bit(image: Pixels) -> Image8:
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
