"""Differences between two trainings, and when they count.

Two sources of chance are in every difference. One is which crops were scored: all variants see the same ones, so
differences are taken crop by crop, and the standard error over crops says what other crops might have given. The other
is the seed of a training. The differences of one crop under several seeds share that crop and are no independent
samples, so a crop's seeds are averaged first and crops are counted, not crops times seeds. What another seed might give
is not in that error: it shows as the differences of the single seeds, which must agree in sign before two variants are
called separated. With two seeds that is a weak check (they agree by chance half of the time), and crops of one photo
are alike, so the error is rather too small than too large.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ERRORS = 2.0
"""A difference counts from this many standard errors on."""


@dataclass(frozen=True)
class Difference:
    """How one variant differs from another, in dB.

    Attributes:
        mean: over crops and the seeds that both have.
        error: standard error of that mean over crops, each crop's seeds averaged first.
        seeds: the mean difference of each seed.
    """

    mean: float
    error: float
    seeds: tuple[float, ...]

    @property
    def is_separated(self) -> bool:
        """Whether it exceeds twice its error and two or more seeds all say so in sign.

        One seed cannot tell a variant from its luck. Two agree in sign where the mean exceeds half of their difference.
        """
        one_sign = len({value > 0 for value in self.seeds}) == 1
        return len(self.seeds) > 1 and one_sign and abs(self.mean) > ERRORS * self.error


def paired_difference(differences: NDArray[np.float64]) -> Difference:
    """Mean and standard error of paired differences.

    Args:
        differences: (seeds, crops), two or more crops; a crop is one sample, its seeds are averaged first.
    """
    crops = differences.mean(axis=0)
    error = crops.std(ddof=1) / np.sqrt(len(crops))
    return Difference(float(crops.mean()), float(error), tuple(float(v) for v in differences.mean(axis=1)))


def seed_spread(means: Sequence[float]) -> float:
    """Spread of a variant over its seeds: the standard deviation, of two seeds half of their difference, of one nan."""
    if len(means) < 2:
        return float("nan")
    return abs(means[0] - means[1]) / 2 if len(means) == 2 else float(np.std(means, ddof=1))
