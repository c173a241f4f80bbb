"""Stored results as tables: what `nrknet evaluate --json` and `benchmarks.complexity` wrote to `benchmarks/results`."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
_COSTS = ("total_parameters", "total_macs", "seconds", "shortest", "longest")
_KEYS = ("model", "environment", "mean", "images")


def read_evaluations(folder: Path = RESULTS) -> pd.DataFrame:
    """One row per evaluation: name (of its file), model, protocol, resize, photos, the means, and its environment.

    Means are named as in `Scores.mean`: NAME_input for the input, NAME for the output; `seconds` is per photo. What
    was not measured, and the infinite PSNR of equal images, is nan.

    Args:
        folder: files without a protocol in them are of other benchmarks and are passed over.

    Raises:
        ValueError: there is no such folder, or a file in it cannot be read; one line.
    """
    rows = [
        {
            "name": name,
            "model": content["model"],
            "protocol": content["protocol"],
            "resize": content.get("resize"),
            "photos": len(content["images"]),
            **content["mean"],
            **content["environment"],
        }
        for name, content in _contents(folder).items()
    ]
    return pd.DataFrame(rows).replace({None: float("nan")}).infer_objects()


def read_photos(folder: Path = RESULTS) -> pd.DataFrame:
    """One row per photo of every evaluation: name, model, protocol, photo, NAME_input, NAME, seconds.

    Args, Raises:
        as `read_evaluations`.
    """
    rows = [
        {
            "name": name,
            "model": content["model"],
            "protocol": content["protocol"],
            "photo": image["name"],
            **{f"{metric}_input": value for metric, value in image["before"].items()},
            **image["after"],
            "seconds": image["seconds"],
        }
        for name, content in _contents(folder).items()
        for image in content["images"]
    ]
    return pd.DataFrame(rows).replace({None: float("nan")}).infer_objects()


def read_costs(path: Path = RESULTS / "complexity.json") -> tuple[pd.DataFrame, str]:
    """What `python -m benchmarks.complexity --json` measured, and in words on what photo and where.

    Returns:
        One row per network, by its preset or, of `paper`'s variants, by the variant: total_parameters, total_macs,
        seconds (the median), shortest, longest. And one sentence.

    Raises:
        ValueError: the file is missing or broken; one line.
    """
    content = read_json(path)
    try:
        rows = {row["variant"] or row["preset"]: {name: row[name] for name in _COSTS} for row in content["networks"]}
        where = (
            f"Seconds are medians of {content['repeats']} photos of {content['width']}x{content['height']} pixels on "
            f"{content['device']} ({content['machine']}, {content['threads']} threads, PyTorch "
            f"{content['versions']['torch']}), random weights, tiles of {content['tile']} pixels; commit "
            f"{content['commit']}."
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not what `python -m benchmarks.complexity` writes: no {error}") from error
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(_COSTS)), where


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        ValueError: the file is missing, is no JSON, or holds something else; one line that names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected an object")
    return content


def _contents(folder: Path) -> dict[str, dict[str, Any]]:
    """The evaluations of a folder by the names of their files."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    found = {}
    for path in sorted(folder.glob("*.json")):
        content = read_json(path)
        if "protocol" not in content:
            continue
        missing = [key for key in _KEYS if key not in content]
        if missing:
            raise ValueError(f"{path} lacks {', '.join(missing)}; expected what `nrknet evaluate --json` writes")
        for image in content["images"]:
            if not isinstance(image, dict) or not {"name", "before", "after", "seconds"} <= set(image):
                raise ValueError(f"{path} holds an image without name, before, after and seconds")
        found[path.stem] = content
    return found
