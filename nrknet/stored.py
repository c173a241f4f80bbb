"""Stored scores: what `nrknet evaluate --json` wrote about a network, read back and checked."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nrknet.protocols import PROTOCOLS, Protocol

RESULTS_FOLDER = "results"
"""Where a network's folder, and its repository on the Hub, keep stored scores."""


@dataclass(frozen=True)
class StoredScores:
    """Means over a set of photos, under a named protocol.

    Attributes:
        path: the file.
        photos: what was scored, after the file's name.
        model: what it was scored with, as `--model` named it.
        protocol: a key of PROTOCOLS.
        resize: "WxH" to which the photos were brought first, or None.
        count: of photos.
        mean: name -> value as in `Scores.mean`; None where it is not defined.
        environment: where it was measured.
    """

    path: Path
    photos: str
    model: str
    protocol: str
    resize: str | None
    count: int
    mean: dict[str, float | None]
    environment: dict[str, str | int]

    @property
    def rules(self) -> Protocol:
        """How it was scored."""
        return PROTOCOLS[self.protocol]


def find_scores(folder: Path, repo: str, files: Sequence[Path] = ()) -> list[StoredScores]:
    """Read the stored scores of a network: those in its folder, and those that are named.

    Args:
        folder: the network's; what is in its folder results/ counts.
        repo: what it will be called on the Hub, "owner/name".
        files: more of them.

    Returns:
        In the order of their files' names.

    Raises:
        ValueError: a file is missing, is no stored scores, or is about another network; one line that names it.
    """
    found: dict[str, StoredScores] = {}
    for path in (*sorted((folder / RESULTS_FOLDER).glob("*.json")), *files):
        scores = read_scores(path, suffixes=(folder.resolve().name, repo.partition("/")[2]))
        if not _is_of(scores.model, folder, repo):
            raise ValueError(f"{path} holds scores of {scores.model!r}, not of {folder}")
        before = found.setdefault(path.name, scores)
        if before.path.resolve() != path.resolve():
            raise ValueError(f"{before.path} and {path} have the same name; rename one")
    return [found[name] for name in sorted(found)]


def _is_of(model: str, folder: Path, repo: str) -> bool:
    """Whether `--model MODEL` meant the network in this folder."""
    if model.partition("@")[0] in (folder.resolve().name, repo, repo.partition("/")[2]):
        return True
    return "/" in model and Path(model).resolve() == folder.resolve()


def read_scores(path: Path, *, suffixes: Sequence[str] = ()) -> StoredScores:
    """Read one file.

    Args:
        path: as `nrknet evaluate --json` writes it.
        suffixes: ends of the file's name that say what was scored, not on what: "dpdd_lite" is about "dpdd".

    Raises:
        ValueError: the file is missing or no stored scores; one line that names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error
    wrong = _problem(content)
    if wrong:
        raise ValueError(f"{path} is not what `nrknet evaluate --json` writes: {wrong}")
    photos = path.stem
    for suffix in suffixes:
        photos = photos.removesuffix(f"_{suffix}").removesuffix(f"-{suffix}")
    return StoredScores(
        path=path, photos=photos, model=content["model"], protocol=content["protocol"], resize=content.get("resize"),
        count=len(content["images"]), mean=content["mean"], environment=content["environment"],
    )  # fmt: skip


def _problem(content: Any) -> str | None:
    """What is wrong with the content of a file, or None."""
    if not isinstance(content, dict):
        return f"expected an object, got {type(content).__name__}"
    expected: dict[str, type] = {"protocol": str, "model": str, "environment": dict, "mean": dict, "images": list}
    for key, kind in expected.items():
        if not isinstance(content.get(key), kind):
            return f"no {key}"
    if content["protocol"] not in PROTOCOLS:
        return f"unknown protocol {content['protocol']!r}; known: {', '.join(PROTOCOLS)}"
    for name in PROTOCOLS[content["protocol"]].metrics:
        value = content["mean"].get(name, "nothing")
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            return f"its mean {name} is {value!r}"
    return None if content["images"] else "no images"
