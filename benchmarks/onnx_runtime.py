"""ONNX Runtime beside the Deblurrer on a CPU: seconds of a photo, how both agree, and the most memory of each.

    python -m benchmarks.onnx_runtime [--size 1280x720] [--repeats 5] [--folder FILES] [--keep-freed] [--json FILE]

Both go from 8-bit pixels to 8-bit pixels in one process, in turn, with as many threads, so that what else the machine
does hits both alike: the ratios count. `lite` has its bundled weights, `released` random ones. With --keep-freed both
keep memory that they have freed (MALLOC_MMAP_MAX_=0, MALLOC_TRIM_THRESHOLD_=100 GB), beside what each keeps by itself.
Peak memory is that of a process of its own (VmHWM, Linux), which restores one photo; the one of ONNX Runtime imports
neither PyTorch nor nrknet. A second one, of a quarter of the pixels, tells what a megapixel takes.
The files are exported into --folder where they are not there yet, which takes minutes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.released_reference import fill_weights
from benchmarks.speed import KEPT, Way, choose_photo
from benchmarks.turns import in_turn, surroundings
from nrknet import Deblurrer, NRKNet, load_model
from nrknet.commands.options import size
from nrknet.export import export_onnx
from nrknet.metrics import psnr
from nrknet.weights import load_released, save_model

NAMES = ("lite", "released")
_PEAK = """
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) * 1024)
"""
_BY_RUNTIME = """
import sys, numpy, onnxruntime
file, width, height, threads = sys.argv[1], *map(int, sys.argv[2:])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
photo = numpy.random.default_rng(0).integers(0, 256, (height, width, 3), numpy.uint8)
image, _ = session.run(None, {"blurred": photo.transpose(2, 0, 1)[None].astype(numpy.float32) / 255})
pixels = (image[0].clip(0, 1) * 255).round().astype(numpy.uint8)
"""
_BY_DEBLURRER = """
import sys, numpy, torch
from nrknet import Deblurrer
folder, width, height, threads = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(threads)
Deblurrer(folder, device="cpu")(numpy.random.default_rng(0).integers(0, 256, (height, width, 3), numpy.uint8))
"""


class Runtime:
    """A network's ONNX file on photos (H,W,3) uint8."""

    def __init__(self, file: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def __call__(self, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
        blurred = photo.transpose(2, 0, 1)[None].astype(np.float32) / 255
        image = self._session.run(["image"], {"blurred": blurred})[0]
        pixels: NDArray[np.uint8] = (image[0].clip(0, 1) * 255).round().astype(np.uint8)
        return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def load(name: str, folder: Path) -> NRKNet:
    """A bundled network, or `released` with the weights that a fixed rule fills."""
    if name != "released":
        return load_model(name, device="cpu")
    weights = folder / "released.pth"
    torch.save(fill_weights(0), weights)
    return load_released(weights)


def peaks(name: str, folder: Path, width: int, height: int) -> dict[str, float]:
    """Most gigabytes of a process that restores one photo, and what each megapixel more takes, for both engines."""
    found: dict[str, float] = {}
    threads = torch.get_num_threads()
    for engine, code, source in (
        ("runtime", _BY_RUNTIME, folder / f"{name}.onnx"),
        ("deblurrer", _BY_DEBLURRER, folder / name),
    ):
        gigabytes = []
        for part in (1, 2):
            arguments = (source, width // part, height // part, threads)
            command = [sys.executable, "-c", code + _PEAK, *map(str, arguments)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            gigabytes.append(int(done.stdout) / 1e9)
        found[f"{engine}_peak_gb"] = gigabytes[0]
        found[f"{engine}_gb_per_megapixel"] = (gigabytes[0] - gigabytes[1]) / (width * height * 0.75e-6)
    return found


def measure(name: str, folder: Path, photo: NDArray[np.uint8], *, repeats: int) -> dict[str, Any]:
    """Medians of both engines, the median of the ratios of neighbouring runs, and how well the outputs agree."""
    model = load(name, folder)
    file = folder / f"{name}.onnx"
    save_model(model, folder / name)
    if not file.exists():
        export_onnx(model, file, name=name)
    memory = peaks(name, folder, photo.shape[1], photo.shape[0])
    ways: dict[str, Way] = {"deblurrer": Deblurrer(model, device="cpu"), "runtime": Runtime(file)}
    done = in_turn({engine: partial(way, photo) for engine, way in ways.items()}, repeats)
    ours, theirs = done["deblurrer"], done["runtime"]
    ratios = [their / our for our, their in zip(ours.seconds, theirs.seconds, strict=True)]
    difference = np.abs(ours.output.astype(int) - theirs.output)
    return {
        "name": name,
        **{f"{engine}_seconds": timed.median for engine, timed in done.items()},
        **{f"{engine}_shortest": min(timed.seconds) for engine, timed in done.items()},
        **{f"{engine}_longest": max(timed.seconds) for engine, timed in done.items()},
        "runtime_to_deblurrer": statistics.median(ratios),
        "ratio_smallest": min(ratios), "ratio_largest": max(ratios),
        "agreement_db": psnr(ours.output, theirs.output), "largest_difference": int(difference.max()),
        **memory,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=size, default="1280x720", metavar="WxH")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the ONNX files are, or are exported to")
    parser.add_argument("--keep-freed", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error(f"--repeats must be 1 or more, got {args.repeats}")
    if args.keep_freed and any(os.environ.get(name) != value for name, value in KEPT.items()):
        command = [sys.executable, "-m", "benchmarks.onnx_runtime", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **KEPT})
    import onnxruntime

    width, height = args.size
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            row = measure(name, folder, choose_photo(None, width, height), repeats=args.repeats)
            rows.append({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()})
            print(rows[-1], flush=True)
    if args.json:
        around = surroundings()
        around["versions"]["onnxruntime"] = onnxruntime.__version__
        found = {
            "about": "seconds of a photo from 8-bit pixels to 8-bit pixels, in turn in one process, medians after a "
            "first one; runtime_to_deblurrer: median of the ratios of neighbouring runs, above 1 ONNX Runtime is "
            "slower; peaks are those of processes that restore one photo",
            "width": width, "height": height, "repeats": args.repeats, "freed_memory_kept": args.keep_freed,
            **around, "rows": rows,
        }  # fmt: skip
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
