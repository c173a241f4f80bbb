"""NRKNet: single-image defocus deblurring with recursive kernels and a truncated Neumann series (CVPR 2023)."""

import importlib
from typing import TYPE_CHECKING, Any

from nrknet._version import __version__

if TYPE_CHECKING:  # what `__getattr__` does, said so that type checkers and editors see the types
    from nrknet.analysis import Analysis
    from nrknet.config import PRESETS, VARIANTS, NRKNetConfig
    from nrknet.evaluation import evaluate
    from nrknet.inference import Deblurrer
    from nrknet.model import NRKNet, NRKNetOutput, ScaleOutput
    from nrknet.weights import load_model

__all__ = [
    "PRESETS",
    "VARIANTS",
    "Analysis",
    "Deblurrer",
    "NRKNet",
    "NRKNetConfig",
    "NRKNetOutput",
    "ScaleOutput",
    "__version__",
    "evaluate",
    "load_model",
]

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


if not TYPE_CHECKING:  # to a type checker it would make a type of every misspelt name

    def __getattr__(name: str) -> Any:
        """Import public names on first use, so that `nrknet --help` does not wait for torch."""
        if name not in _HOMES:
            raise AttributeError(f"module 'nrknet' has no attribute {name!r}")
        return getattr(importlib.import_module(f"nrknet.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
