"""What the analysis app knows: photos, networks and what the networks saw in the photos, each made once and kept."""

from __future__ import annotations

import hashlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from demo.examples import make_examples
from demo.limits import LARGEST_FILE, LARGEST_PHOTO
from demo.shrink import fit_pixels
from nrknet import Analysis, Deblurrer
from nrknet.config import NRKNetConfig
from nrknet.folder import WEIGHTS_FILE
from nrknet.imageio import ImageError, Photo, read_photo, write_photo
from nrknet.model import MIN_SIZE

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

KEEP_NETWORKS = 4
KEEP_ANALYSES = 3
"""Each takes up to 200 bytes a pixel: 0.8 GB for a photo of 4 megapixels."""


@dataclass(frozen=True)
class Subject:
    """A photo to look at.

    Attributes:
        name: of its file, without the suffix.
        photo: all that the file holds.
        pixels: (H,W,3) what the network is shown: the photo's, or those of the photo reduced.
    """

    name: str
    photo: Photo
    pixels: Pixels

    @property
    def is_reduced(self) -> bool:
        """Whether the network is shown fewer pixels than the file has."""
        return self.pixels.shape != self.photo.pixels.shape

    @property
    def digest(self) -> str:
        """The same for the same pixels."""
        head = f"{self.pixels.shape} {self.pixels.dtype}".encode()
        return hashlib.sha256(head + np.ascontiguousarray(self.pixels).tobytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Seen:
    """What a network saw in a photo, and what it took.

    Attributes:
        network: the name it was loaded by.
        digest: of the photo's pixels.
        pixels: (H,W,3) the photo.
        deblurrer: the network.
        analysis: what it saw.
        seconds: that the analysis took.
    """

    network: str
    digest: str
    pixels: Pixels
    deblurrer: Deblurrer
    analysis: Analysis
    seconds: float

    @property
    def config(self) -> NRKNetConfig:
        """The network's configuration."""
        return self.deblurrer.model.config

    @property
    def key(self) -> str:
        """For widgets that belong to this photo under this network."""
        return f"{self.digest}-{self.network}"


@st.cache_resource(max_entries=1, show_spinner="Rendering the example photos …")
def example_photos() -> dict[str, Photo]:
    """Label -> photo; made from those that come with scikit-image."""
    with tempfile.TemporaryDirectory(prefix="nrknet-examples-") as folder:
        return {label: read_photo(path) for label, path in make_examples(Path(folder)).items()}


def read_upload(name: str, content: bytes) -> Photo:
    """Read a photo that was uploaded.

    Args:
        name: of the visitor's file.
        content: of the file.

    Raises:
        ImageError: it cannot be read, or is too small or too large; one sentence that names the file.
    """
    if len(content) > LARGEST_FILE:
        raise ImageError(f"{name} has {len(content) >> 20} MB; at most {LARGEST_FILE >> 20} MB can be read.")
    with tempfile.TemporaryDirectory(prefix="nrknet-upload-") as folder:
        path = Path(folder) / "photo"
        path.write_bytes(content)
        try:
            photo = read_photo(path, max_pixels=LARGEST_PHOTO)
        except ImageError as error:
            raise ImageError(str(error).replace(str(path), name)) from error
    height, width = photo.pixels.shape[:2]
    if min(height, width) < MIN_SIZE:
        raise ImageError(f"{name} is {width}x{height} pixels; at least {MIN_SIZE}x{MIN_SIZE} are needed.")
    return photo


def subject(name: str, photo: Photo, *, most: int | None = None) -> Subject:
    """A photo as the network is to be shown it.

    Args:
        name: of the file.
        photo: what it holds.
        most: pixels to which it is reduced if it has more; None leaves it as it is.
    """
    pixels = photo.pixels if most is None else fit_pixels(photo.pixels, most)
    return Subject(Path(name).stem, photo, pixels)


def analyze(shown: Subject, network: str) -> Seen:
    """What a network sees in a photo: computed when it is first asked for, then kept.

    Args:
        shown: the photo.
        network: a bundled name, a folder, a .pth file, or "owner/repo".

    Raises:
        ValueError: there is no such network; one sentence.
    """
    return _analyze(shown.digest, network, _stamp(network), shown.pixels)


@st.cache_resource(max_entries=KEEP_ANALYSES, show_spinner="The network looks at the photo …")
def _analyze(digest: str, network: str, stamp: int, _pixels: Pixels) -> Seen:
    deblurrer = load_deblurrer(network, stamp)
    start = time.perf_counter()
    analysis = deblurrer.analyze(_pixels)
    return Seen(network, digest, _pixels, deblurrer, analysis, time.perf_counter() - start)


@st.cache_resource(max_entries=KEEP_NETWORKS, show_spinner="Loading the network …")
def load_deblurrer(network: str, stamp: int) -> Deblurrer:
    """The network of this name; `stamp` changes when its file does."""
    return Deblurrer(network)


def _stamp(network: str) -> int:
    """When a local network's weights were written, so that one that was trained further is loaded again."""
    path = Path(network)
    file = path / WEIGHTS_FILE if path.is_dir() else path
    return file.stat().st_mtime_ns if file.is_file() else 0


def restored_file(shown: Subject, seen: Seen) -> bytes:
    """The restored photo as PNG, at the photo's depth, with its profile and EXIF unless it was reduced."""
    photo = Photo(seen.analysis.image, icc_profile=shown.photo.icc_profile)
    if not shown.is_reduced:
        photo = shown.photo.with_pixels(seen.analysis.image)
    with tempfile.TemporaryDirectory(prefix="nrknet-download-") as folder:
        path = Path(folder) / "restored.png"
        write_photo(path, photo)
        return path.read_bytes()
