"""The shared graphics card of a Hugging Face Space (ZeroGPU): asked for while a network runs, and for nothing else."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

IS_SHARED = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
"""Whether there is one. The package `spaces`, which a Space has, must be imported before torch then."""


def on_shared_gpu(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function in a process that has the card; elsewhere the function itself.

    Arguments and results cross between processes: numbers, strings and arrays, no functions and no tensors of the card.
    """
    return importlib.import_module("spaces").GPU(function) if IS_SHARED else function
