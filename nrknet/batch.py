"""A batch of photos: which files the given paths mean, and what each result is called. Touches no pixels."""

import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nrknet.imageio import detect_format, is_probably_image, output_suffix


@dataclass(frozen=True)
class PhotoFile:
    """A photo to restore, and the sub-folder of the output folder that its result belongs in.

    Where the suffix of the result is known, the source is nothing but a name, and need not be on this machine.
    """

    source: Path
    folder: Path
    suffix: str | None = None


@dataclass(frozen=True)
class Job:
    """One photo and the file that its result is written to."""

    source: Path
    target: Path


@dataclass
class Batch:
    """The jobs, sorted into those to do, those done before, and those refused, each of these with the reason."""

    todo: list[Job] = field(default_factory=list)
    existing: list[Job] = field(default_factory=list)
    refused: list[tuple[Job, str]] = field(default_factory=list)


def find_photos(paths: Sequence[Path], out: Path | None) -> tuple[list[PhotoFile], list[str]]:
    """List the photos that files and folders stand for, each once, in a fixed order.

    A file is taken whatever its suffix. A folder stands for the photos in it and below it, without hidden ones,
    linked folders, and the output folder; this one is left out too where it is given among others, as photos/* may.

    Args:
        paths: files and folders.
        out: the output folder, which need not exist; None when it is on no disk of this machine.

    Returns:
        The photos, and a sentence for every path that gave none.
    """
    found: dict[Path, PhotoFile] = {}
    problems: list[str] = []
    out = None if out is None else out.resolve()
    for path in paths:
        if os.path.isdir(path):
            if path.resolve() == out and len(paths) > 1:
                continue
            photos = list(_walk(path, out, problems))
            if not photos:
                problems.append(f"{path}: no photos in this folder")
        elif os.path.isfile(path):
            photos = [PhotoFile(path, Path())]
        else:
            photos = []
            problems.append(f"{path}: not a file" if os.path.exists(path) else f"{path}: no such file or folder")
        for photo in photos:
            # The folder is resolved, the name is not: a link to a photo is a photo with a name of its own.
            found.setdefault(photo.source.parent.resolve() / photo.source.name, photo)
    return list(found.values()), problems


def _walk(top: Path, out: Path | None, problems: list[str]) -> Iterator[PhotoFile]:
    def unreadable(error: OSError) -> None:
        problems.append(f"{error.filename}: {error.strerror}")

    for root, folders, names in os.walk(top, onerror=unreadable):
        here = Path(root)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and (here / f).resolve() != out)
        for name in sorted(names):
            source = here / name
            if is_probably_image(source) and source.is_file():
                yield PhotoFile(source, here.relative_to(top))


MAX_NAME_BYTES = 255
# Ways to tell photos apart whose results would have the same name: (folder names in front, suffix behind).
_NAMINGS = ((0, True), (1, False), (1, True), (2, False), (2, True))


def plan(photos: Sequence[PhotoFile], out: Path) -> list[Job]:
    """Name the file of every result, as `name_results` does."""
    names = name_results(photos)
    return [Job(photo.source, out / name) for photo, name in zip(photos, names, strict=True)]


def name_results(photos: Sequence[PhotoFile]) -> list[Path]:
    """Name every result below the output folder: the photo's stem, and the suffix of the format it is written in.

    Photos whose results would have the same name, in capitals or not, all get a longer one: the old suffix behind it
    (a.bmp and a.gif become a_bmp.png and a_gif.png), or where that is the same too, the folder's name before it
    (x/a.jpg and y/a.jpg become x_a.jpg and y_a.jpg), or both; numbers when nothing else tells them apart. All of
    them, so that a result never changes hands when a photo is added later and existing results are skipped. Names that
    are longer than file systems take are cut, and told apart by a hash of what was cut.
    """
    names = [_name(photo) for photo in photos]
    clashes = defaultdict(list)
    for i, name in enumerate(names):
        clashes[_key(name)].append(i)
    renamed = set()
    for clash in clashes.values():
        if len(clash) > 1:
            renamed.update(clash)
            longer = [[_name(photos[i], *naming) for i in clash] for naming in _NAMINGS]
            best = next((n for n in longer if len({_key(x) for x in n}) == len(n)), longer[0])
            for i, name in zip(clash, best, strict=True):
                names[i] = name
    # Names that were left alone go first, and the order of the paths given does not matter.
    _number(names, order=sorted(range(len(names)), key=lambda i: (i in renamed, str(photos[i].source))))
    return names


def _name(photo: PhotoFile, num_parents: int = 0, with_suffix: bool = False) -> Path:
    words = [photo.source.stem]
    if num_parents:
        words[:0] = photo.source.parent.resolve().parts[1:][-num_parents:]
    if with_suffix and photo.source.suffix:
        words.append(photo.source.suffix[1:].lower())
    return photo.folder / _fit("_".join(words), photo.suffix or _suffix(photo.source))


def _fit(stem: str, suffix: str) -> str:
    """The name of a file, cut to what file systems take; of an encoded letter nothing is cut off."""
    name = stem + suffix
    if len(_encoded(name)) <= MAX_NAME_BYTES:
        return name
    suffix = f"~{hashlib.sha256(_encoded(name)).hexdigest()[:8]}{suffix}"
    cut = stem
    while len(_encoded(cut + suffix)) > MAX_NAME_BYTES:
        cut = cut[:-1]
    return cut + suffix


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _suffix(source: Path) -> str:
    """The suffix for what the file is, whatever its name says; any will do for one that cannot be read."""
    try:
        with source.open("rb") as file:
            image_format = detect_format(file.read(32))
    except Exception:  # restoring the file will say what is wrong with it
        image_format = "PNG"
    return output_suffix(image_format, source.suffix)


def _key(name: Path) -> str:
    """Equal for names that some file system takes for the same."""
    return unicodedata.normalize("NFC", str(name)).casefold()


def _number(names: list[Path], *, order: Iterable[int]) -> None:
    """Put numbers behind names that are still taken when their turn comes."""
    used = set()
    for i in order:
        plain, number = names[i], 1
        while _key(names[i]) in used:
            number += 1
            names[i] = plain.with_name(_fit(f"{plain.stem}_{number}", plain.suffix))
        used.add(_key(names[i]))


def sort_out(jobs: Iterable[Job], *, skip_existing: bool) -> Batch:
    """Set aside the jobs whose result exists (if told to), and those that would replace a photo of the user's.

    A photo is recognised by what it is, not by its name: links of both kinds are seen through.
    """
    jobs = list(jobs)
    sources = {_identity(job.source) for job in jobs}
    batch = Batch()
    for job in jobs:
        existing = _identity(job.target)
        if existing is None:
            batch.todo.append(job)
        elif existing in sources:
            batch.refused.append((job, "its result would replace an input photo; choose another output folder"))
        elif skip_existing:
            batch.existing.append(job)
        elif _identity(job.target.parent) == _identity(job.source.parent):
            why = f"there is already a {job.target.name} beside it; choose another output folder"
            batch.refused.append((job, why))
        else:
            batch.todo.append(job)
    return batch


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
