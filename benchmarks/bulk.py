"""How fast `nrknet deblur --engine ray` is beside the local engine: the same photos, the same cores, in turn.

    python -m benchmarks.bulk PHOTOS [--workers 2] [--rounds 3] [--model lite] [--json benchmarks/results/bulk.json]

PHOTOS is a folder. The local engine restores one photo after the other on all cores, Ray's workers several, each on
its share of the cores. `whole` is the time of the command, Ray's start included; `photo` is what a photo takes once the
workers are at work, from when each could have brought its first to the last one: what counts for a large collection.
The engines take turns, so that another load of the machine hits both; what is to be compared is the ratio.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.equal_budget import commit
from nrknet._version import __version__
from nrknet.imageio import is_probably_image, photo_size


def seconds(photos: Path, arguments: list[str], num_first: int) -> tuple[float, float]:
    """Of one command, and of a photo after the first few."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "nrknet", "deblur", str(photos), "-o", out, *arguments]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        lines = [time.perf_counter() for line in process.stderr if " -> " in line]
        if process.wait() or len(lines) <= num_first:
            raise SystemExit(f"{' '.join(command)} failed")
        return time.perf_counter() - started, (lines[-1] - lines[num_first - 1]) / (len(lines) - num_first)


def measure(photos: Path, *, workers: int, rounds: int, model: str) -> dict[str, dict[str, float]]:
    """Medians over the rounds, of both engines and of the ratio within each round."""
    common = ["--model", model, "--device", "cpu"]
    engines = {"local": common, "ray": [*common, "--engine", "ray", "--workers", str(workers)]}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    for number in range(rounds):
        for name, arguments in engines.items():
            found[name].append(seconds(photos, arguments, workers if name == "ray" else 1))
            print(number, name, *(round(value, 2) for value in found[name][-1]), flush=True)
    rows = {}
    for position, which in enumerate(("whole", "photo")):
        values = {name: [times[position] for times in found[name]] for name in engines}
        ratios = [ours / theirs for ours, theirs in zip(values["local"], values["ray"], strict=True)]
        rows[which] = {name: round(statistics.median(times), 2) for name, times in values.items()}
        rows[which] |= {"ray_times_faster": round(statistics.median(ratios), 3)}
        rows[which] |= {"ratio_min": round(min(ratios), 3), "ratio_max": round(max(ratios), 3)}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    sizes = [photo_size(path) for path in sorted(args.photos.rglob("*")) if is_probably_image(path)]
    if args.rounds < 1 or args.workers < 1 or len(sizes) <= args.workers:
        parser.error("at least one round and one worker are needed, and more photos than workers")
    rows = measure(args.photos, workers=args.workers, rounds=args.rounds, model=args.model)
    megapixels = sum(width * height for width, height in sizes) / 1e6
    print(json.dumps(rows, indent=1))
    if args.json:
        found: dict[str, Any] = {
            "about": "whole: seconds of the command; photo: seconds of a photo once all workers are at work",
            "photos": len(sizes), "megapixels": round(megapixels, 2), "workers": args.workers, "rounds": args.rounds,
            "model": args.model, "machine": platform.machine(), "cores": os.cpu_count(),
            "python": platform.python_version(), "version": __version__, "commit": commit(), "seconds": rows,
        }  # fmt: skip
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
