"""Training data: sharp photos, cropped, augmented and defocused by the renderer in pools that a seed decides."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nrknet.defocus import DefocusConfig, render_scene

SHARP_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})
VALIDATION_EVERY = 10
"""Every tenth photo of a folder, in sorted order, is kept for validation."""


@dataclass(frozen=True)
class Batch:
    """Rendered crops: blurred and sharp (B,3,S,S) float in [0,1] RGB, radius (B,1,S,S) in pixels."""

    blurred: Tensor
    sharp: Tensor
    radius: Tensor

    def to(self, device: torch.device | str, *, flip_colours: bool = False) -> "Batch":
        """Move to a device; `flip_colours` turns RGB to BGR for networks that expect that."""
        blurred, sharp = self.blurred.to(device), self.sharp.to(device)
        if flip_colours:
            blurred, sharp = blurred.flip(1), sharp.flip(1)
        return Batch(blurred, sharp, self.radius.to(device))


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
        found = sorted(p for p in root.rglob("*") if p.suffix.lower() in SHARP_SUFFIXES)
        for path in found:
            try:
                with Image.open(path) as photo:
                    pixels = np.array(photo.convert("RGB"))
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                raise ValueError(f"{path} cannot be read as a photo: {error}") from error
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


class RenderedCrops:
    """Batches of rendered crops; each pool of crops is rendered from its own seed and used a few times.

    Rendering on a CPU costs about as much as a training step, hence the reuse: every pass over a pool flips and
    turns its crops anew. A position in the stream (`step`) alone decides a batch, so training resumes exactly.

    Args:
        photos: (3,H,W) uint8 sharp photos.
        size: side S of a crop in pixels.
        margin: pixels rendered around a crop and cut off, so that its border holds blur from outside.
        batch: crops per step.
        pool: crops per pool; a multiple of `batch`.
        reuse: passes over a pool.
        seed: decides everything.
        defocus: the renderer's distribution.
        jpeg_chance: share of the blurred crops that are stored as JPEG of quality 60 to 97, as cameras do.
        device: where crops are rendered and served.
    """

    def __init__(
        self,
        photos: list[Tensor],
        *,
        size: int,
        margin: int,
        batch: int,
        pool: int,
        reuse: int,
        seed: int,
        defocus: DefocusConfig,
        jpeg_chance: float = 0.0,
        device: torch.device,
    ) -> None:
        if pool % batch:
            raise ValueError(f"pool must be a multiple of the batch size {batch}, got {pool}")
        self.photos, self.size, self.margin, self.batch = photos, size, margin, batch
        self.pool, self.reuse, self.seed = pool, reuse, seed
        self.defocus, self.jpeg_chance, self.device = defocus, jpeg_chance, device
        self._pool_number = -1
        self._crops: Batch | None = None

    @property
    def steps_per_pool(self) -> int:
        """Training steps served by one pool."""
        return self.pool * self.reuse // self.batch

    def at(self, step: int) -> Batch:
        """The batch of one step."""
        number, within = divmod(step, self.steps_per_pool)
        if number != self._pool_number:
            self._crops = self.render_pool(number)
            self._pool_number = number
        assert self._crops is not None
        lap, position = divmod(within * self.batch, self.pool)
        chance = np.random.default_rng((self.seed, 2, number, lap))
        order = chance.permutation(self.pool)[position : position + self.batch]
        turns = chance.integers(0, 8, self.pool)[order]
        return _turned(_select(self._crops, torch.from_numpy(order)), turns)

    def render_pool(self, number: int) -> Batch:
        """Pool number `number`: uint8 blurred and sharp crops and half-precision radii, on the device."""
        chance = np.random.default_rng((self.seed, 1, number))
        generator = torch.Generator().manual_seed(int(chance.integers(2**62)))
        parts = []
        for _ in range(0, self.pool, 4):
            crops = torch.stack([self._sharp_crop(chance) for _ in range(4)]).to(self.device)
            scene = render_scene(crops.float() / 255, self.defocus, generator)
            inner = slice(self.margin, self.margin + self.size)
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
        join = (torch.cat([getattr(p, name) for p in parts])[: self.pool] for name in ("blurred", "sharp", "radius"))
        return Batch(*join)

    def _sharp_crop(self, chance: np.random.Generator) -> Tensor:
        """A random, randomly reduced crop of a random photo: (3,S+2m,S+2m) uint8."""
        photo = self.photos[chance.integers(len(self.photos))]
        side = self.size + 2 * self.margin
        least = side / min(photo.shape[1:])
        scale = 1.0 if least >= 1 or chance.random() < 0.3 else chance.uniform(max(least, 0.4), 1.0)
        cut = min(round(side / scale), *photo.shape[1:])
        top, left = (int(chance.integers(0, n - cut + 1)) for n in photo.shape[1:])
        crop = photo[:, top : top + cut, left : left + cut]
        if cut != side:
            crop = F.interpolate(crop[None].float(), (side, side), mode="bicubic", antialias=True)[0]
            crop = crop.clamp_(0, 255).round_().byte()
        return crop.flip(-1) if chance.random() < 0.5 else crop


def _through_jpeg(crop: Tensor, quality: int) -> Tensor:
    """A (3,h,w) uint8 crop as JPEG of that quality gives it back."""
    file = io.BytesIO()
    Image.fromarray(crop.permute(1, 2, 0).cpu().numpy()).save(file, "JPEG", quality=quality)
    with Image.open(file) as stored:
        return torch.from_numpy(np.array(stored)).permute(2, 0, 1).to(crop.device)


def _select(crops: Batch, order: Tensor) -> Batch:
    order = order.to(crops.blurred.device)
    return Batch(crops.blurred[order].float() / 255, crops.sharp[order].float() / 255, crops.radius[order].float())


def _turned(batch: Batch, turns: np.ndarray) -> Batch:
    """Each crop turned by one of the eight symmetries of the square."""

    def turn(x: Tensor) -> Tensor:
        rows = [torch.rot90(p, int(t) % 4, (-2, -1)) for p, t in zip(x, turns, strict=True)]
        return torch.stack([p.flip(-1) if t >= 4 else p for p, t in zip(rows, turns, strict=True)])

    return Batch(turn(batch.blurred), turn(batch.sharp), turn(batch.radius))
