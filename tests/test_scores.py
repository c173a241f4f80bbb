"""Means, JSON and the table of an evaluation."""

import json
import math

import pytest

from nrknet.protocols import PROTOCOLS
from nrknet.scores import ImageScores, Scores

PAIRED = ("psnr", "psnr_affine", "ssim_uniform", "ssim_gaussian")


def image(name: str, before: float, after: float, **more: float) -> ImageScores:
    return ImageScores(name, dict.fromkeys(PAIRED, before), {**dict.fromkeys(PAIRED, after), **more}, 2.0)


def test_the_mean_is_over_photos_and_the_share_counts_those_whose_psnr_rose() -> None:
    scores = Scores("default", "m", (image("a", 20, 24), image("b", 22, 21), image("c", 24, 24)))
    assert scores.mean["psnr_input"] == 22 and scores.mean["psnr"] == 23
    assert scores.mean["share_better"] == pytest.approx(1 / 3) and scores.mean["seconds"] == 2


def test_what_was_not_measured_is_nan_null_and_a_dash_never_a_number() -> None:
    scores = Scores("default", "m", (image("a", 20, 24),))
    assert math.isnan(scores.mean["lpips"]) and math.isnan(scores.mean["lpips_input"])
    assert json.loads(scores.to_json())["mean"]["lpips"] is None
    for line in scores.to_table().splitlines()[2:4]:
        assert line.split()[-3:] == ["-", "-", "2.00"]


def test_the_mean_leaves_out_photos_without_a_number() -> None:
    scores = Scores("default", "m", (image("a", 20, 24, lpips=0.25), image("b", 20, 24, lpips=math.nan)))
    assert scores.mean["lpips"] == 0.25
    assert json.loads(scores.to_json())["images"][1]["after"]["lpips"] is None


def test_equal_photos_have_an_infinite_psnr_which_json_cannot_hold() -> None:
    scores = Scores("default", "m", (image("a", 20, math.inf),))
    assert scores.mean["psnr"] == math.inf
    assert "inf" in scores.to_table().splitlines()[2]
    assert json.loads(scores.to_json(), parse_constant=pytest.fail)["mean"]["psnr"] is None


def test_json_keeps_every_photo_and_where_it_was_measured() -> None:
    scores = Scores("papers", "m", (image("a", 20.123456, 24),), (64, 48), {"torch": "2.9", "threads": 1})
    stored = json.loads(scores.to_json())
    assert stored["environment"] == {"torch": "2.9", "threads": 1}
    assert (stored["protocol"], stored["model"], stored["resize"]) == ("papers", "m", "64x48")
    assert stored["images"][0]["name"] == "a" and stored["images"][0]["before"]["psnr"] == 20.12346


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_table_lines_up_fits_120_columns_and_says_whose_protocol_it_is(name: str) -> None:
    rules = PROTOCOLS[name]
    values = {metric: 0.1234 if metric.startswith(("ssim", "lpips")) else 101.2345 for metric in rules.metrics}
    images = tuple(ImageScores(f"IMG_{i:04}_ap1_05", values, values, 123.4) for i in range(3))
    lines = Scores(name, "m", images).to_table().splitlines()
    num_rows = 1 + rules.has_truth + len(images) + 1
    assert len({len(line) for line in lines[:num_rows]}) == 1
    assert max(map(len, lines)) <= 120
    assert lines[0].split() == ["photo", *rules.metrics, "seconds"]
    assert lines[num_rows - 1].startswith("mean ")
    assert f"protocol {name} ({rules.whose})" in " ".join(lines[num_rows:])


def test_input_stands_before_output() -> None:
    lines = Scores("gkmnet", "m", (image("a", 20, 24),)).to_table().splitlines()
    assert lines[1].split() == ["input", "output"] * 2
    assert lines[2].split() == ["a", "20.000", "24.000", "20.0000", "24.0000", "2.00"]
