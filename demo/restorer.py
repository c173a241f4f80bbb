"""What the app does with a photo, apart from its page: reads, restores, looks at a pixel, refocuses, writes files."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demo import gpu
from demo.folders import KEEP_FOR, OWN
from demo.limits import LARGEST_PHOTO
from demo.pictures import draw_defocus_map, draw_kernel, save_screen_picture
from demo.settings import ALL_TERMS, Settings
from demo.turns import Check, in_turn
from demo.viewer import Comparison, FileData, Pixel
from nrknet import Deblurrer
from nrknet.imageio import ImageError, Photo, output_suffix, read_photo, write_photo
from nrknet.refocus import refocus
from nrknet.strength import blend

KEPT_BYTES = 2 << 30
"""Of restored photos, so that another strength or another plane in focus needs no network."""

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Restored:
    """A photo, restored.

    Attributes:
        photo: as its file holds it.
        pixels: (H,W,3) restored, at full strength.
        defocus_map: (H,W) blur radius in pixels.
    """

    photo: Photo
    pixels: Pixels
    defocus_map: NDArray[np.float32]


class Restorer:
    """Restores photos, and remembers the last ones on disk, in a folder that is not served.

    Args:
        folder: for what it remembers.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def restore(
        self, file: str, settings: Settings, *, progress: Progress | None = None, check: Check = lambda: None
    ) -> Restored:
        """Restore a photo, or recall it where this file was restored with these settings a while ago.

        Args:
            file: the photo.
            settings: all but the strength count.
            progress: called with the finished fraction and what is being done.
            check: raises Abandoned when the photo is not wanted any more; then the network stops within a band of it.

        Raises:
            ImageError: the photo cannot be read, or is too large.
            ValueError: the photo is too small.
            Abandoned: see `check`.
        """
        photo = load_photo(file)
        kept = self._folder / _key(file, settings)
        recalled = self._recall(kept, photo)
        if recalled is not None:
            return recalled

        def said(done: float) -> None:
            check()
            if progress is not None:
                progress(done, "Deblurring")

        said(0)
        banded = None if gpu.IS_SHARED else said
        restored = Restored(photo, *in_turn(check, run_network, photo.pixels, settings, banded))
        self._remember(kept, restored)
        return restored

    def _recall(self, kept: Path, photo: Photo) -> Restored | None:
        try:
            pixels, radius = np.load(kept / "pixels.npy"), np.load(kept / "radius.npy")
        except (OSError, ValueError):
            return None
        with suppress(OSError):  # it was cleared away meanwhile
            kept.touch()
        return Restored(photo, pixels, radius)

    def _remember(self, kept: Path, restored: Restored) -> None:
        """Keep it until it is old, or newer ones need the room; a full disk only means that nothing is remembered."""
        part = self._folder / f".part-{secrets.token_hex(8)}"
        try:
            part.mkdir(parents=True)
            np.save(part / "pixels.npy", restored.pixels)
            np.save(part / "radius.npy", restored.defocus_map)
            part.rename(kept)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)
        self.clear_away()

    def clear_away(self) -> None:
        """Forget what was not used for KEEP_FOR, and the oldest of what is more than KEPT_BYTES."""
        with self._lock:
            kept = sorted((_used_at(path), path) for path in self._folder.glob("*"))
            total = sum(_size(path) for _, path in kept)
            for at, path in kept:
                if time.time() - at <= KEEP_FOR and total <= KEPT_BYTES:
                    break
                total -= _size(path)
                shutil.rmtree(path, ignore_errors=True)


@gpu.on_shared_gpu
def run_network(
    pixels: Pixels, settings: Settings, progress: Callable[[float], None] | None
) -> tuple[Pixels, NDArray[np.float32]]:
    """The restored photo (H,W,3) and its defocus map (H,W)."""
    deblurrer = load_deblurrer(settings.model, settings.precision)
    terms = settings.terms if settings.terms < ALL_TERMS else None
    analysis = deblurrer.analyze(pixels, details=False, terms=terms, progress=progress)
    return analysis.image, analysis.defocus_map


