"""What less work costs: quality against milliseconds, for a network whose series is cut short.

    python -m benchmarks.tradeoff PAIRS [--model lite] [--size 1280x720] [--repeats 7] [--json FILE]

PAIRS holds `source` and `target` (benchmarks/make_synthetic_pairs.py makes such a folder). The ways are the network as
it was trained, in both precisions, and its Neumann series (Eq. 10) cut after each lower power, which leaves the image
head out. Quality is the mean gain in PSNR on 8 bits over the pairs; time is that of a photo, all ways in turn in one
process, medians.
"""

import argparse
import json
import os
import statistics
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.speed import choose_photo
from benchmarks.turns import in_turn, surroundings
from nrknet import Deblurrer
from nrknet.commands.options import size
from nrknet.datasets import Pair, find_pairs
from nrknet.imageio import read_photo
from nrknet.metrics import psnr


class Way(NamedTuple):
    """A network, and after which power its series is cut."""

    name: str
    deblurrer: Deblurrer
    terms: int | None


def all_ways(model: str) -> list[Way]:
    """The network as it was trained, and with its series cut short.

    Each is a Deblurrer of its own: with another way in between, it would have to begin anew with every photo.
    """
    exact, auto = (Deblurrer(model, device="cpu", precision=precision) for precision in ("exact", "auto"))
    cut = [
        Way(f"series cut after power {k}", Deblurrer(model, device="cpu"), k) for k in range(auto.num_terms - 1, 0, -1)
    ]
    return [Way("as trained, exact", exact, None), Way("as trained", auto, None), *cut]


def gains(ways: list[Way], pairs: list[Pair]) -> list[float]:
    """Mean gain of each way in dB."""
    found: list[list[float]] = [[] for _ in ways]
    for pair in pairs:
        blurred, sharp = read_photo(pair.blurred).pixels, read_photo(pair.sharp).pixels
        before = psnr(blurred, sharp)
        for way, of_way in zip(ways, found, strict=True):
            of_way.append(psnr(way.deblurrer(blurred, terms=way.terms), sharp) - before)
    return [statistics.mean(of_way) for of_way in found]


def milliseconds(ways: list[Way], width: int, height: int, repeats: int) -> list[float]:
    """Of a photo, by each way."""
    photo = choose_photo(None, width, height)
    done = in_turn({way.name: partial(way.deblurrer, photo, terms=way.terms) for way in ways}, repeats)
    return [1000 * timed.median for timed in done.values()]


def measure(root: Path, *, model: str, width: int, height: int, repeats: int) -> list[dict[str, Any]]:
    """Name, gain and milliseconds of every way."""
    ways = all_ways(model)
    quality = gains(ways, find_pairs("pairs", root))
    times = milliseconds(ways, width, height, repeats)
    return [
        {"name": way.name, "gain_db": round(gain, 3), "milliseconds": round(ms)}
        for way, gain, ms in zip(ways, quality, times, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, help="a folder with source and target")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--size", type=size, default=(1280, 720), metavar="WxH")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    width, height = args.size
    rows = measure(args.pairs, model=args.model, width=width, height=height, repeats=args.repeats)
    for row in rows:
        print(f"{row['name']:26} {row['gain_db']:+.2f} dB {row['milliseconds']:6} ms")
    if args.json:
        said = {
            "about": "mean gain in PSNR of 8 bits over the pairs; milliseconds of a photo, medians after a first one, "
            "all ways in turn in one process",
            "model": args.model, "pairs": args.pairs.name, "width": width, "height": height,
            "repeats": args.repeats, "cpus": os.cpu_count(), **surroundings(), "ways": rows,
        }  # fmt: skip
        args.json.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
