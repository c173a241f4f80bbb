"""The protocols measure what can be measured, and differ where names differ."""

import numpy as np
import pytest
from networks import random_alexnet

from nrknet.metrics import METRICS
from nrknet.noreference import changes
from nrknet.perceptual import Lpips
from nrknet.protocols import PROTOCOLS, find_protocol


def test_every_protocol_names_known_metrics_and_whose_it_is() -> None:
    photo = np.zeros((4, 4, 3), np.uint8)
    with_truth = {*METRICS, *Lpips(random_alexnet()).metrics}
    without = set(changes(photo, photo, np.eye(4, dtype=bool)))
    for rules in PROTOCOLS.values():
        assert set(rules.metrics) <= (with_truth if rules.has_truth else without)
        assert rules.whose and rules.about
        assert not rules.has_truth or "psnr" in rules.metrics, "by which photos are called better"


def test_only_our_own_protocol_puts_both_ssims_side_by_side() -> None:
    both = {"ssim_uniform", "ssim_gaussian"}
    assert [name for name, rules in PROTOCOLS.items() if both <= set(rules.metrics)] == ["default"]


def test_the_backbone_is_asked_for_only_where_it_is_used() -> None:
    assert {name for name, rules in PROTOCOLS.items() if rules.uses_lpips} == {"default", "papers", "nrknet"}


def test_an_unknown_protocol_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown protocol 'x'; known: default, papers"):
        find_protocol("x")
