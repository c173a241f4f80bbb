"""Whether PyTorch would find a graphics card, found out without importing it where there can be none."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_DRIVERS = {"linux": ("libcuda.so.1",), "win32": ("nvcuda.dll", "amdhip64.dll")}
"""Libraries that come with a card's driver and not with PyTorch; on systems that are not listed PyTorch is asked."""
_AMD_ON_LINUX = "/dev/kfd"


def on_cpu(device: str | torch.device) -> bool:
    """Whether a network that is wanted on this device certainly works on the CPU."""
    if str(device) == "cpu":
        return True
    if device != "auto":
        return False
    if "torch" in sys.modules:
        from nrknet.weights import pick_device

        return pick_device("auto").type == "cpu"
    return not _perhaps_a_card()


def _perhaps_a_card() -> bool:
    if sys.platform not in _DRIVERS or (sys.platform == "linux" and Path(_AMD_ON_LINUX).exists()):
        return True
    return any(map(_is_there, _DRIVERS[sys.platform]))


def _is_there(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
