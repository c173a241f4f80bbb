"""Puts hundreds of broken and odd photo files through the command line and the running app, and counts what came of it.

    python -m benchmarks.reliability.bad_input [--json PATH]

Each must be restored or refused in one sentence. Times are those that a user waits for one file. Photos of 199
megapixels, which are legal and take their time, are read only, and have figures of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.reliability import figures
from benchmarks.reliability.app_client import AppClient, uploaded
from benchmarks.reliability.app_process import ROOT, AppProcess
from benchmarks.reliability.broken.sample import BrokenPhoto
from benchmarks.reliability.broken_photos import broken_photos, large_photos, write

ALONE = (
    "png-rgb-cut-50.png", "jpeg-baseline-cut-90.jpg", "tiff-lzw-cut-50.tif", "webp-lossy-cut-50.webp", "jpeg-1x60.jpg",
    "jpeg-5000-scans.jpg", "tiff-million-strips.tif", "bmp-runs-of-one.bmp", "other-empty.jpg", "other-heic.jpg",
    "png-2147483647x2147483647.png", "tiff-float-with-nan.tif",
)  # fmt: skip
"""Photos that are refused by a process of their own."""
Figures = dict[str, Any]


def main() -> None:
    """Break everything, and record what held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th file, for a short run")
    parser.add_argument("--json", type=Path, default=figures.DEFAULT, metavar="PATH")
    args = parser.parse_args()
    photos = broken_photos()[:: args.every]
    result: Figures = {"files": len(photos), "files by kind": dict(Counter(photo.kind for photo in photos))}
    with tempfile.TemporaryDirectory(prefix="nrknet-broken-") as temporary:
        folder = Path(temporary)
        write(photos, folder / "photos")
        result["command line, one folder"] = command_line(photos, folder)
        result["command line, one photo"] = alone(folder)
        result["app"] = app(photos, folder)
        result["photos of up to 199 megapixels in small files, read"] = large(folder)
    figures.record("bad_input", result, args.json)
    print(json.dumps(result, indent=1))


