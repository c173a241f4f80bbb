"""How far rendered defocused photos are from real ones, by the statistics of their blurred regions.

    python benchmarks/renderer_realism.py --sharp SHARP_DIR --real DEFOCUSED_DIR --masks MASK_DIR --json FILE

Rendered crops come as training sees them: through `RenderedCrops`, with the default recipe's share of JPEG. Real
photos need no sharp version; masks of the same stem (white: blurred) say where they are blurred, a photo without a mask
is blurred all over. Both are cut into patches of 256 pixels, and these into cells of 64 that are blurred all over
(rendered: radius of a pixel and more). Each cell gives one number per statistic, and the distance of two sets of cells
is the Wasserstein-1 distance of these numbers in units of the real cells' standard deviation: 0.1 means that a rendered
number lies 0.1 standard deviations from its real counterpart. Two rulers: `floor` is the distance of two random halves
of the real photos (mean of several splits), `ceiling` that of the sharp photos, not defocused at all. `total` is the
mean over the statistics. Real scenes show other things than the sharp photos do, so the floor cannot quite be reached.
"""

import argparse
import json
import math
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter, map_coordinates
from scipy.stats import kurtosis, wasserstein_distance

from nrknet.data import RenderedCrops, SharpPhotos
from nrknet.imageio import is_probably_image
from nrknet.recipes import RECIPES
from nrknet.stream import StreamOptions

Floats = NDArray[np.float64]
Cells = dict[str, list[float]]

