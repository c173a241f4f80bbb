"""Files that are replaced at once or not at all, whatever stops the process or the disk."""

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, where nobody can remove a file that is open
    fcntl = None  # type: ignore[assignment]

Bytes = bytes | memoryview
_PREFIX, _SUFFIX = ".nrknet-photo-", ".tmp"


def replace_file(path: Path, contents: Iterable[Bytes], *, keep: Path | None = None) -> None:
    """Write a file beside its place, see it onto the disk, and move it there; nothing is left of one that fails.

    One process writes a path at a time: what an earlier one has left half-written there is overwritten.

    Args:
        path: the file; its folder must exist.
        contents: pieces of it, in order.
        keep: the name under which the file that was there before stays.

    Raises:
        OSError: it cannot be written; the file that was there before still is.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            for piece in contents:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            _keep(path, keep)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)  # there only where something went wrong, which goes on its way
    _store_names(path.parent)


def is_full(error: BaseException | None) -> bool:
    """Whether a disk without room, or a quota, is behind an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def _keep(path: Path, kept: Path) -> None:
    """Let a file go by another name too, so that it can be replaced under its own."""
    link = kept.with_name(kept.name + ".part")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # a disk without hard links: for a moment the file goes by the new name alone
        os.replace(path, kept)
        return
    try:
        os.replace(link, kept)
    finally:
        link.unlink(missing_ok=True)  # there where the two are one file already, which is then not renamed


def _store_names(folder: Path) -> None:
    """See to it that new names, too, outlive a power cut; Windows has no way to ask for it."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """A hidden file beside the target, which takes its place once it is written, or goes away with the error.

    It is locked meanwhile: what a killed process has left, `remove_leftovers` can tell from what is being written.

    Raises:
        OSError: it cannot be written; the file that was there before still is.
    """
    # named before it is there: whatever interrupts us, wherever, it goes away
    temporary = target.parent / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
    try:
        with _open_locked(temporary) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:
                os.replace(temporary, target)
        if fcntl is None:  # Windows moves no open file
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)  # there only where something went wrong, which goes on its way


def _open_locked(path: Path) -> IO[bytes]:
    while True:
        file = path.open("xb")  # not by tempfile: the photo gets the usual permissions, not 0600
        try:
            _lock(file, wait=True)
        except OSError:  # a disk without locks
            return file
        if fcntl is None or os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # taken for a leftover before the lock was there


def _lock(file: IO[bytes], *, wait: bool) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def remove_leftovers(folder: Path) -> int:
    """Remove what killed processes have left half-written in a folder; of a process that lives, nothing.

    Args:
        folder: need not exist; the folders in it are not looked at.

    Returns:
        How many files were removed.
    """
    removed = 0
    for left in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError), left.open("r+b") as file:  # being written, gone meanwhile, or not ours
            _lock(file, wait=False)
            if fcntl is None:
                file.close()
            left.unlink()
            removed += 1
    return removed
