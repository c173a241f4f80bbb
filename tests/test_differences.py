"""Differences between trainings: their errors, and when they count."""

import math

import numpy as np
import pytest

from demo.differences import Difference, paired_difference, seed_spread


def test_the_same_differences_under_more_seeds_are_no_more_evidence_about_crops() -> None:
    one = np.random.default_rng(3).normal(0.1, 1, (1, 50))
    single, repeated = paired_difference(one), paired_difference(np.repeat(one, 4, axis=0))
    assert repeated.error == pytest.approx(single.error) == pytest.approx(one.std(ddof=1) / np.sqrt(50))


def test_seeds_that_disagree_make_the_error_larger() -> None:
    found = paired_difference(np.array([[0.1, 0.1, 0.1], [0.5, 0.5, 0.5]]))
    assert [found.mean, found.error, *found.seeds] == pytest.approx([0.3, 0.2, 0.1, 0.5])


@pytest.mark.parametrize("seeds", [2, 5])
def test_the_error_says_how_far_means_of_other_crops_and_seeds_lie(seeds: int) -> None:
    chance = np.random.default_rng(5)
    drawn = []
    for _ in range(2000):
        of_seed, of_crop = chance.normal(0, 0.2, (seeds, 1)), chance.normal(0, 1, (1, 60))
        drawn.append(paired_difference(0.3 + of_seed + of_crop + chance.normal(0, 0.1, (seeds, 60))))
    found = np.sqrt(np.mean([d.error**2 for d in drawn]))
    assert np.std([d.mean for d in drawn]) == pytest.approx(found, rel=0.05)


def test_the_spread_of_two_seeds_is_half_their_difference_and_of_more_the_standard_deviation() -> None:
    assert seed_spread([1.0, 1.5]) == 0.25
    assert seed_spread([1.0, 2.0, 3.0]) == pytest.approx(1.0)
    assert math.isnan(seed_spread([1.0]))


@pytest.mark.parametrize(
    ("difference", "separated"),
    [
        (Difference(0.3, 0.1, (0.2, 0.4)), True), (Difference(-0.3, 0.1, (-0.2, -0.4)), True),
        (Difference(0.3, 0.2, (0.2, 0.4)), False), (Difference(0.3, 0.1, (0.3,)), False),
        (Difference(0.0, 0.0, (0.0, 0.0)), False),
    ],
)  # fmt: skip
def test_a_difference_counts_if_it_exceeds_two_errors_under_two_seeds(difference: Difference, separated: bool) -> None:
    assert difference.is_separated == separated
