"""How long the command line takes to start: `nrknet --help`, and the first photo of a process.

    python -m benchmarks.startup [--repeats 5] [--model lite] [--size 1280x720] [--json FILE]

Each time is that of a whole process as the shell starts it, on a photo that is a JPEG file, with the kernels compiled
before. Beside it what of that the network takes for the same photo once it is running, and importing PyTorch alone.
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

from PIL import Image

from benchmarks.equal_budget import commit
from benchmarks.large_photos import cat_photo, running_seconds
from nrknet._version import __version__
from nrknet.commands.options import size

HELP = (sys.executable, "-m", "nrknet", "--help")
PYTORCH = (sys.executable, "-c", "import torch")


def seconds(command: tuple[str, ...], repeats: int) -> list[float]:
    """Of each run of a command."""
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found.append(time.perf_counter() - started)
    return found


def measure(*, width: int, height: int, model: str, repeats: int) -> dict[str, dict[str, float]]:
    """Median and shortest seconds of each process after a first one, and the median of the running network."""
    with tempfile.TemporaryDirectory() as folder:
        photo, out = Path(folder) / "photo.jpg", Path(folder) / "out"
        Image.fromarray(cat_photo(width, height)).save(photo, quality=95)
        first = (sys.executable, "-m", "nrknet", "deblur", str(photo), "-o", str(out), "--model", model)
        times = {
            name: seconds(command, 1 + repeats)[1:]
            for name, command in (("help", HELP), ("import torch", PYTORCH), ("first photo", first))
        }
    running = running_seconds([(width, height)], model, repeats)[0] * width * height / 1e6
    rows = {name: {"seconds": statistics.median(found), "shortest": min(found)} for name, found in times.items()}
    return {**rows, "running": {"seconds": running}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--size", type=size, default="1280x720", metavar="WxH")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    width, height = args.size
    if args.repeats < 1:
        parser.error(f"--repeats must be 1 or more, got {args.repeats}")
    rows = measure(width=width, height=height, model=args.model, repeats=args.repeats)
    for name, row in rows.items():
        row.update({k: round(v, 3) for k, v in row.items()})
        print(name, row, flush=True)
    if args.json:
        found: dict[str, Any] = {
            "about": "seconds of whole processes; running: of the same photo in a process that has restored one before",
            "width": width, "height": height, "model": args.model, "repeats": args.repeats,
            "machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version(),
            "version": __version__, "commit": commit(), "processes": rows,
        }  # fmt: skip
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
