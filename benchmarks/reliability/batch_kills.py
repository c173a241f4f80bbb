"""A batch of photos that is killed again and again, beside the same batch left alone; and disks that are full.

    python -m benchmarks.reliability.batch_kills [--kills 20] [--photos 24] [--seed 0]

`nrknet deblur FOLDERS -o OUT` restores photos made here, among them names with spaces, in both Unicode forms, of 255
bytes, and duplicates from different folders. Its process is killed (SIGKILL) at random moments, every second time while
a result is being written, and started again with --skip-existing. Every result must be whole, and byte for byte that of
the undisturbed batch; inputs stay as they are, times included; what a kill has left is gone in the end. Then the output
folder is on a disk of too little room, which can be had by root alone, or on one that is read-only.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.reliability import figures, kills

ROOT = Path(__file__).parents[2]
LEFTOVERS = ".nrknet-*.tmp"


def save_photos(folder: Path, *, number: int, side: int = 200) -> list[Path]:
    """Photos under odd names in several folders; returns what to give to the command.

    Args:
        folder: a new one.
        number: of photos with plain names, beside the odd ones.
        side: in pixels.
    """
    odd = [
        "with spaces  in it.jpg", "Möwe 写真 🌅.png", unicodedata.normalize("NFC", "café.png"),
        unicodedata.normalize("NFD", "café.png"), "-dash.png", "100%.webp", "same.bmp", "same.gif", "same.png",
        f"{'n' * 251}.bmp", f"{'n' * 251}.gif", f"{'n' * 251}.png", f"{'é' * 125}a.png", f"{'写' * 83}ab.bmp",
    ]  # fmt: skip
    names = ["one/" + name for name in (*odd, *(f"plain {i:03}.jpg" for i in range(number)))]
    names += [f"{place}/twice.jpg" for place in ("one", "two", "three/deep")] + [f"two/{'n' * 251}.png"]
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((side, side + seed), Image.Resampling.BICUBIC).save(path)
    return [folder / "one", *sorted((folder / "two").iterdir()), folder / "three" / "deep"]


def snapshot(folder: Path, *, times: bool = False) -> dict[str, tuple[Any, ...]]:
    """A hash of every file below a folder, hidden ones too; with the times at which it was changed if told to."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = (digest, path.stat().st_mtime_ns) if times else (digest,)
    return found


def command(photos: list[Path], out: Path, *options: str) -> list[str]:
    """The command line."""
    start = [sys.executable, "-m", "nrknet", "deblur", "--device", "cpu", "-o", str(out), *options, "--"]
    return [*start, *map(str, photos)]


