"""Make source/ and target/ pairs from sharp photos with a renderer that shares nothing with the training renderer.

    python benchmarks/make_synthetic_pairs.py SHARP_DIR PAIRS_DIR
    nrknet evaluate --dataset pairs --root PAIRS_DIR

Per photo: a smooth random depth with a tilted ground and one or two nearer ellipses; blur radius 0 to 3-12 px; hard
supersampled discs, one level per half pixel, gathered per pixel in light = value^L (L = 1: on the stored values);
Gaussian noise of 0.5 %.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

Floats = NDArray[np.float64]
STEP = 0.5  # pixels between the radii of neighbouring discs
OVERSAMPLING = 8


def disc(radius: float) -> Floats:
    """Unit-sum disc, each pixel the share of its 8x8 sub-pixels inside."""
    half = math.ceil(radius + 0.5)
    axis = (np.arange((2 * half + 1) * OVERSAMPLING) + 0.5) / OVERSAMPLING - half - 0.5
    inside = (axis[:, None] ** 2 + axis[None] ** 2 <= radius**2).astype(float)
    side = 2 * half + 1
    kernel = inside.reshape(side, OVERSAMPLING, side, OVERSAMPLING).mean(axis=(1, 3))
    return kernel / kernel.sum()


def random_radius(shape: tuple[int, int], chance: np.random.Generator) -> Floats:
    """(H,W) blur radii in pixels: |depth - focus|, scaled so that the largest is 3 to 12 px."""
    height, width = shape
    y, x = np.mgrid[0:height, 0:width] / max(shape)
    angle = chance.uniform(0, 2 * math.pi)
    depth = chance.uniform(0.3, 1) * (x * math.cos(angle) + y * math.sin(angle))
    rough = gaussian_filter(chance.standard_normal(shape), max(shape) / 10)
    depth += 0.25 * rough / rough.std()
    for _ in range(chance.integers(1, 3)):
        centre, axes = chance.uniform(0.2, 0.8, 2), chance.uniform(0.1, 0.3, 2)
        inside = ((x - centre[0]) / axes[0]) ** 2 + ((y - centre[1]) / axes[1]) ** 2 < 1
        depth = np.where(inside, depth.mean() + chance.uniform(-1, 1), depth)
    radius = np.abs(depth - np.quantile(depth, chance.uniform(0.1, 0.9)))
    return radius / radius.max() * chance.uniform(3, 12)


def defocus(sharp: Floats, radius: Floats) -> Floats:
    """Blur (H,W,3) by discs of the radius at each pixel, neighbouring levels mixed linearly."""
    pad = math.ceil(radius.max()) + 2
    wide = np.pad(sharp, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    result = np.zeros_like(sharp)
    for level in range(math.ceil(radius.max() / STEP) + 1):
        share = np.clip(1 - np.abs(radius / STEP - level), 0, None)[..., None]
        if share.any():
            kernel = disc(level * STEP)[..., None] if level else np.ones((1, 1, 1))
            result += share * fftconvolve(wide, kernel, mode="same", axes=(0, 1))[pad:-pad, pad:-pad]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sharp", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--light", type=float, default=1.0, help="the exponent L (default 1)")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    photos = sorted(p for p in args.sharp.iterdir() if p.suffix.lower() in {".png", ".jpg", ".jpeg", ".webp"})
    if not photos:
        parser.error(f"{args.sharp} holds no photos")
    for name in ("source", "target"):
        (args.pairs / name).mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(photos):
        chance = np.random.default_rng((args.seed, number))
        with Image.open(path) as photo:
            sharp = np.asarray(photo.convert("RGB")) / 255
        light = defocus(sharp**args.light, random_radius(sharp.shape[:2], chance))
        blurred = np.clip(light, 0, 1) ** (1 / args.light)
        blurred = np.clip(blurred + 0.005 * chance.standard_normal(blurred.shape), 0, 1)
        for name, image in (("source", blurred), ("target", sharp)):
            Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(args.pairs / name / f"{path.stem}.png")


if __name__ == "__main__":
    main()
