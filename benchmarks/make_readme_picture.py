"""Make the pictures of README.md and of the documentation from scikit-image's photos, rendered out of focus.

    python -m benchmarks.make_readme_picture [--model M] [--out docs]

example.png: a detail of the portrait at 200 %, before and after, and the motorcycle's defocus map.
detail.png: a detail of the motorcycle at its own size: rendered out of focus, restored, and as it was.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.data import data_dir

from demo.examples import make_examples
from demo.pictures import draw_defocus_map
from nrknet import Deblurrer

Pixels = NDArray[np.uint8]
Photos = dict[str, Pixels]

DETAIL = (140, 10, 310, 180)  # of the portrait: left, top, right, bottom of what is enlarged
ENGINE = (340, 120, 620, 400)  # of the motorcycle
GAP = 8


def beside(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one height in a row."""
    width = sum(p.width for p in pictures) + GAP * (len(pictures) - 1)
    row = Image.new("RGB", (width, max(p.height for p in pictures)), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + GAP
    return row


def example(photos: Photos, deblurrer: Deblurrer) -> Image.Image:
    """A detail of the portrait, before and after, and the motorcycle's defocus map."""
    side = 2 * (DETAIL[2] - DETAIL[0])
    portraits = (photos["Portrait"], deblurrer(photos["Portrait"]))
    details = [Image.fromarray(p).crop(DETAIL).resize((side, side), Image.Resampling.BICUBIC) for p in portraits]
    chart = draw_defocus_map(deblurrer.analyze(photos["Motorcycle"], details=False).defocus_map)
    chart = chart.resize((round(chart.width * side / chart.height), side), Image.Resampling.BICUBIC)
    return beside([*details, chart])


def detail(photos: Photos, deblurrer: Deblurrer) -> Image.Image:
    """The engine of the motorcycle: out of focus, restored, and as scikit-image has it; every pixel as it is."""
    with Image.open(Path(data_dir) / "motorcycle_left.png") as photo:
        sharp = np.asarray(photo.convert("RGB"))
    stages = (photos["Motorcycle"], deblurrer(photos["Motorcycle"]), sharp)
    return beside([Image.fromarray(p).crop(ENGINE) for p in stages])


PICTURES: dict[str, Callable[[Photos, Deblurrer], Image.Image]] = {
    "example": example,
    "detail": detail,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs", help="a folder")
    parser.add_argument("--only", choices=tuple(PICTURES), nargs="+", default=tuple(PICTURES))
    args = parser.parse_args()
    deblurrer = Deblurrer(args.model)
    with tempfile.TemporaryDirectory() as folder:
        photos = {label: np.asarray(Image.open(path)) for label, path in make_examples(Path(folder)).items()}
    for name in args.only:
        PICTURES[name](photos, deblurrer).save(args.out / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
