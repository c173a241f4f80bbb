"""Training data: sharp photos of a folder, and crops of them that are defocused by the renderer."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nrknet.curation import MOST_SOFT, Softness
from nrknet.defocus import DefocusConfig, render_scene
from nrknet.imageio import is_probably_image
from nrknet.reading import in_threads, read_pixels
from nrknet.stream import Batch, CropStream, StreamOptions

MOST_TRIES = 200
"""Crops drawn before the photos are taken for out of focus as a whole."""
VALIDATION_EVERY = 10
"""Every tenth photo of a folder, in sorted order, is kept for validation."""


class SharpPhotos:
    """Sharp photos of a folder, decoded once and kept in memory as uint8.

    Args:
        root: folder, searched recursively.
        least_side: photos with a shorter side are left out.

    Raises:
        ValueError: no folder, no usable photo, or a file that cannot be decoded; the message names it.
    """

    def __init__(self, root: Path, *, least_side: int) -> None:
        root = Path(root)
        if not root.is_dir():
            raise ValueError(f"{root} is not a folder; expected a folder of sharp photos")
        self.paths: list[Path] = []
        self.photos: list[Tensor] = []
        found = sorted(p for p in root.rglob("*") if is_probably_image(p) and p.is_file())
        for path, pixels in zip(found, in_threads(read_pixels, found, doing="reading photos"), strict=True):
            if min(pixels.shape[:2]) >= least_side:
                self.paths.append(path)
                self.photos.append(torch.from_numpy(pixels).permute(2, 0, 1).contiguous())
        if len(self.photos) < 2:
            raise ValueError(
                f"{root} holds {len(self.photos)} photos of at least {least_side} pixels a side "
                f"({len(found)} files with a photo's suffix); expected two or more sharp photos"
            )

    def split(self) -> tuple[list[Tensor], list[Tensor]]:
        """Training photos, and every tenth (at least one) for validation."""
        held_out = set(range(0, len(self.photos), VALIDATION_EVERY))
        train = [p for i, p in enumerate(self.photos) if i not in held_out]
        return train, [self.photos[i] for i in sorted(held_out)]


class RenderedCrops(CropStream[Batch]):
    """Crops of sharp photos, defocused by the renderer.

    Args:
        photos: (3,H,W) uint8 sharp photos.
        options: how crops are cut and served.
        margin: pixels rendered around a crop and cut off, so that its border holds blur from outside.
        defocus: the renderer's distribution.
        jpeg_chance: share of the blurred crops that are stored as JPEG of quality 60 to 97, as cameras do.
        flat_chance: share of the crops that are one colour all over, half of these white, black or full colours: what
            has nothing to sharpen is to stay as it is.
        softness: of each photo, what is out of focus already; crops with much of that are passed over.
    """

    def __init__(
        self,
        photos: list[Tensor],
        options: StreamOptions,
        *,
        margin: int,
        defocus: DefocusConfig,
        jpeg_chance: float = 0.0,
        flat_chance: float = 0.0,
        softness: Sequence[Softness] = (),
    ) -> None:
        super().__init__(options)
        self.photos, self.margin, self.defocus, self.softness = photos, margin, defocus, softness
        self.jpeg_chance, self.flat_chance = jpeg_chance, flat_chance

    def make_pool(self, number: int) -> Batch:
        """Pool number `number`: uint8 blurred and sharp crops and half-precision radii, on the device."""
        chance = np.random.default_rng((self.options.seed, 1, number))
        generator = torch.Generator().manual_seed(int(chance.integers(2**62)))
        parts = []
        for _ in range(0, self.options.pool, 4):
            self.check_wanted()
            crops = torch.stack([self._sharp_crop(chance) for _ in range(4)]).to(self.options.device)
            if self.flat_chance:
                for i in np.flatnonzero(chance.random(len(crops)) < self.flat_chance):
                    crops[i] = _random_colour(chance)
            scene = render_scene(crops.float() / 255, self.defocus, generator)
            inner = slice(self.margin, self.margin + self.options.size)
            blurred = scene.blurred.mul(255).round().byte()
            for i in np.flatnonzero(chance.random(len(blurred)) < self.jpeg_chance):
                blurred[i] = _through_jpeg(blurred[i], int(chance.integers(60, 98)))
            parts.append(
                Batch(
                    blurred[..., inner, inner],
                    scene.sharp[..., inner, inner].mul(255).round().byte(),
                    scene.radius[..., inner, inner].half(),
                )
            )
        names, count = ("blurred", "sharp", "radius"), self.options.pool
        return Batch(*(torch.cat([getattr(p, name) for p in parts])[:count] for name in names))

    def _sharp_crop(self, chance: np.random.Generator) -> Tensor:
        """A random, randomly reduced crop of a random photo: (3,S+2m,S+2m) uint8."""
        side = self.options.size + 2 * self.margin
        for _ in range(MOST_TRIES):
            index = int(chance.integers(len(self.photos)))
            photo = self.photos[index]
            least = side / min(photo.shape[1:])
            scale = 1.0 if least >= 1 or chance.random() < 0.3 else chance.uniform(max(least, 0.4), 1.0)
            cut = min(round(side / scale), *photo.shape[1:])
            top, left = (int(chance.integers(0, n - cut + 1)) for n in photo.shape[1:])
            if not self.softness or self.softness[index].share(top, left, cut) <= MOST_SOFT:
                break
        else:
            raise ValueError(
                f"of {MOST_TRIES} random crops of the training photos each is out of focus in more than "
                f"{MOST_SOFT:.0%} of its visible part; expected sharp photos"
            )
        crop = photo[:, top : top + cut, left : left + cut]
        if cut != side:
            crop = F.interpolate(crop[None].float(), (side, side), mode="bicubic", antialias=True)[0]
            crop = crop.clamp_(0, 255).round_().byte()
        return crop.flip(-1) if chance.random() < 0.5 else crop


def _random_colour(chance: np.random.Generator) -> Tensor:
    """A colour (3,1,1) uint8: any, or each of red, green and blue full or none."""
    values = chance.integers(0, 256, 3) if chance.random() < 0.5 else 255 * chance.integers(0, 2, 3)
    return torch.from_numpy(values.astype(np.uint8))[:, None, None]


def _through_jpeg(crop: Tensor, quality: int) -> Tensor:
    """A (3,h,w) uint8 crop as JPEG of that quality gives it back."""
    file = io.BytesIO()
    Image.fromarray(crop.permute(1, 2, 0).cpu().numpy()).save(file, "JPEG", quality=quality)
    with Image.open(file) as stored:
        return torch.from_numpy(np.array(stored)).permute(2, 0, 1).to(crop.device)
