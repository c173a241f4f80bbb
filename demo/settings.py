"""What a visitor may ask for, checked: networks that are offered and numbers that make sense."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from nrknet.weights import bundled_models

OFFERED = [name.strip() for name in os.environ.get("NRKNET_MODELS", "").split(",") if name.strip()]
"""Networks that whoever runs the page offers beside the bundled ones: folders, or owner/name on the Hub."""
MODELS = ["default", *bundled_models()[1:], *OFFERED]  # "default" stands for the first bundled one, the best
PRECISIONS = ("auto", "exact")
LARGEST = 10**9
ALL_TERMS = 3
"""Terms of the Neumann series of all presets."""


@dataclass(frozen=True)
class Settings:
    """How photos are restored.

    Attributes:
        model: one of MODELS; nothing else is ever loaded, whatever a visitor names.
        precision: "auto" or "exact".
        strength: 0 (the photo as it is) to 1.
        terms: of the Neumann series, from 1; ALL_TERMS for all that the network has.

    Raises:
        ValueError: one of them is not so; one sentence.
    """

    model: str = "default"
    precision: str = "auto"
    strength: float = 1.0
    terms: int = ALL_TERMS

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"there is no model {shortened(self.model)}; there are {', '.join(MODELS)}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be {' or '.join(PRECISIONS)}, got {shortened(self.precision)}")
        if not 0 <= finite("strength", self.strength) <= 1:
            raise ValueError(f"strength must be from 0 (the photo as it is) to 1, got {self.strength}")
        terms = finite("terms", self.terms)
        if terms != int(terms) or not 1 <= terms <= ALL_TERMS:
            raise ValueError(f"terms must be a whole number from 1 to {ALL_TERMS}, got {self.terms}")
        object.__setattr__(self, "terms", int(terms))  # the page and JSON give 3.0 for 3


def finite(name: str, value: Any) -> float:
    """A number that a visitor gave.

    Raises:
        ValueError: it is none, or beyond all that is ever meant.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not abs(value) <= LARGEST:  # nor is a NaN
        raise ValueError(f"{name} must be a number, got {shortened(value)}")
    return value


def position(row: Any, column: Any) -> tuple[int, int]:
    """The row and the column of a pixel that a visitor gave; whether it lies in the photo is another question."""
    return int(finite("row", row)), int(finite("column", column))


def shortened(value: Any, most: int = 60) -> str:
    """A value for a message, however long it is."""
    said = repr(value)
    return said if len(said) <= most else f"{said[:most]}…"
