"""Lets a coverage-guided fuzzer loose on what reads photos, starting from the broken ones.

    pip install "nrknet[fuzz]"
    python -m benchmarks.reliability.fuzz_reader [--minutes 10] [--corpus DIR] [--json PATH]

It looks for bytes for which `read_photo` or `photo_size` raise anything but ImageError, take longer than two seconds,
or fill the memory, and stops at the first, whose file it names. Guided by coverage are the readers of this package, of
Pillow and of tifffile, as far as they are Python; the C libraries below them are run with all inputs, but not looked
into.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.reliability.broken_photos import broken_photos

SLOW_SECONDS = 2.0
MOST_MEGABYTES = 2048
LARGEST_INPUT = 1 << 16
MOST_PIXELS = 1_000_000
"""More are refused, so that what is slow is so for its structure."""
_STATUS = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")


def main() -> None:
    """Fuzz in a process of its own, and record what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="keeps what reached something new, for next time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="PATH", help="where the figures go")
    parser.add_argument("--inside", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside is not None:
        _fuzz(Path(args.inside[0]) / "photo", args.inside[1:])
        return
    with tempfile.TemporaryDirectory(prefix="nrknet-fuzz-") as temporary:
        corpus = args.corpus or Path(temporary) / "corpus"
        result = run(corpus, Path(temporary), seconds=round(60 * args.minutes), seed=args.seed)
    from benchmarks.reliability import figures

    figures.record("fuzz_reader", result, args.json or figures.DEFAULT)
    print(json.dumps(result, indent=1))
    if result["findings"]:
        raise SystemExit(1)


def run(corpus: Path, folder: Path, *, seconds: int, seed: int) -> dict[str, Any]:
    """Fuzz for a while.

    Args:
        corpus: inputs that each reach something new; made from the broken photos where there is none.
        folder: for the log.
        seconds: how long.
        seed: of the fuzzer.
    """
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = [photo for photo in broken_photos() if 0 < len(photo.content) <= LARGEST_INPUT]
    for photo in seeds:
        (corpus / photo.name).write_bytes(photo.content)
    kept = Path(f"fuzz-finding-{time.strftime('%Y%m%d-%H%M%S')}-")
    options = [
        f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={LARGEST_INPUT}", f"-rss_limit_mb={MOST_MEGABYTES}",
        f"-timeout={round(SLOW_SECONDS) * 5}", f"-artifact_prefix={kept}", "-print_final_stats=1", str(corpus),
    ]  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.reliability.fuzz_reader", "--inside", str(folder)]
    begun = time.monotonic()
    with (folder / "log").open("w") as log:
        code = subprocess.run([*command, *options], stdout=log, stderr=log).returncode
    said = (folder / "log").read_text(errors="replace")
    if "atheris_is_missing" in said:
        raise SystemExit('atheris is not installed; pip install "nrknet[fuzz]"')
    findings = sorted(str(path) for path in Path().glob(f"{kept}*"))
    if code and not findings:
        raise SystemExit(f"the fuzzer ended with status {code}:\n{said[-3000:]}")
    if findings:
        print(said[-4000:], file=sys.stderr)
    statuses, numbers = _STATUS.findall(said), _numbers(said)
    return {
        "seeds": len(seeds),
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "inputs tried": numbers.get("number_of_executed_units", 0),
        "branches of Python covered": int(statuses[-1][0]) if statuses else 0,
        "features covered": int(statuses[-1][1]) if statuses else 0,
        "inputs kept": int(statuses[-1][2]) if statuses else 0,
        "slowest input, seconds": float((re.findall(r"slowest input: ([\d.]+)", said) or ["nan"])[-1]),
        "peak memory, megabytes": numbers.get("peak_rss_mb", 0),
        "findings": findings,
    }


def _numbers(said: str) -> dict[str, int]:
    return {name: int(number) for name, number in re.findall(r"stat::(\w+):\s+(\d+)", said)}


def _fuzz(file: Path, options: list[str]) -> None:
    """Run libFuzzer in this process, which it ends; each input is written to the file first."""
    try:
        import atheris
    except ImportError:
        raise SystemExit("atheris_is_missing") from None

    with atheris.instrument_imports(include=["nrknet", "PIL", "tifffile"]):
        import tifffile  # noqa: F401

        from nrknet.imageio import ImageError, photo_size, read_photo

    slowest = 0.0

    def try_one(content: bytes) -> None:
        nonlocal slowest
        file.write_bytes(content)
        begun = time.process_time()
        for read in (read_photo, photo_size):
            try:
                read(file, **({"max_pixels": MOST_PIXELS} if read is read_photo else {}))
            except ImageError as error:
                said = str(error)
                if not said.startswith(f"Cannot read {file}: ") or "\n" in said:
                    raise AssertionError(f"not one sentence: {said}") from error
                if isinstance(error.__cause__, MemoryError):
                    raise AssertionError("out of memory") from error
        taken = time.process_time() - begun
        if taken > slowest:
            slowest = taken
            print(f"slowest input: {slowest:.3f} s, {len(content)} bytes", file=sys.stderr, flush=True)
        if taken > SLOW_SECONDS:
            raise AssertionError(f"it took {taken:.1f} seconds")

    atheris.Setup([sys.argv[0], *options], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