@gpu.on_shared_gpu
def find_kernel(pixels: Pixels, row: int, column: int, settings: Settings) -> tuple[NDArray[np.float32], float]:
    """The defocus kernel (1 or 3,S,S) at a pixel, and the blur radius there."""
    return load_deblurrer(settings.model, settings.precision).kernel_at(pixels, row, column)


@lru_cache(maxsize=4)
def _load(model: str, precision: str) -> Deblurrer:
    return Deblurrer(model, precision=precision)


_one_at_a_time = threading.Lock()


def load_deblurrer(model: str, precision: str) -> Deblurrer:
    """The deblurrer for these settings: made when it is first asked for, then kept."""
    with _one_at_a_time:
        return _load(model, precision)


def load_photo(file: str) -> Photo:
    """Read a photo that was dropped on the page, and keep its file from being cleared away for KEEP_FOR.

    Raises:
        ImageError: what is wrong with it, in one sentence.
    """
    OWN.keep([file])
    try:
        return read_photo(file, max_pixels=LARGEST_PHOTO)
    except ImageError as error:
        # Where the server keeps the file is nothing to its visitors.
        raise ImageError(str(error).replace(str(file), Path(file).name)) from error


def compare(
    before: Photo, after: Photo, *, labels: tuple[str, str] = ("before", "after"), pixel: Pixel | None = None
) -> Comparison:
    """Two versions of a photo for the viewer, with all their pixels."""
    folder = OWN.new()
    files = [save_screen_picture(photo, folder / stem) for photo, stem in ((before, "before"), (after, "after"))]
    one, other = (FileData(path=str(file)) for file in files)
    height, width = before.pixels.shape[:2]
    return Comparison(
        before=one, after=other, width=width, height=height, before_label=labels[0], after_label=labels[1], pixel=pixel
    )


def mixed(restored: Restored, strength: float) -> Photo:
    """The restored photo at a strength."""
    return restored.photo.with_pixels(blend(restored.photo.pixels, restored.pixels, strength))


def write_result(file: str, photo: Photo, *, ending: str = "") -> Path:
    """Write a photo under the name that the command line gives it, its stem followed by `ending`."""
    source = Path(file)
    # in a folder of its own: the photo may be called before.png
    download = OWN.new() / (source.stem + ending + output_suffix(photo, source.suffix))
    write_photo(download, photo)
    return download


def write_defocus_map(restored: Restored) -> Path:
    """Write a picture of the defocus map with its scale in pixels."""
    path = OWN.new() / "defocus-map.png"
    draw_defocus_map(restored.defocus_map).save(path)
    return path


def look_at_pixel(
    file: str, row: int, column: int, settings: Settings, *, check: Check = lambda: None
) -> tuple[Path, float]:
    """A picture of the defocus kernel at a pixel, and the blur radius there in pixels.

    Raises:
        ImageError, ValueError: as `Restorer.restore`; or the pixel lies outside the photo.
    """
    photo = load_photo(file)
    kernel, radius = in_turn(check, find_kernel, photo.pixels, row, column, settings)
    path = OWN.new() / "kernel.png"
    draw_kernel(kernel.mean(0), radius).save(path)
    return path, radius


def refocused(restored: Restored, row: int, column: int, settings: Settings, aperture: float) -> Photo:
    """The restored photo with the plane in focus moved to what lies at a pixel."""
    sharp = mixed(restored, settings.strength)
    return sharp.with_pixels(refocus(sharp.pixels, restored.defocus_map, row, column, aperture=aperture))


def _key(file: str, settings: Settings) -> str:
    """The same for the same photo under the same settings, but for the strength."""
    digest = hashlib.sha256(repr({**asdict(settings), "strength": None}).encode())
    with open(file, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _used_at(folder: Path) -> float:
    with suppress(OSError):  # another thread has just given it its name
        return folder.stat().st_mtime
    return time.time()


def _size(folder: Path) -> int:
    with suppress(OSError):
        return sum(file.stat().st_size for file in folder.glob("*"))
    return 0
