"""Makes broken and odd photo files of every format that is read, and says what must become of each.

    python -m benchmarks.reliability.broken_photos OUT_DIR [--large] [--seed N]

They are the same for the same seed. `bad_input.py` puts them through the command line and the app, and the tests
through everything that reads photos.
"""

from __future__ import annotations

import argparse
import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.reliability.broken import bmps, gifs, jpegs, pngs, strangers, tiffs, webps
from benchmarks.reliability.broken.sample import BrokenPhoto

_MODULES = (jpegs, pngs, tiffs, webps, bmps, gifs, strangers)


@functools.cache
def broken_photos(seed: int = 0) -> tuple[BrokenPhoto, ...]:
    """Files that are answered at once, whatever is wrong with them; at least 200."""
    rng = np.random.default_rng(seed)
    return tuple(photo for module in _MODULES for photo in module.files(rng))


def large_photos() -> tuple[BrokenPhoto, ...]:
    """Files of some bytes or kilobytes that are legal photos of about 199 megapixels."""
    return tuple(photo for module in _MODULES for photo in module.large())


def write(photos: Sequence[BrokenPhoto], folder: Path) -> list[Path]:
    """Write the files into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    for photo in photos:
        (folder / photo.name).write_bytes(photo.content)
    return [folder / photo.name for photo in photos]


def main() -> None:
    """Write the files, and count them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="the folder for the files")
    parser.add_argument("--large", action="store_true", help="also legal photos of 199 megapixels in small files")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which bits are damaged (default: 0)")
    args = parser.parse_args()
    photos = broken_photos(args.seed) + (large_photos() if args.large else ())
    write(photos, args.out)
    for (kind, outcome), count in sorted(Counter((photo.kind, photo.outcome) for photo in photos).items()):
        print(f"{count:4d}  {kind}, {outcome}")
    print(f"{len(photos):4d}  files, {sum(len(photo.content) for photo in photos) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
