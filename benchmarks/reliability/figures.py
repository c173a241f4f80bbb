"""The figures of all reliability scripts in one file, a section each."""

import json
import os
import platform
from datetime import date
from pathlib import Path
from typing import Any

import torch

from nrknet import __version__

DEFAULT = Path(__file__).parent.parent / "results" / "reliability.json"


def record(section: str, figures: dict[str, Any], path: Path = DEFAULT) -> None:
    """Replace one section of the file and leave the others as they are.

    Args:
        section: the script's name.
        figures: what it measured; numbers, strings, lists and dictionaries.
        path: the file, which need not exist.
    """
    everything = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    everything[section] = {**figures, "measured": about_here()}
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(everything, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(part, path)


def about_here() -> dict[str, Any]:
    """When and where something was measured."""
    return {
        "date": date.today().isoformat(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {"nrknet": __version__, "torch": torch.__version__},
    }
