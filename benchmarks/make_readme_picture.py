"""Make docs/example.png: a detail of the portrait example at 200 %, before and after, and the motorcycle's defocus map.

    python -m benchmarks.make_readme_picture [--model M]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from demo.examples import make_examples
from demo.pictures import draw_defocus_map
from nrknet import Deblurrer

DETAIL = (140, 10, 310, 180)  # left, top, right, bottom of what is enlarged
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs" / "example.png")
    args = parser.parse_args()
    deblurrer = Deblurrer(args.model)
    with tempfile.TemporaryDirectory() as folder:
        photos = {label: np.asarray(Image.open(path)) for label, path in make_examples(Path(folder)).items()}
    side = 2 * (DETAIL[2] - DETAIL[0])
    portraits = (photos["Portrait"], deblurrer(photos["Portrait"]))
    details = [Image.fromarray(p).crop(DETAIL).resize((side, side), Image.Resampling.BICUBIC) for p in portraits]
    chart = draw_defocus_map(deblurrer.analyze(photos["Motorcycle"], details=False).defocus_map)
    chart = chart.resize((round(chart.width * side / chart.height), side), Image.Resampling.BICUBIC)
    beside([*details, chart]).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