def command_line(photos: Sequence[BrokenPhoto], folder: Path) -> Figures:
    """All files in one folder and one process; when its lines came says how long each took."""
    command = [sys.executable, "-m", "nrknet", "deblur", str(folder / "photos"), "-o", str(folder / "out")]
    lines, at = [], time.monotonic()
    with (folder / "said").open("w+") as said, subprocess.Popen(
        command, cwd=ROOT, stdout=said, stderr=subprocess.PIPE, text=True
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            lines.append((line.rstrip("\n"), time.monotonic() - at))
            at = time.monotonic()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    refused = [(line, seconds) for line, seconds in lines if line.startswith("nrknet: ")]
    later = [seconds for line, seconds in lines[1:] if line.startswith("nrknet: ")]
    results = [(line, seconds) for line, seconds in lines if " -> " in line]
    restored = [seconds for line, seconds in results[1:] if "x16." not in line]
    wide = [seconds for line, seconds in results[1:] if "x16." in line]
    if process.returncode != 1 or not len(refused) + len(results) == len(photos) == len(lines):
        raise SystemExit(f"status {process.returncode}, {len(lines)} lines for {len(photos)} files: {lines[-3:]}")
    wrong = [photo.name for photo in photos if _differs(photo, [line for line, _ in refused], folder)]
    shutil.rmtree(folder / "out")
    return {
        "restored": len(results),
        "refused": len(refused),
        "neither, or not as it ought to be": wrong,
        "tracebacks": sum("Traceback" in line for line, _ in lines),
        "first answer, from the start of the process, seconds": round(lines[0][1], 2),
        "slowest refusal after that, seconds": round(max(later), 2),
        "until the first result, with the network loaded, seconds": round(results[0][1], 2),
        "slowest result after that, seconds": round(max(restored), 2),
        "slowest result of 30000 x 16 pixels, seconds": round(max(wide, default=0), 2),
        "peak memory, megabytes": usage.ru_maxrss // 1024,
    }


def _differs(photo: BrokenPhoto, complaints: Sequence[str], folder: Path) -> bool:
    is_refused = any(f"{folder / 'photos' / photo.name}:" in line for line in complaints)
    return photo.outcome not in ("either", "refused" if is_refused else "restored")


def alone(folder: Path) -> Figures:
    """Some refused photos, each by a process of its own, from the shell to the sentence."""
    taken = []
    for photo in broken_photos():
        if photo.name in ALONE:
            (path,) = write([photo], folder / "alone")
            begun = time.monotonic()
            command = [sys.executable, "-m", "nrknet", "deblur", str(path), "-o", str(folder / "out")]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            taken.append(time.monotonic() - begun)
            if done.returncode != 1 or done.stderr.count("\n") != 1 or photo.name not in done.stderr:
                raise SystemExit(f"{photo.name}: status {done.returncode}, {done.stderr}")
    return {"refused": len(taken), "slowest, seconds": round(max(taken), 2)}


def app(photos: Sequence[BrokenPhoto], folder: Path) -> Figures:
    """All files, one after the other, through the app over HTTP."""
    served = AppProcess(folder, keep_seconds=60)
    try:
        result = asyncio.run(_visit(served, photos))
        result["alive after them"] = served.is_alive
    finally:
        served.end()
    return {**result, "tracebacks in its log": served.log.read_text().count("Traceback")}


async def _visit(served: AppProcess, photos: Sequence[BrokenPhoto]) -> Figures:
    count, wrong, peak = Counter[str](), [], 0.0
    slowest = {"done": (0.0, ""), "wide": (0.0, ""), "refused": (0.0, "")}
    async with AppClient(served.url) as client:
        for photo in photos:
            if not photo.content:
                continue  # no browser sends an empty file
            begun = time.monotonic()
            where = await client.upload(photo.content, photo.name)
            answer = await client.call("deblur", [uploaded(where), "default", "auto", 1.0, 3])
            seconds, peak = time.monotonic() - begun, max(peak, served.megabytes())
            count[answer.kind] += 1
            is_refused = answer.kind == "refused"
            expected = photo.outcome in ("either", "refused" if is_refused else "restored")
            if answer.kind not in slowest or not expected or (is_refused and not answer.is_sentence):
                wrong.append(f"{photo.name}: {answer.kind} {answer.said}")
            elif count[answer.kind] > 1 or is_refused:  # the first result waits for the network
                which = "wide" if photo.kind == "wide" else answer.kind
                slowest[which] = max(slowest[which], (seconds, photo.name))
    return {
        "restored": count["done"],
        "refused": count["refused"],
        "neither, or not as it ought to be": wrong,
        "slowest refusal, seconds": round(slowest["refused"][0], 2),
        "slowest result after the first, seconds": round(slowest["done"][0], 2),
        "slowest result of 30000 x 16 pixels, seconds": round(slowest["wide"][0], 2),
        "slowest were": [name for _, name in slowest.values()],
        "peak memory, megabytes": round(peak),
    }


_READ = """\
import json, resource, sys, time
from nrknet.imageio import ImageError, read_photo
begun, said = time.monotonic(), "read"
try:
    read_photo(sys.argv[1])
except ImageError as error:
    said = "refused"
print(json.dumps([said, time.monotonic() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]))
"""


def large(folder: Path) -> Figures:
    """Small files that are legal photos of very many pixels, each read by a process of its own."""
    answers = {}
    for photo in large_photos():
        (path,) = write([photo], folder / "large")
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", _READ, str(path)], cwd=ROOT, stdout=-1, check=True)
        said, seconds, megabytes = json.loads(done.stdout)
        answers[photo.name] = {
            "bytes": len(photo.content), "outcome": said, "seconds": round(seconds, 1), "megabytes": megabytes,
        }  # fmt: skip
    return answers


if __name__ == "__main__":
    main()
