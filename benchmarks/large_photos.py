"""Peak memory and time of `nrknet deblur` on photos of growing size, each in a process of its own.

    python benchmarks/large_photos.py --megapixels 1.5 6 24 --json benchmarks/results/large_photos.json

The photos are scikit-image's cat, repeated mirror-wise and stored as JPEG. Times are of one run and depend on the
machine; time per megapixel is compared with the smallest photo of the same call.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data


def write_photo(path: Path, megapixels: float) -> tuple[int, int]:
    """A 3:2 photo of that size; returns (width, height)."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = round(1.5 * height)
    cat = data.chelsea()
    pads = [(0, max(0, want - have)) for want, have in zip((height, width), cat.shape[:2], strict=True)]
    Image.fromarray(np.pad(cat, [*pads, (0, 0)], mode="symmetric")[:height, :width]).save(path, quality=95)
    return width, height


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1.5, 6, 24])
    parser.add_argument("--model", default="default")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for megapixels in sorted(args.megapixels):
        with tempfile.TemporaryDirectory() as folder:
            photo = Path(folder) / "photo.jpg"
            width, height = write_photo(photo, megapixels)
            row: dict[str, Any] = {"width": width, "height": height, **measure(photo, args.model)}
        row["seconds_per_megapixel"] = row["seconds"] / (width * height / 1e6)
        row["ratio_to_smallest"] = row["seconds_per_megapixel"] / (rows or [row])[0]["seconds_per_megapixel"]
        rows.append({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()})
        print(rows[-1], flush=True)
    if args.json:
        machine = {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
        args.json.write_text(json.dumps({"machine": machine, "model": args.model, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
