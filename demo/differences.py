"""Differences between two trainings, and when they count.

Two sources of chance are in every difference. One is which crops were scored: all variants see the same ones, so
differences are taken crop by crop, and their standard error over crops says what other crops might have given. The
differences of one crop under several seeds share that crop and are no independent samples, so a crop's seeds are
averaged first and crops are counted, not crops times seeds. The other is the seed of a training: the means of the
single seeds have a standard error of their own. Both are independent, so their squares add. Two seeds tell their spread
only roughly, and crops of one photo are alike: an error is good to a factor of two, not better.
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
        error: standard error of that mean, from the crops and, where there are two or more, from the seeds.
        seeds: the mean difference of each seed.
    """

    mean: float
    error: float
    seeds: tuple[float, ...]

    @property
    def is_separated(self) -> bool:
        """Whether it exceeds twice its error; never with one seed, which cannot tell a variant from its luck."""
        return len(self.seeds) > 1 and abs(self.mean) > ERRORS * self.error


def paired_difference(differences: NDArray[np.float64]) -> Difference:
    """Mean and standard error of paired differences.

    Args:
        differences: (seeds, crops), two or more crops; a crop is one sample, its seeds are averaged first.
    """
    variance, seeds = _squared_error(differences.mean(axis=0)), differences.mean(axis=1)
    if len(seeds) > 1:
        variance += _squared_error(seeds)
    return Difference(float(seeds.mean()), float(np.sqrt(variance)), tuple(seeds.tolist()))


def _squared_error(samples: NDArray[np.float64]) -> float:
    """Of their mean."""
    return float(samples.var(ddof=1)) / len(samples)


def seed_spread(means: Sequence[float]) -> float:
    """Spread of a variant over its seeds: the standard deviation, of two seeds half of their difference, of one nan."""
    if len(means) < 2:
        return float("nan")
    return abs(means[0] - means[1]) / 2 if len(means) == 2 else float(np.std(means, ddof=1))
