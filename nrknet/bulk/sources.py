"""The photos of a collection: which ones, what each result is called, and which of them are to be done."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nrknet.batch import PhotoFile, find_photos, name_results
from nrknet.bulk.storage import (
    Folder,
    Found,
    LocalFolder,
    RemoteFolder,
    StorageError,
    found_in,
    is_url,
    local_path,
    open_url,
    persist,
    walk,
)  # fmt: skip
from nrknet.imageio import detect_format, is_probably_image, output_suffix

HEADS_AT_ONCE = 256
"""How many remote photos are asked for their first bytes at a time."""


@dataclass(frozen=True, slots=True)
class Source:
    """A photo and its result.

    Args:
        place: an absolute path, or a URL.
        target: the result's name below the output folder, with slashes.
        size: of the photo, in bytes.
        version: changes when the photo does: its time of change, or a store's tag.
    """

    place: str
    target: str
    size: int
    version: str


@dataclass
class Sorted:
    """The photos, sorted into those to do, those with a result, and those refused, each of these with the reason."""

    todo: list[Source] = field(default_factory=list)
    recorded: list[Source] = field(default_factory=list)
    existing: list[Source] = field(default_factory=list)
    refused: list[tuple[Source, str]] = field(default_factory=list)


def find_sources(paths: Sequence[str], out: Folder) -> tuple[list[Source], list[str]]:
    """List the photos that paths and URLs stand for, each once, and name their results as `nrknet deblur` does.

    Args:
        paths: files and folders of this machine, and URLs of files and folders.
        out: the output folder, which is not searched.

    Returns:
        The photos, and a sentence for every path that gave none.
    """
    local = [local_path(path) for path in paths if not is_url(path)]
    photos, problems = find_photos(local, out.folder if isinstance(out, LocalFolder) else None)
    places = [os.path.abspath(photo.source) for photo in photos]
    founds = [_look(place) for place in places]
    for url in dict.fromkeys(path for path in paths if is_url(path)):
        try:
            remote = list(_remote(url, out))
        except StorageError as error:
            problems.append(str(error))
            continue
        known = set(places)
        for place, photo, found in remote:
            if place not in known:
                places.append(place)
                photos.append(photo)
                founds.append(found)
    names = name_results(photos)
    sources = [
        Source(place, name.as_posix(), found.size, found.version)
        for place, name, found in zip(places, names, founds, strict=True)
    ]
    return sources, problems


def _look(place: str) -> Found:
    try:
        status = os.stat(place)
    except OSError:  # gone since it was listed: restoring it will say so
        return Found(place, 0, "")
    return Found(place, status.st_size, str(status.st_mtime_ns))


def _remote(url: str, out: Folder) -> Iterator[tuple[str, PhotoFile, Found]]:
    """The photos at a URL: their URL, their names, and what the store says about them."""
    system, root = open_url(url)
    root = root.rstrip("/")
    own = out.root if isinstance(out, RemoteFolder) and out.system == system else None
    infos = persist(lambda: list(_listed(system, root, own)), url)
    if not infos:
        raise StorageError(f"{url}: no photos in this folder")
    for start in range(0, len(infos), HEADS_AT_ONCE):
        some = infos[start : start + HEADS_AT_ONCE]
        for (path, found), suffix in zip(some, _suffixes(system, [path for path, _ in some]), strict=True):
            folder = Path(path[len(root) :].lstrip("/")).parent
            # A name only, with bucket and folders in front: nothing looks for it on this machine.
            yield system.unstrip_protocol(path), PhotoFile(Path("/" + path.lstrip("/")), folder, suffix), found


def _listed(system: Any, root: str, own: str | None) -> Iterator[tuple[str, Found]]:
    if not root.strip("/"):
        raise ValueError("a bucket or a host is missing")
    try:
        info = system.info(root)
    except FileNotFoundError:
        info = {"type": "directory"} if next(walk(system, root), None) else None  # a prefix without an object
    if info is None:
        raise FileNotFoundError(root)
    if info["type"] == "file":
        yield root, found_in(info, root)
        return
    for info in walk(system, root):
        path = info["name"]
        hidden = any(part.startswith(".") for part in path[len(root) :].split("/"))
        if is_probably_image(path) and not hidden and not (own and path.startswith(own + "/")):
            yield path, found_in(info, path)


def _suffixes(system: Any, paths: list[str]) -> list[str]:
    """The suffixes of results, for what the files are, whatever their names say; any will do for one not read."""
    heads = persist(lambda: system.cat_ranges(paths, 0, 32, on_error="return"), paths[0])
    suffixes = []
    for path, head in zip(paths, heads, strict=True):
        try:
            image_format = detect_format(head)
        except Exception:  # restoring the file will say what is wrong with it
            image_format = "PNG"
        suffixes.append(output_suffix(image_format, Path(path).suffix))
    return suffixes


def sort_out(
    sources: Sequence[Source], out: Folder, *, is_recorded: Callable[[Source, Found], bool], skip_existing: bool
) -> Sorted:
    """Set aside what is done, what has a result (if told to), and what would replace a photo of the user's.

    Args:
        sources: every photo.
        out: the output folder.
        is_recorded: whether a photo's result that is there was made of this photo in the same way.
        skip_existing: take any result that is there for a good one.
    """
    there = _Results(sources, out)
    batch = Sorted()
    for source in sources:
        found = there.look(source.target)
        if found is None:
            batch.todo.append(source)
        elif there.is_a_photo(source.target):
            batch.refused.append((source, "its result would replace an input photo; choose another output folder"))
        elif is_recorded(source, found):
            batch.recorded.append(source)
        elif skip_existing:
            batch.existing.append(source)
        elif there.is_beside(source):
            name = source.target.rpartition("/")[2]
            batch.refused.append((source, f"there is already a {name} beside it; choose another output folder"))
        else:
            batch.todo.append(source)
    return batch


class _Results:
    """What the output folder holds; one listing where looking costs a request, one look each on this machine."""

    def __init__(self, sources: Sequence[Source], out: Folder) -> None:
        self._out = out
        self._is_local = isinstance(out, LocalFolder)
        if self._is_local:
            self._photos: set[object] = {_identity(source.place) for source in sources if not is_url(source.place)}
        else:
            self._photos = {source.place for source in sources}
            self._listed = {found.name: found for found in persist(lambda: list(out.files()), out.place)}

    def look(self, name: str) -> Found | None:
        return self._out.look(name) if self._is_local else self._listed.get(name)

    def is_a_photo(self, name: str) -> bool:
        path = self._out.path(name)
        return (_identity(path) if self._is_local else path) in self._photos

    def is_beside(self, source: Source) -> bool:
        here, there = (os.path.dirname(path) for path in (source.place, self._out.path(source.target)))
        return _identity(here) == _identity(there) if self._is_local else here == there


def _identity(path: str) -> tuple[int, int] | None:
    """Equal for one file under two names: links of both kinds are seen through."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
