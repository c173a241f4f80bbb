"""Make docs/example.png: the motorcycle example before, after and as a defocus map, with a detail at 200 %.

    python -m benchmarks.make_readme_picture
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from demo.examples import make_examples
from demo.pictures import draw_defocus_map
from nrknet import Deblurrer

DETAIL = (400, 180, 560, 300)  # left, top, right, bottom of what is enlarged
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
    with tempfile.TemporaryDirectory() as folder:
        blurred = np.asarray(Image.open(make_examples(Path(folder))["Motorcycle"]))
    seen = Deblurrer().analyze(blurred, details=False)
    before, after = Image.fromarray(blurred), Image.fromarray(seen.image)
    size = (2 * (DETAIL[2] - DETAIL[0]), 2 * (DETAIL[3] - DETAIL[1]))
    details = [p.crop(DETAIL).resize(size, Image.Resampling.BICUBIC) for p in (before, after)]
    chart = draw_defocus_map(seen.defocus_map)
    chart = chart.resize((round(chart.width * size[1] / chart.height), size[1]), Image.Resampling.BICUBIC)
    target = Path(__file__).parent.parent / "docs" / "example.png"
    target.parent.mkdir(exist_ok=True)
    beside([*details, chart]).save(target, optimize=True)


if __name__ == "__main__":
    main()