PATCH, CELL = 256, 64
LUMA = np.array([0.299, 0.587, 0.114])
UNITS = {
    "spectrum 1/32 to 1/16": "dB", "spectrum 1/16 to 1/8": "dB", "spectrum 1/8 to 1/4": "dB",
    "spectrum 1/4 to 1/2": "dB", "gradient size": "octaves", "gradient spread": "octaves",
    "gradient kurtosis, scale 1": "log2", "gradient kurtosis, scale 2": "log2", "gradient kurtosis, scale 4": "log2",
    "edge width": "octaves of pixels", "edge asymmetry": "skewness", "highlight share": "share",
    "highlight rim": "octaves", "noise": "octaves of levels", "noise, coarse over fine": "octaves",
    "noise, red over green": "octaves", "noise, blue over green": "octaves", "noise correlation": "1",
    "fringe, red": "octaves", "fringe, blue": "octaves",
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- statistics


def cell_statistics(rgb: Floats) -> dict[str, float]:
    """The statistics of one (64,64,3) cell of levels 0 to 255; those it says nothing about are left out."""
    luma = rgb @ LUMA
    found = spectrum(luma) | gradients(luma) | noise(rgb) | highlights(rgb)
    return found | edges(luma) | fringes(rgb)


def spectrum(luma: Floats) -> dict[str, float]:
    """Mean power per octave of frequency (in cycles per pixel), less than that of the octave below, in dB."""
    window = np.hanning(CELL)[:, None] * np.hanning(CELL)
    power = np.abs(np.fft.fft2((luma - luma.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(CELL)[:, None], np.fft.fftfreq(CELL))
    bounds = [2.0**-e for e in (6, 5, 4, 3, 2, 1)]
    octaves = [power[(frequency >= low) & (frequency < high)].mean() for low, high in pairwise(bounds)]
    steps = 10 * np.diff(np.log10(np.array(octaves) + 1.0))
    return dict(zip(list(UNITS)[:4], map(float, steps), strict=True))


def gradients(luma: Floats) -> dict[str, float]:
    """Median and interquartile range of log gradient, and kurtosis of differences over 1, 2 and 4 pixels."""
    size = np.log2(np.hypot(*np.gradient(luma)) + 0.25)
    low, middle, high = np.quantile(size, (0.25, 0.5, 0.75))
    found = {"gradient size": float(middle), "gradient spread": float(high - low)}
    for scale in (1, 2, 4):
        down, across = luma[scale:] - luma[:-scale], luma[:, scale:] - luma[:, :-scale]
        differences = np.concatenate([down.ravel(), across.ravel()])
        if differences.std() > 0.3:  # else it is the kurtosis of rounding
            found[f"gradient kurtosis, scale {scale}"] = math.log2(kurtosis(differences, fisher=False))
    return found


def edges(luma: Floats) -> dict[str, float]:
    """Median width (standard deviation of the slope) and asymmetry (its skewness, unsigned) of the strongest edges."""
    smooth = gaussian_filter(luma, 1)
    dy, dx = np.gradient(smooth)
    size = np.hypot(dy, dx)
    inner = np.zeros_like(size)
    inner[16:-16, 16:-16] = size[16:-16, 16:-16]
    shapes = []
    for _ in range(4):
        y, x = np.unravel_index(inner.argmax(), inner.shape)
        if inner[y, x] < 3:
            break
        along = np.arange(-15, 16) / size[y, x]
        profile = map_coordinates(smooth, [y + along * dy[y, x], x + along * dx[y, x]], order=1)
        shapes.append(_edge_shape(np.clip(np.diff(profile), 0, None)))
        inner[max(y - 8, 0) : y + 9, max(x - 8, 0) : x + 9] = 0
    if not shapes:
        return {}
    width, asymmetry = np.median(shapes, axis=0)
    return {"edge width": float(width), "edge asymmetry": float(asymmetry)}


def _edge_shape(slope: Floats) -> tuple[float, float]:
    """Log width and unsigned skewness of the peak in the middle of a slope, down to 5 % of its height."""
    peak = 14 + int(slope[15] > slope[14])
    low = np.flatnonzero(slope < 0.05 * slope[peak])
    left, right = max(low[low < peak], default=-1) + 1, min(low[low > peak], default=len(slope))
    part, place = slope[left:right], np.arange(left, right)
    mean = (part * place).sum() / part.sum()
    spread = math.sqrt((part * (place - mean) ** 2).sum() / part.sum())
    skewness = (part * (place - mean) ** 3).sum() / part.sum() / (spread + 0.1) ** 3
    return math.log2(spread + 0.1), abs(float(skewness))


def highlights(rgb: Floats) -> dict[str, float]:
    """Share of clipped pixels, and log gradient around them: blurred lights end softly unless the sensor clips them."""
    clipped = rgb.max(-1) >= 250
    found = {"highlight share": float(clipped.mean())}
    rim = binary_dilation(clipped) & ~binary_erosion(clipped)
    if clipped.sum() >= 9 and rim.sum() >= 9:
        found["highlight rim"] = float(np.log2(np.hypot(*np.gradient(rgb @ LUMA))[rim].mean() + 0.25))
    return found


def noise(rgb: Floats) -> dict[str, float]:
    """Noise of the flattest quarter of 8x8 blocks: diagonal differences, in levels; its spectrum and its colours."""
    fine = _diagonal(rgb)
    blocks = fine.reshape(CELL // 16, 8, CELL // 16, 8, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 64, 3)
    coarse = _diagonal((rgb[::2, ::2] + rgb[1::2, ::2] + rgb[::2, 1::2] + rgb[1::2, 1::2]) / 4)
    pooled = coarse.reshape(CELL // 16, 4, CELL // 16, 4, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 16, 3)
    flat = np.argsort((blocks**2).mean((1, 2)))[: len(blocks) // 4]
    blocks, pooled = blocks[flat].reshape(-1, 3), pooled[flat].reshape(-1, 3)
    level = np.log2(blocks.std(0) + 0.1)
    found = {
        "noise": float(np.log2((blocks @ LUMA).std() + 0.1)),
        "noise, coarse over fine": float(np.log2((pooled @ LUMA).std() + 0.1) - np.log2((blocks @ LUMA).std() + 0.1)),
        "noise, red over green": float(level[0] - level[1]),
        "noise, blue over green": float(level[2] - level[1]),
    }
    if blocks.std(0).min() > 0.1:
        found["noise correlation"] = float((np.corrcoef(blocks.T).sum() - 3) / 6)
    return found


def _diagonal(rgb: Floats) -> Floats:
    """Haar's diagonal band, of the standard deviation of white noise."""
    return (rgb[::2, ::2] - rgb[1::2, ::2] - rgb[::2, 1::2] + rgb[1::2, 1::2]) / 2


def fringes(rgb: Floats) -> dict[str, float]:
    """How much more of its gradient red and blue have on the fine side than green has, where there are edges."""
    fine, coarse = (gaussian_filter(rgb, (s, s, 0)) for s in (0.7, 2.5))
    energies = [sum(slope**2 for slope in np.gradient(image, axis=(0, 1))).mean((0, 1)) for image in (fine, coarse)]
    if energies[1].min() < 1:
        return {}
    ratio = 0.5 * np.log2(energies[0] / energies[1])
    return {"fringe, red": float(ratio[0] - ratio[1]), "fringe, blue": float(ratio[2] - ratio[1])}


# ------------------------------------------------------------------------------------------------------------- patches


def add_patch(cells: Cells, rgb: NDArray[np.uint8], blurred: NDArray[np.bool_]) -> None:
    """Adds the statistics of the cells of a patch that are blurred all over."""
    for top in range(0, PATCH, CELL):
        for left in range(0, PATCH, CELL):
            part = np.s_[top : top + CELL, left : left + CELL]
            if blurred[part].mean() > 0.98:
                for name, value in cell_statistics(rgb[part].astype(np.float64)).items():
                    cells[name].append(value)


def real_photos(folders: list[Path], masks: Path | None, per_photo: int, chance: np.random.Generator) -> list[Cells]:
    """Cells of each photo, from patches at random places."""
    photos = []
    for path in sorted(p for folder in folders for p in folder.iterdir() if is_probably_image(p)):
        with Image.open(path) as photo:
            rgb = np.array(photo.convert("RGB"))
        blurred = np.ones(rgb.shape[:2], bool)
        mask = next(iter(sorted(masks.glob(f"{path.stem}.*"))), None) if masks else None
        if mask is not None:
            with Image.open(mask) as picture:
                blurred = np.array(picture.convert("L").resize(rgb.shape[1::-1], Image.Resampling.NEAREST)) > 127
        cells: Cells = defaultdict(list)
        for _ in range(per_photo):
            # multiples of 8: the blocks of JPEG lie in the patch as they lie in a rendered one
            top, left = (8 * int(chance.integers(0, (n - PATCH) // 8 + 1)) for n in rgb.shape[:2])
            part = np.s_[top : top + PATCH, left : left + PATCH]
            add_patch(cells, rgb[part], blurred[part])
        photos.append(cells)
    return photos


def rendered_and_sharp(folder: Path, count: int, seed: int, jpeg: float | None) -> tuple[Cells, Cells, list[float]]:
    """Cells of rendered crops and of the sharp photos as they are, and the crops' PSNR against their truth."""
    recipe = RECIPES["default"]
    photos = SharpPhotos(folder, least_side=PATCH).photos
    options = StreamOptions(size=PATCH, batch=4, pool=count, reuse=1, seed=seed, device=torch.device("cpu"))
    crops = RenderedCrops(
        photos, options, margin=recipe.margin, defocus=recipe.defocus,
        jpeg_chance=recipe.jpeg_chance if jpeg is None else jpeg,
    ).make_pool(0)  # fmt: skip
    rendered: Cells = defaultdict(list)
    sharp: Cells = defaultdict(list)
    for blurred, radius in zip(crops.blurred, crops.radius, strict=True):
        add_patch(rendered, blurred.permute(1, 2, 0).numpy(), radius[0].numpy() >= 1)
    everywhere = np.ones((PATCH, PATCH), bool)
    for photo in photos[:: max(1, 2 * len(photos) // count)]:
        add_patch(sharp, photo[:, :PATCH, :PATCH].permute(1, 2, 0).numpy(), everywhere)
    error = (crops.blurred.float() - crops.sharp.float()).square().mean((1, 2, 3)).clamp(min=1e-2)
    return rendered, sharp, (10 * torch.log10(255**2 / error)).tolist()


# ----------------------------------------------------------------------------------------------------------- distances


def joined(photos: list[Cells]) -> Cells:
    return {name: [value for photo in photos for value in photo.get(name, [])] for name in UNITS}


def distances(cells: Cells, real: Cells, scale: Cells) -> dict[str, float]:
    """Wasserstein-1 distances per statistic, in standard deviations of `scale`, and their mean."""
    found = {name: wasserstein_distance(cells[name], real[name]) / float(np.std(scale[name])) for name in UNITS}
    return found | {"total": float(np.mean(list(found.values())))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sharp", type=Path, required=True, help="a folder of sharp photos, as for training")
    parser.add_argument("--real", type=Path, required=True, nargs="+", help="folders of defocused photos")
    parser.add_argument("--masks", type=Path, help="masks of the real photos, of the same stem; white: blurred")
    parser.add_argument("--crops", type=int, default=320, help="crops to render (default 320)")
    parser.add_argument("--per-photo", type=int, default=6, help="patches of each real photo (default 6)")
    parser.add_argument("--jpeg", type=float, help="share of rendered crops stored as JPEG (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    chance = np.random.default_rng(args.seed)
    photos = real_photos(args.real, args.masks, args.per_photo, chance)
    real = joined(photos)
    rendered, sharp, scores = rendered_and_sharp(args.sharp, args.crops, args.seed, args.jpeg)
    halves = []
    for _ in range(8):
        order = chance.permutation(len(photos))
        first, second = (joined([photos[i] for i in part]) for part in np.array_split(order, 2))
        halves.append(distances(first, second, real))
    columns = {"rendered": distances(rendered, real, real), "ceiling": distances(sharp, real, real)}
    columns["floor"] = {name: float(np.mean([half[name] for half in halves])) for name in halves[0]}
    of = {"real": real, "rendered": rendered, "sharp": sharp}
    rows: dict[str, dict[str, Any]] = {}
    print(f"{'statistic':28} rendered  floor  ceiling   mean (deviation): {', '.join(of)}")
    for name in [*UNITS, "total"]:
        rows[name] = {column: round(values[name], 3) for column, values in columns.items()}
        line = "{name:28} {rendered:8.3f} {floor:6.3f} {ceiling:8.3f}".format(name=name, **rows[name])
        if name in UNITS:
            moments = {key: (float(np.mean(cells[name])), float(np.std(cells[name]))) for key, cells in of.items()}
            rows[name]["unit"] = UNITS[name]
            rows[name]["mean and deviation"] = {k: [round(v, 3) for v in pair] for k, pair in moments.items()}
            line += "   " + ", ".join(f"{m:.2f} ({d:.2f})" for m, d in moments.values()) + f" {UNITS[name]}"
        print(line)
    quantiles = {f"{q:.0%}": round(float(np.quantile(scores, q)), 2) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}
    counts = {key: len(cells["noise"]) for key, cells in of.items()}
    print(f"cells: {counts}; PSNR of rendered crops against their truth, in dB: {quantiles}")
    if args.json:
        settings = {"crops": args.crops, "seed": args.seed, "jpeg": args.jpeg, "real photos": len(photos)}
        report = settings | {"cells": counts, "psnr of crops": quantiles, "statistics": rows}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
