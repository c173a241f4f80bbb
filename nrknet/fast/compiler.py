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
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)

SOURCES = Path(__file__).with_name("kernels")
SWITCH = "NRKNET_KERNELS"
"""Environment variable; "off" leaves all work to PyTorch."""
_FLAGS = (
    "-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-pthread",
)  # fmt: skip
_SECONDS = 120
_one_at_a_time = threading.Lock()


def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where they are switched off, or there is no compiler that takes them."""
    with _one_at_a_time:
        return _library()


def start() -> None:
    """Begin to compile while the caller imports what it needs; `library` waits for the end of it."""
    threading.Thread(target=library, daemon=True).start()


@cache
def _library() -> ctypes.CDLL | None:
    if os.environ.get(SWITCH, "").lower() in ("off", "0"):
        return None
    try:
        return _loaded()
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("no compiled kernels, PyTorch does all the work, more slowly: %s", _sentence(error))
        return None


def _loaded() -> ctypes.CDLL:
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError):  # nowhere to keep them, or no home
        with tempfile.TemporaryDirectory() as passing:
            return ctypes.CDLL(str(compiled(Path(passing))))
    return ctypes.CDLL(str(compiled(folder)))


def compiled(folder: Path) -> Path:
    """The file with the compiled kernels in a folder; made when it is not there yet.

    Raises:
        OSError: no compiler.
        subprocess.SubprocessError: the compiler fails.
    """
    command = [_compiler(), *_FLAGS, *_processor_flags()]
    said = repr(([(file.name, file.read_bytes()) for file in sorted(SOURCES.iterdir())], command, _processor()))
    file = folder / f"kernels-{hashlib.sha256(said.encode()).hexdigest()[:16]}.so"
    if not file.is_file():
        with tempfile.TemporaryDirectory(dir=folder) as beside:  # renamed in one go when it is whole
            _compile(command, Path(beside), Path(beside) / file.name).replace(file)
    return file


def _compile(command: list[str], folder: Path, target: Path) -> Path:
    """Compile the sources beside each other, and link them."""
    sources = sorted(SOURCES.glob("*.cpp"))
    objects = [str(folder / f"{source.stem}.o") for source in sources]
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda s, o: _run([*command, "-c", str(s), "-o", o]), sources, objects))
    _run([*command, "-shared", *objects, "-o", str(target)])
    return target


def _run(command: list[str]) -> None:
    subprocess.run(
        command, check=True, timeout=_SECONDS, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def _sentence(error: OSError | subprocess.SubprocessError) -> str:
    """What went wrong, in one line."""
    if isinstance(error, subprocess.CalledProcessError):
        said = [line for line in error.stderr.splitlines() if "error" in line] or [f"exit status {error.returncode}"]
        return f"{error.cmd[0]} says: {said[0].strip()}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"{error.cmd[0]} took more than {_SECONDS} seconds"
    return str(error)


def _processor_flags() -> list[str]:
    """For this very machine."""
    machine = platform.machine().lower()
    if machine in ("arm64", "aarch64"):
        return ["-mcpu=native"]
    wide = ["-mprefer-vector-width=512"] if machine in ("x86_64", "amd64") else []
    return ["-march=native", *wide]


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


def cache_folder() -> Path:
    """Where the user's compiled kernels are kept."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "nrknet"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nrknet"


if __name__ == "__main__":  # `python -m nrknet.fast.compiler` compiles ahead of the first photo
    print("kernels:", "none" if library() is None else cache_folder())
