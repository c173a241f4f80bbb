"""Numbers that run over: found in what a network gives, and how far its activations are from the largest there is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nrknet.arrays import Floats

if TYPE_CHECKING:
    from torch import nn


class NotFinite(ValueError):
    """A network gave NaN or infinities for a photo; one sentence."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__(
            f"the network's numbers run over in rows {start} to {stop} of this photo, even as 32-bit floats: its "
            "weights are no use for it"
        )


def is_finite(x: Floats) -> bool:
    """Whether no number is NaN or infinite; reads each once."""
    # these make any sum NaN or infinite; a sum that is, of numbers that are not, is too large for a photo as well
    with np.errstate(all="ignore"):
        return math.isfinite(float(x.sum()))


def largest_activations(model: nn.Module, run: Callable[[], object]) -> dict[str, float]:
    """The largest magnitude that each layer gives: what of a dtype's range a network needs.

    Args:
        model: a network.
        run: uses it, any number of times.

    Returns:
        Layer name -> largest magnitude; NaN where one was.
    """
    from torch import Tensor

    found: dict[str, float] = {}

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                largest = float(output.detach().abs().amax())
                found[name] = largest if math.isnan(largest) else max(found.get(name, 0.0), largest)

        return note

    handles = [part.register_forward_hook(hook(name)) for name, part in model.named_modules() if not [*part.children()]]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return found
