"""Differences between trainings: their errors, and when they count."""

import math

import numpy as np
import pytest

from demo.differences import Difference, paired_difference, seed_spread


def test_the_same_differences_under_more_seeds_are_no_more_evidence_about_crops() -> None:
    one = np.random.default_rng(3).normal(0.1, 1, (1, 50))
    single, repeated = paired_difference(one), paired_difference(np.repeat(one, 4, axis=0))
    assert repeated.error == pytest.approx(single.error) == pytest.approx(one.std(ddof=1) / np.sqrt(50))


def test_the_error_says_how_far_means_of_other_crops_lie() -> None:
    chance = np.random.default_rng(5)
    drawn = [paired_difference(chance.normal(0.3, 1.0, (2, 60))) for _ in range(400)]
    assert np.std([d.mean for d in drawn]) == pytest.approx(np.mean([d.error for d in drawn]), rel=0.1)


def test_the_spread_of_two_seeds_is_half_their_difference_and_of_more_the_standard_deviation() -> None:
    assert seed_spread([1.0, 1.5]) == 0.25
    assert seed_spread([1.0, 2.0, 3.0]) == pytest.approx(1.0)
    assert math.isnan(seed_spread([1.0]))


@pytest.mark.parametrize(
    ("difference", "separated"),
    [
        (Difference(0.3, 0.1, (0.2, 0.4)), True), (Difference(-0.3, 0.1, (-0.2, -0.4)), True),
        (Difference(0.3, 0.2, (0.2, 0.4)), False), (Difference(0.3, 0.1, (-0.1, 0.7)), False),
        (Difference(0.3, 0.1, (0.3,)), False), (Difference(0.0, 0.0, (0.0, 0.0)), False),
    ],
)  # fmt: skip
def test_a_difference_counts_if_it_exceeds_two_errors_under_two_seeds_of_one_sign(
    difference: Difference, separated: bool
) -> None:
    assert difference.is_separated == separated
