"""How much faster a photo is restored than by the authors' operations, in one process, and how well both agree.

    python -m benchmarks.speed [--size 1280x720] [--repeats 3] [--photo FILE] [--device cpu] [--json FILE]
    python -m benchmarks.speed --keep-freed ...

The baseline is the authors' network as they run it, one operation after the other in float32
(benchmarks/released_reference.py); `released` is ours with the same weights, random ones, from 8-bit pixels to 8-bit
pixels. `lite` has its own, bundled weights. All take turns, so that what else the machine does hits all alike.
How close each is to the machine's limit is told by what a matrix product and a copy reach on the spot.

On Linux much of the baseline's time is memory that is given back to the system and taken again; with --keep-freed all
are timed in a process that keeps it (MALLOC_MMAP_MAX_=0, MALLOC_TRIM_THRESHOLD_=100 GB).
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data

from benchmarks.released_reference import fill_weights, released_output
from benchmarks.turns import in_turn, surroundings
from nrknet import Deblurrer
from nrknet.commands.options import size
from nrknet.complexity import complexity
from nrknet.imageio import read_photo
from nrknet.metrics import psnr
from nrknet.weights import load_released

Photo = NDArray[np.uint8]
Way = Callable[[Any], Any]  # a photo to a photo
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(100 << 30)}


def matrix_product(device: str, *, side: int = 3072, repeats: int = 7) -> float:
    """The most multiply-accumulates a second that a float32 matrix product reaches."""
    a, b = torch.randn(side, side, device=device), torch.randn(side, side, device=device)
    return side**3 / min(timed(lambda: a @ b, device) for _ in range(repeats))


def copying(device: str, *, megabytes: int = 512, repeats: int = 7) -> float:
    """The most bytes a second that a copy reads and writes."""
    a = torch.ones(megabytes << 18, device=device)
    b = torch.ones_like(a)
    return 2 * a.numel() * 4 / min(timed(lambda: b.copy_(a), device) for _ in range(repeats))


def timed(work: Callable[[], Any], device: str) -> float:
    """Seconds, until the device is done too."""
    started = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def choose_photo(file: Path | None, width: int, height: int) -> Photo:
    """A photo of that size: scikit-image's coffee cup, or any other, mirrored where it is too small."""
    photo = data.coffee() if file is None else read_photo(file).pixels
    if photo.dtype != np.uint8:
        raise SystemExit(f"{file}: has 16 bits; the baseline takes 8")
    pads = [(0, max(0, want - have)) for want, have in zip((height, width), photo.shape[:2], strict=True)]
    return np.ascontiguousarray(np.pad(photo, [*pads, (0, 0)], mode="symmetric")[:height, :width])


class Baseline:
    """The authors' network on a photo: (H,W,3) uint8 RGB to the same, sides that divide by 16."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._weights = {name: value.to(device) for name, value in fill_weights(0).items()}

    @torch.inference_mode()
    def __call__(self, photo: Photo) -> Photo:
        bgr = torch.from_numpy(photo[..., ::-1].copy()).to(self._device).permute(2, 0, 1)[None].float() / 255
        restored = released_output(self._weights, bgr.contiguous())[0].clamp(0, 1).mul(255).round()
        return np.ascontiguousarray(restored.byte().permute(1, 2, 0).cpu().numpy()[..., ::-1])

    def save(self, folder: Path) -> Path:
        """The weights as the authors keep theirs."""
        file = folder / "released.pth"
        torch.save({name: value.cpu() for name, value in self._weights.items()}, file)
        return file


def measure(photo: Photo, *, device: str, repeats: int) -> list[dict[str, Any]]:
    """Seconds of every way, the first photo by itself, and how the outputs of the same weights agree."""
    baseline = Baseline(device)
    with tempfile.TemporaryDirectory() as folder:
        released = load_released(baseline.save(Path(folder)))
    ways: dict[str, Way] = {
        "baseline": baseline,
        "released": Deblurrer(released, device=device),
        "released, exact": Deblurrer(released, device=device, precision="exact"),
        "lite": Deblurrer("lite", device=device),
    }
    done = in_turn({name: partial(way, photo) for name, way in ways.items()}, repeats)
    reference = done["baseline"]
    height, width = photo.shape[:2]
    configs = {name: way.config if isinstance(way, Deblurrer) else released.config for name, way in ways.items()}
    counted = {name: complexity(config, height=height, width=width) for name, config in configs.items()}
    rows = []
    for name, timed in done.items():
        same = name.startswith("released")
        rows.append({
            "name": name, "first_seconds": timed.first, "seconds": timed.median,
            "shortest": min(timed.seconds), "longest": max(timed.seconds),
            "times_faster": reference.median / timed.median, "frames_per_second": 1 / timed.median,
            "agreement_db": psnr(timed.output, reference.output) if same else None,
            "largest_difference": int(np.abs(timed.output.astype(int) - reference.output).max()) if same else None,
            "macs": counted[name].total_macs, "bytes": counted[name].total_bytes,
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=size, default="1280x720", metavar="WxH", help="sides that divide by 16")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--keep-freed", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    width, height = args.size
    if width % 16 or height % 16 or min(width, height) < 32:
        parser.error(f"the baseline takes sides from 32 that divide by 16, got {width}x{height}")
    if args.repeats < 1:
        parser.error(f"--repeats must be 1 or more, got {args.repeats}")
    if args.keep_freed and any(os.environ.get(name) != value for name, value in KEPT.items()):
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.speed", *sys.argv[1:]], {**os.environ, **KEPT})
    rows = measure(choose_photo(args.photo, width, height), device=args.device, repeats=args.repeats)
    peak, bandwidth = matrix_product(args.device), copying(args.device)
    for row in rows:
        row["of_peak"] = row["macs"] / row["seconds"] / peak
        row["of_bandwidth"] = row["bytes"] / row["seconds"] / bandwidth
        row.update({k: float(f"{v:.4g}") for k, v in row.items() if isinstance(v, float)})
        print({k: v for k, v in row.items() if v is not None}, flush=True)
    print(f"matrix product {peak / 1e9:.0f} GMAC/s, copy {bandwidth / 1e9:.1f} GB/s")
    if args.json:
        found = {
            "about": "seconds of a photo, medians after a first one, all in turn in one process; agreement of 8 bits; "
            "of_peak: multiply-accumulates a second, counted as if none were saved, over those of a matrix product; "
            "of_bandwidth: bytes a second, counted as if every layer went through memory, over those of a copy",
            "width": width, "height": height, "repeats": args.repeats, "device": args.device,
            "freed_memory_kept": args.keep_freed, "float32_macs_per_second": float(f"{peak:.4g}"),
            "copied_bytes_per_second": float(f"{bandwidth:.4g}"), **surroundings(), "ways": rows,
        }  # fmt: skip
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
