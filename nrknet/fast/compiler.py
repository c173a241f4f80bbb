"""Compiles the kernels for this machine when they are first used, and keeps them."""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)

SOURCES = Path(__file__).with_name("kernels")
SWITCH = "NRKNET_KERNELS"
"""Environment variable; "off" leaves all work to PyTorch."""
_FLAGS = (
    "-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared", "-pthread",
)  # fmt: skip
_SECONDS = 120


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where they are switched off, or there is no compiler that takes them."""
    if os.environ.get(SWITCH, "").lower() in ("off", "0"):
        return None
    try:
        return ctypes.CDLL(str(compiled()))
    except (OSError, subprocess.SubprocessError) as error:
        logger.info("no compiled kernels, PyTorch does all the work: %s", error)
        return None


def compiled() -> Path:
    """The file with the compiled kernels; made when it is not there yet.

    Raises:
        OSError: no compiler, or nowhere to write.
        subprocess.SubprocessError: the compiler fails.
    """
    compiler = _compiler()
    target = "-mcpu=native" if platform.machine().lower() in ("arm64", "aarch64") else "-march=native"
    command = [compiler, *_FLAGS, target]
    if platform.machine().lower() in ("x86_64", "amd64"):
        command.append("-mprefer-vector-width=512")
    sources = [file.read_bytes() for file in sorted(SOURCES.iterdir())]
    said = repr((sources, command, _processor()))
    file = _folder() / f"kernels-{hashlib.sha256(said.encode()).hexdigest()[:16]}.so"
    if not file.is_file():
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:  # beside it: renamed in one go when it is whole
            made = Path(folder) / file.name
            subprocess.run(
                [*command, str(SOURCES / "all.cpp"), "-o", str(made)], check=True, timeout=_SECONDS,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
            made.replace(file)
    return file


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise OSError("there is no C++ compiler (c++, g++ or clang++, or what CXX names)")


def _processor() -> str:
    """What the processor can do: kernels that another machine compiled, with the same home folder, may not run here."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _folder() -> Path:
    """The user's cache folder."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "nrknet"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
