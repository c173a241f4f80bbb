"""The app's own folder: visitors' files lie there, are deleted on a schedule, and after a kill by the next start."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, which clears its folder of temporary files itself
    fcntl = None  # type: ignore[assignment]

PREFIX = "nrknet-app-"
KEEP_FOR = float(os.environ.get("NRKNET_KEEP_SECONDS", 3600))
"""Seconds that a visitor's files stay on the server after they were last used."""
SERVED_BYTES = 16 << 30
"""Of visitors' files altogether; beyond that the oldest go first."""
LEAST_FREE = 1 << 30
"""Bytes that the disk must have left before anything more is taken."""
EMPTY_FOR = 60.0
"""Seconds that an empty folder stays: somebody may be about to write into it."""


class OwnFolder:
    """A folder that nobody else on the machine can look into, for as long as this process lives.

    Args:
        base: where to make it; such folders there whose processes have died are removed.

    Attributes:
        served: what visitors can ask for, under names that nobody can guess.
        restored: what is remembered for visitors and never served.
        examples: the example photos.
    """

    def __init__(self, base: Path) -> None:
        base.mkdir(parents=True, exist_ok=True)
        remove_abandoned(base)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base)).resolve()
        self._lock = (self.path / "lock").open("w")  # the system lets go of it when this process ends, however it ends
        _try_to_lock(self._lock)
        self.served, self.restored, self.examples = (self.path / n for n in ("served", "restored", "examples"))
        for folder in (self.served, self.restored, self.examples):
            folder.mkdir()
        self._owner = os.getpid()
        atexit.register(self.remove)

    def remove(self) -> None:
        """Delete everything; a copy of the process (of a Space with a shared card) does not."""
        if os.getpid() == self._owner:
            shutil.rmtree(self.path, ignore_errors=True)
            self._lock.close()

    def new(self) -> Path:
        """A folder for the files of one request, that Gradio serves to those who know its name of 128 random bits."""
        folder = self.served / secrets.token_hex(16)
        folder.mkdir()
        return folder

    def keep(self, files: Iterable[str | Path]) -> None:
        """Start the time anew for which visitors' files are kept, because they are in use.

        Args:
            files: what a visitor named; what is no file of the served folder is left alone.
        """
        for file in files:
            with suppress(OSError, ValueError):  # it is gone, or no file can be called so
                path = Path(os.path.realpath(file))
                if path.is_relative_to(self.served):
                    os.utime(path)

    def sweep(self, kept: Iterable[str | Path] = (), *, now: float | None = None) -> int:
        """Delete visitors' files that were not used for KEEP_FOR, and the oldest of what is more than SERVED_BYTES.

        Args:
            kept: files that stay.
            now: seconds since 1970; the clock's by default.

        Returns:
            How many files were deleted.
        """
        now = time.time() if now is None else now
        spared = {os.path.realpath(file) for file in kept}
        # Of its two times a file's ctime is the one that a copy does not take over.
        files = sorted((_changed_at(path), path) for path in _files(self.served) if str(path) not in spared)
        total, deleted = sum(_bytes(path) for _, path in files), 0
        for at, path in files:
            if now - at <= KEEP_FOR and total <= SERVED_BYTES:
                break
            total -= _bytes(path)
            path.unlink(missing_ok=True)
            deleted += 1
        for folder in (path for path in self.served.glob("*") if path.is_dir()):
            with suppress(OSError):  # there is something in it, or Gradio has just removed it
                if now - folder.stat().st_mtime > EMPTY_FOR:
                    folder.rmdir()
        return deleted

    def has_room(self, wanted: int = 0) -> bool:
        """Whether the disk can take so many bytes more."""
        return shutil.disk_usage(self.path).free >= LEAST_FREE + wanted


def remove_abandoned(base: Path) -> None:
    """Delete the folders of processes of this user that were killed."""
    for path in base.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if fcntl is None or path.is_symlink() or path.stat().st_uid != os.getuid():
                continue
            if not (path / "lock").exists():
                if time.time() - path.stat().st_mtime > EMPTY_FOR:  # else it is just being made
                    shutil.rmtree(path)
                continue
            with (path / "lock").open("r+") as lock:
                if _try_to_lock(lock):
                    shutil.rmtree(path)


def _try_to_lock(file: IO[str]) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _files(folder: Path) -> list[Path]:
    return [Path(at, name) for at, _, names in os.walk(folder) for name in names]


def _changed_at(file: Path) -> float:
    with suppress(OSError):  # an upload that was refused meanwhile
        return file.lstat().st_ctime
    return time.time()


def _bytes(file: Path) -> int:
    with suppress(OSError):
        return file.lstat().st_size
    return 0


OWN = OwnFolder(Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()))
os.environ["GRADIO_TEMP_DIR"] = str(OWN.served)  # read when components are made and files are uploaded
