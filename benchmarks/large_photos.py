"""Peak memory and time of `nrknet deblur` on photos of growing size, and what a megapixel takes once it is running.

    python -m benchmarks.large_photos --megapixels 1 6 24 48 --json benchmarks/results/large_photos.json

The photos are scikit-image's cat, repeated mirror-wise and stored as JPEG. `seconds` and `peak_mb` are those of one
`nrknet deblur` process, Python's start and reading and writing included. `running` is the network alone, from pixels to
pixels, in one process that has restored a small photo before: all sizes in turn, `--rounds` times, the medians. So the
machine's moods hit all sizes alike; the time per megapixel is compared with that of all sizes together.
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

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data


def write_photo(path: Path, megapixels: float) -> tuple[int, int]:
    """Store a 3:2 photo of that size; returns (width, height)."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = round(1.5 * height)
    Image.fromarray(cat_photo(width, height)).save(path, quality=95)
    return width, height


def cat_photo(width: int, height: int) -> NDArray[np.uint8]:
    """The cat, as often as it takes."""
    cat = data.chelsea()
    pads = [(0, max(0, want - have)) for want, have in zip((height, width), cat.shape[:2], strict=True)]
    return np.ascontiguousarray(np.pad(cat, [*pads, (0, 0)], mode="symmetric")[:height, :width])


def measure(photo: Path, model: str) -> dict[str, float]:
    """Seconds and peak resident megabytes of one `nrknet deblur` process."""
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        command = [sys.executable, "-m", "nrknet", "deblur", str(photo), "-o", out, "--model", model]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(command)} failed")
        scale = 1 if sys.platform == "darwin" else 1024
        return {"seconds": time.perf_counter() - started, "peak_mb": usage.ru_maxrss * scale / 1e6}


def running_seconds(sizes: list[tuple[int, int]], model: str, rounds: int) -> list[float]:
    """Seconds per megapixel of photos of these (widths, heights), in turn in this process."""
    from nrknet import Deblurrer  # not before: what this process holds would count as its children's memory

    deblurrer = Deblurrer(model)
    seconds: list[list[float]] = [[] for _ in sizes]
    deblurrer(cat_photo(640, 480))
    for _ in range(rounds):
        for (width, height), found in zip(sizes, seconds, strict=True):
            photo = cat_photo(width, height)
            started = time.perf_counter()
            deblurrer(photo)
            found.append((time.perf_counter() - started) / (width * height / 1e6))
    return [statistics.median(found) for found in seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 6, 24, 48])
    parser.add_argument("--rounds", type=int, default=3, help="photos of each size in turn (default: %(default)s)")
    parser.add_argument("--model", default="default")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for megapixels in sorted(args.megapixels):
        with tempfile.TemporaryDirectory() as folder:
            photo = Path(folder) / "photo.jpg"
            width, height = write_photo(photo, megapixels)
            row: dict[str, Any] = {"width": width, "height": height, **measure(photo, args.model)}
        rows.append(row)
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    running = running_seconds([(row["width"], row["height"]) for row in rows], args.model, args.rounds)
    usual = statistics.median(running)
    for row, seconds in zip(rows, running, strict=True):
        row |= {"running_seconds_per_megapixel": seconds, "running_to_median": seconds / usual}
        row.update({k: round(v, 3) for k, v in row.items() if isinstance(v, float)})
        print(row, flush=True)
    if args.json:
        machine = {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
        args.json.write_text(json.dumps({"machine": machine, "model": args.model, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
