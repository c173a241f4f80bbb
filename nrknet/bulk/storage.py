"""Folders that photos come from and results go to: on this machine, or behind a URL that fsspec knows."""

import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

PERMANENT = (
    FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError, ValueError, ImportError,
)  # fmt: skip
"""Errors that are the same when tried again; anything else a network may have done."""
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "r2", "hf", "http", "https"}
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "updated")


class StorageError(Exception):
    """A place cannot be read or written; the message is one sentence that names it and the reason."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file: its name below the folder, its size in bytes, and what changes when its content does."""

    name: str
    size: int
    version: str


class Folder(Protocol):
    """A folder of results, which may be empty or not there yet. Writing replaces a file at once, or not at all."""

    @property
    def place(self) -> str:
        """The folder as a person would write it."""

    def path(self, name: str) -> str:
        """A file in it as a person would write it."""

    def files(self, below: str = "") -> Iterator[Found]:
        """Everything below the folder, or below a folder in it."""

    def look(self, name: str) -> Found | None:
        """One file, or None where there is none of that name."""

    def read(self, name: str) -> bytes:
        """The content of a file."""

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a file."""

    def put(self, file: Path, name: str) -> None:
        """Make or replace a file by one of this machine, which may be gone afterwards."""

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; those that are not there are no error."""


class LocalFolder:
    """A folder of this machine, or one that is mounted here and on every machine with workers."""

    def __init__(self, path: Path) -> None:
        self.folder = Path(os.path.abspath(path))

    @property
    def place(self) -> str:
        return str(self.folder)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def files(self, below: str = "") -> Iterator[Found]:
        for root, _, names in os.walk(self.folder / below):
            for name in names:
                path = Path(root) / name
                found = self.look(path.relative_to(self.folder).as_posix())
                if found is not None:
                    yield found

    def look(self, name: str) -> Found | None:
        try:
            status = os.stat(self.folder / name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Found(name, status.st_size, str(status.st_mtime_ns))

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        with self._replacing(name) as part:
            part.write_bytes(content)

    def put(self, file: Path, name: str) -> None:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(file, os.path.realpath(target))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with self._replacing(name) as part:  # the target's folder is a link to another disk
                shutil.copyfile(file, part)

    def _replacing(self, name: str) -> "_Part":
        target = Path(os.path.realpath(self.folder / name))
        target.parent.mkdir(parents=True, exist_ok=True)
        return _Part(target)

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            (self.folder / name).unlink(missing_ok=True)


class _Part:
    """A file beside the one that it is to replace, for as long as it is being written."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._part = target.with_name(f".nrknet-{secrets.token_hex(8)}.tmp")

    def __enter__(self) -> Path:
        return self._part

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                with self._part.open("rb+") as file:
                    os.fsync(file.fileno())
                os.replace(self._part, self._target)
        finally:
            self._part.unlink(missing_ok=True)


class RemoteFolder:
    """A folder behind a URL. Object stores replace an object at once; elsewhere a file is moved into place."""

    def __init__(self, url: str) -> None:
        self.system, root = open_url(url)
        self.root = root.rstrip("/")

    @property
    def place(self) -> str:
        return str(self.system.unstrip_protocol(self.root))

    def path(self, name: str) -> str:
        return f"{self.place}/{name}"

    def files(self, below: str = "") -> Iterator[Found]:
        for info in walk(self.system, f"{self.root}/{below}".rstrip("/")):
            yield found_in(info, info["name"].removeprefix(self.root).lstrip("/"))

    def look(self, name: str) -> Found | None:
        try:
            return found_in(self.system.info(f"{self.root}/{name}"), name)
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        content: bytes = self.system.cat_file(f"{self.root}/{name}")
        return content

    def write(self, name: str, content: bytes) -> None:
        self._replace(name, lambda path: self.system.pipe_file(path, content))

    def put(self, file: Path, name: str) -> None:
        self._replace(name, lambda path: self.system.put_file(str(file), path))

    def _replace(self, name: str, write: Callable[[str], object]) -> None:
        path = f"{self.root}/{name}"
        if is_object_store(self.system):
            write(path)
            return
        parent, _, last = path.rpartition("/")
        self.system.makedirs(parent, exist_ok=True)
        part = f"{parent}/.nrknet-{secrets.token_hex(8)}.tmp"
        with ExitStack() as otherwise:
            otherwise.callback(self._discard, part)
            write(part)
            self.system.mv(part, f"{parent}/{last}")
            otherwise.pop_all()

    def _discard(self, path: str) -> None:
        if self.system.exists(path):
            self.system.rm_file(path)

    def delete(self, names: Iterable[str]) -> None:
        paths = [f"{self.root}/{name}" for name in names]
        if not paths:
            return
        try:
            self.system.rm(paths)
        except FileNotFoundError:
            for path in paths:
                if self.system.exists(path):
                    self.system.rm_file(path)


def is_url(place: str) -> bool:
    """Whether a place is a URL and not a path of this machine (a letter and a colon begin a path on Windows)."""
    return "://" in place and not place.startswith("file://")


def local_path(place: str) -> Path:
    """The path of a place that is no URL, or one with file://."""
    return Path(place.removeprefix("file://"))


def open_folder(place: str) -> Folder:
    """The folder at a path or a URL.

    Raises:
        StorageError: nothing here knows such URLs.
    """
    return RemoteFolder(place) if is_url(place) else LocalFolder(local_path(place))


def open_url(url: str) -> tuple[Any, str]:
    """The file system that fsspec has for a URL, and the path in it; what it lists is not kept.

    Raises:
        StorageError: nothing here knows such URLs, or only one process would see what is there.
    """
    from fsspec.core import url_to_fs

    if url.startswith(("memory://", "local://")) or "::" in url:
        raise StorageError(f"{url}: workers in other processes cannot reach it; give a folder or an object store")
    try:
        system, path = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise StorageError(f"{url}: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise StorageError(f"{url}: nothing here knows such addresses ({error})") from error
    return system, str(path)


def is_object_store(system: Any) -> bool:
    """Whether a file appears whole or not at all when it is written there."""
    protocols = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
    return bool(protocols & _OBJECT_STORES)


def walk(system: Any, root: str) -> Iterator[dict[str, Any]]:
    """What fsspec knows about every file below a folder, one folder after the other, names in order."""
    for _, _, files in system.walk(root, detail=True):
        for _, info in sorted(files.items()):
            if info["name"].rstrip("/") != root:  # some stores keep an empty object for a folder
                yield info


def found_in(info: dict[str, Any], name: str) -> Found:
    """What of it tells a file from a later one of the same name."""
    version = next((info[key] for key in _VERSIONS if info.get(key)), "")
    if isinstance(version, datetime):
        version = version.isoformat()
    return Found(name, int(info.get("size") or 0), str(version).strip('"'))


def persist(
    action: Callable[[], T], place: str, *, retries: int = 3, sleep: Callable[[float], object] = time.sleep
) -> T:
    """Do something with storage, again after 1, 2, 4 ... seconds where a network may have been at fault.

    Args:
        action: may be done more than once.
        place: what it is about, for the message.
        retries: how often it is tried again.

    Raises:
        StorageError: it did not work to the end; one sentence.
    """
    for attempt in range(retries + 1):
        try:
            return action()
        except Exception as error:  # every store has exceptions of its own
            if isinstance(error, PERMANENT) or attempt == retries:
                raise StorageError(f"{place}: {_reason(error)}") from error
            sleep(min(60.0, 2.0**attempt))
    raise AssertionError("the last attempt returns or raises")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file or folder"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
