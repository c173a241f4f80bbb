"""Example photos, made from the photos that come with scikit-image: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.data import data_dir

from nrknet.defocus import render_defocus

RadiusMap = Callable[[int, int], NDArray[np.float32]]

# Disparities of the motorcycle photo, in pixels: its front wheel.
IN_FOCUS = 50.0


class Example(NamedTuple):
    """An example photo.

    Args:
        label: what it shows, in a word.
        source: file name in scikit-image's data folder.
        radius: (height, width) -> (height, width) blur radius in pixels to render; None for a photo that is out of
            focus in parts as it is.
    """

    label: str
    source: str
    radius: RadiusMap | None


def _motorcycle(height: int, width: int) -> NDArray[np.float32]:
    """Blur of a lens focused on the front wheel, from the true depth that comes with the photo."""
    with np.load(Path(data_dir) / "motorcycle_disp.npz") as archive:
        disparity = archive["arr_0"]
    # Hidden from one of the two cameras, 7 % of the pixels have no depth: they get that of the nearest pixel that has.
    nearest = ndimage.distance_transform_edt(~np.isfinite(disparity), return_distances=False, return_indices=True)
    disparity = ndimage.median_filter(disparity[tuple(nearest)], size=5)
    # Disparity is inverse depth, and the circle of confusion grows linearly with the distance from the focus in it.
    return (0.13 * np.abs(disparity - IN_FOCUS)).astype(np.float32)


def _near_edge(height: int, width: int) -> NDArray[np.float32]:
    """A tilted plane: in focus at the lower edge, and ever less towards the upper one."""
    rows = np.linspace(6, 0, height, dtype=np.float32)
    return np.repeat(rows[:, None], width, axis=1)


def _out_of_focus(height: int, width: int) -> NDArray[np.float32]:
    """The whole photo out of focus by the same amount."""
    return np.full((height, width), 2.5, dtype=np.float32)


EXAMPLES = (
    Example("Cat", "chelsea.png", None),
    Example("Motorcycle", "motorcycle_left.png", _motorcycle),
    Example("Coffee", "coffee.png", _near_edge),
    Example("Portrait", "astronaut.png", _out_of_focus),
)


def make_examples(folder: Path) -> dict[str, Path]:
    """Writes the example photos into `folder` as PNG files; the same ones each time.

    Args:
        folder: an existing folder.
    Returns:
        label -> file. A photo that this version of scikit-image does not bring along is left out.
    """
    made = {}
    for example in EXAMPLES:
        source = Path(data_dir) / example.source
        if not source.is_file():
            continue
        target = folder / f"{example.label.lower()}.png"
        pixels = np.asarray(Image.open(source).convert("RGB"))
        if example.radius is not None:
            pixels = defocused(pixels, example.radius(*pixels.shape[:2]))
        Image.fromarray(pixels).save(target)
        made[example.label] = target
    return made


def defocused(sharp: NDArray[np.uint8], radius: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Put a photo out of focus, with the renderer of the training.

    Args:
        sharp: (H,W,3) RGB.
        radius: (H,W) or what broadcasts to it, blur radius in pixels.

    Returns:
        (H,W,3), rounded to 8 bits.
    """
    radii = np.broadcast_to(radius, sharp.shape[:2]).astype(np.float32)
    images = torch.from_numpy(sharp / np.float32(255)).permute(2, 0, 1)[None]
    blurred = render_defocus(images, torch.from_numpy(radii)[None, None])
    return (blurred[0].permute(1, 2, 0) * 255).round().byte().numpy()
