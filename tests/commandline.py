"""The command line in a process of its own, and photos and folders for it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from nrknet import cli


def run_command(
    *arguments: str | Path, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "nrknet", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=child_environment(environment), capture_output=True, text=True, timeout=300
    )


def child_environment(more: dict[str, str]) -> dict[str, str]:
    root = str(Path(cli.__file__).parents[1])
    # One thread: on a busy machine, threads that wait for each other over tiny photos take minutes.
    return {**os.environ, "PYTHONPATH": root, "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1", **more}


def save_photo(path: Path, size: tuple[int, int] = (24, 20), seed: int = 0) -> Path:
    """Write a small photo, in the format of its suffix, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def files_in(folder: Path) -> list[str]:
    """Every file below a folder, hidden ones and leftovers too."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())
