"""The networks that come with the package."""

from importlib import resources
from pathlib import Path

from nrknet.folder import WEIGHTS_FILE

PREFERENCE = ("default", "lite")
"""Best first."""


def bundled_models() -> tuple[str, ...]:
    """Names of the networks that come with the package, best first."""
    folder = resources.files("nrknet") / "pretrained"
    return tuple(name for name in PREFERENCE if (folder / name / WEIGHTS_FILE).is_file())


def bundled_folder(name: str) -> Path:
    """The folder of one of them."""
    return Path(str(resources.files("nrknet") / "pretrained" / name))