def environment() -> dict[str, str]:
    """Of the command's process."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}


def is_half(path: Path) -> bool:
    """Whether a result cannot be decoded to its end."""
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return True
    return False


def kill_often(photos: list[Path], inputs: Path, folder: Path, *, num_kills: int, seed: int) -> dict[str, Any]:
    """Run both batches, and count.

    Args:
        photos: as `save_photos` returns them.
        inputs: the folder they are all in.
        folder: for results; a new one.
        num_kills: of the second batch; where it ends before, its results are deleted and it is begun again.
        seed: of the moments.
    """
    random_, before, said = random.Random(seed), snapshot(inputs, times=True), folder / "said.txt"
    folder.mkdir()
    whole, out = folder / "whole", folder / "killed"

    def go(out: Path, moment: kills.Moment | None = None) -> int:
        given = command(photos, out, "--skip-existing")
        return kills.run_until(given, moment, environment=environment(), said=said)

    begun = time.monotonic()
    if status := go(whole):
        raise RuntimeError(f"exit status {status}: {said.read_text()[-1000:]}")
    seconds, expected = time.monotonic() - begun, snapshot(whole)
    counted = {"kills": 0, "kills while a result was written": 0, "half-written results": 0,
               "results that differ": 0, "leftovers in the end": 0, "batches": 0}  # fmt: skip
    while True:
        enough = counted["kills"] >= num_kills
        status = go(out, None if enough else _moment(out, random_, seconds, late=counted["kills"] % 2 == 1))
        found = {name: digest for name, digest in snapshot(out).items() if not Path(name).match(LEFTOVERS)}
        counted["half-written results"] += sum(is_half(out / name) for name in found)
        counted["results that differ"] += sum(expected.get(name) != digest for name, digest in found.items())
        if kills.was_killed(status):
            counted["kills"] += 1
            counted["kills while a result was written"] += any(out.rglob(LEFTOVERS))
        elif status:
            raise RuntimeError(f"exit status {status}: {said.read_text()[-1000:]}")
        else:
            counted["batches"] += 1
            counted["leftovers in the end"] += len(list(out.rglob(LEFTOVERS)))
            counted["results that differ"] += len(expected.keys() ^ found.keys())
            if enough:
                break
            shutil.rmtree(out)
    return {
        **counted,
        "photos": len(expected),
        "inputs changed": sum(before[name] != now for name, now in snapshot(inputs, times=True).items()),
        "seed": seed,
        "seconds without kills": round(seconds, 1),
    }


def _moment(out: Path, random_: random.Random, seconds: float, *, late: bool) -> kills.Moment:
    """When to kill: at any time, or, where `late`, while a result is written that is not always the first one."""
    if not late:
        return kills.Moment(random_.uniform(0.1, seconds))
    passed, known = random_.randint(0, 5), set(out.rglob(LEFTOVERS))
    seen: set[Path] = set()

    def sight() -> bool:
        now = set(out.glob(LEFTOVERS)) - known
        seen.update(now)
        return bool(now) and len(seen) > passed

    return kills.Moment(600, sight)


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[bool]:
    """A disk of so little room in a folder, where root asks for it; whether there is one."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", folder], capture_output=True, check=False
    ) if shutil.which("mount") else None  # fmt: skip
    try:
        yield made is not None and made.returncode == 0
    finally:
        if made is not None and made.returncode == 0:
            subprocess.run(["umount", folder], check=True)


def fill_disk(photos: list[Path], expected: Path, folder: Path) -> dict[str, Any]:
    """Restore onto a disk that is full after some photos, make room, and go on; then onto a read-only one.

    Args:
        photos: as `save_photos` returns them.
        expected: the folder of the undisturbed results.
        folder: where the small disk is mounted; a new one.
    """
    whole = snapshot(expected)
    room = sum((expected / name).stat().st_size for name in whole) // 1024
    with small_disk(folder, room // 2 + 200) as is_small:
        if not is_small:
            return {"full disk": "not tried: no small disk can be mounted here"}

        def go() -> "subprocess.CompletedProcess[str]":
            given = command(photos, folder, "--skip-existing")
            return subprocess.run(given, env=environment(), capture_output=True, text=True, check=False)

        full = go()
        kept = snapshot(folder)
        lines = [line for line in full.stderr.splitlines() if line.startswith("nrknet: ")]
        subprocess.run(["mount", "-o", f"remount,size={4 * room + 1000}k", folder], check=True)
        on = go()
        after = snapshot(folder)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        read_only = subprocess.run(
            command(photos, folder), env=environment(), capture_output=True, text=True, check=False
        )
        return {
            "full disk": {
                "exit status": full.returncode, "sentences": lines, "results": len(kept),
                "results that differ": sum(whole.get(name) != digest for name, digest in kept.items()),
                "tracebacks": full.stderr.count("Traceback"), "exit status once there is room": on.returncode,
                "results that differ then": sum(after.get(name) != digest for name, digest in whole.items()),
            },
            "read-only disk": {
                "exit status": read_only.returncode, "sentences": read_only.stderr.splitlines(),
                "results that differ": sum(snapshot(folder).get(name) != digest for name, digest in whole.items()),
            },
        }  # fmt: skip


def main() -> None:
    """Run it, and put the figures with the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--photos", type=int, default=24, help="beside odd ones (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=figures.DEFAULT, help="the file of figures (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        photos = save_photos(folder / "photos", number=args.photos)
        found = kill_often(photos, folder / "photos", folder / "kills", num_kills=args.kills, seed=args.seed)
        found |= fill_disk(photos, folder / "kills" / "whole", folder / "disk")
    text = json.dumps(found, indent=1).replace(place, "")
    print(text)
    figures.record("batch_kills", json.loads(text), args.json)


if __name__ == "__main__":
    main()
