"""NRKNet: single-image defocus deblurring with recursive kernels and a truncated Neumann series (CVPR 2023)."""

import importlib
from typing import Any

from nrknet._version import __version__

_HOMES = {
    "NRKNetConfig": "config",
    "PRESETS": "config",
    "VARIANTS": "config",
    "NRKNet": "model",
    "NRKNetOutput": "model",
    "ScaleOutput": "model",
    "load_model": "weights",
    "Deblurrer": "inference",
    "Analysis": "analysis",
    "evaluate": "evaluation",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that `nrknet --help` does not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nrknet' has no attribute {name!r}")
    return getattr(importlib.import_module(f"nrknet.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
