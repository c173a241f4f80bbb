"""Ablations as tables: means, spreads, paired differences, and when two variants count as different."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demo.ablations import Ablations, beside_paper, read_ablations, verdict
from demo.published import SCORES

CROPS = 40


def record(variant: str, seed: int, gains: np.ndarray, **more: Any) -> dict[str, Any]:
    """A record as benchmarks.ablations writes it."""
    return {
        "variant": variant, "seed": seed, "steps": 250, "crops": 1000, "prefit_steps": 300, "prefit_seconds": 60,
        "train_seconds": 120, "seconds": 180, "parameters": 900, "known_radius_gain_db": (gains + 1).tolist(),
        "gain_db": gains.tolist(), "data": {"dataset": "sharp", "photos": 215, "validation_photos": 24},
        "commit": "abc1234", "device": "cpu, 1 threads", **more,
    }  # fmt: skip


def collected(folder: Path, records: list[dict[str, Any]]) -> Ablations:
    """Write records as benchmarks.ablations collects them, and read them."""
    (folder / "ablations.json").write_text(json.dumps({"start": "the U-Net of the bundled lite", "runs": records}))
    return read_ablations(folder / "ablations.json")


def hard_crops(seed: int) -> np.ndarray:
    """Gains that differ much from crop to crop, and the same crops under any seed but for a little."""
    shared, own = np.random.default_rng(0), np.random.default_rng(seed + 1)
    return shared.normal(0.8, 0.7, CROPS) + own.normal(0, 0.01, CROPS)


@pytest.fixture
def found(tmp_path: Path) -> Ablations:
    noise = np.random.default_rng(9).normal(0, 0.02, (4, CROPS))
    return collected(
        tmp_path,
        [
            record("Original", 0, hard_crops(0)), record("Original", 1, hard_crops(1) + 0.02),
            record("NonAdaptive", 0, hard_crops(0) - 0.1 + noise[0]),
            record("NonAdaptive", 1, hard_crops(1) - 0.1 + noise[1]),
            record("FullExp", 0, hard_crops(0) + 0.1 + noise[2]), record("FullExp", 1, hard_crops(1) - 0.1 + noise[3]),
            record("J15", 0, hard_crops(0) - 0.5),
        ],
    )  # fmt: skip


def test_a_variants_mean_and_spread_are_over_its_seeds(found: Ablations) -> None:
    table = found.summary()
    means = [hard_crops(0).mean(), hard_crops(1).mean() + 0.02]
    assert table.loc["Original", "mean"] == pytest.approx(np.mean(means))
    assert table.loc["Original", "spread"] == pytest.approx(abs(means[0] - means[1]) / 2)
    assert table["seeds"].to_dict() == {"Original": 2, "NonAdaptive": 2, "FullExp": 2, "J15": 1}
    assert math.isnan(table.loc["Original", "difference"]) and math.isnan(table.loc["J15", "spread"])


def test_a_difference_is_paired_so_that_hard_crops_do_not_hide_it(found: Ablations) -> None:
    difference = found.difference("NonAdaptive")
    assert difference.mean == pytest.approx(-0.11, abs=0.02)
    assert difference.error < 0.02 < hard_crops(0).std() / np.sqrt(CROPS)
    assert difference.is_separated


def test_both_measures_are_compared(found: Ablations) -> None:
    known, network = (found.difference("NonAdaptive", measure=m) for m in ("known_radius_gain_db", "gain_db"))
    assert known.mean == pytest.approx(network.mean)
    assert found.summary("known_radius_gain_db")["mean"]["J15"] == pytest.approx(found.summary()["mean"]["J15"] + 1)


def test_seeds_that_disagree_in_sign_are_not_separated(found: Ablations) -> None:
    difference = found.difference("FullExp")
    assert min(difference.seeds) < 0 < max(difference.seeds) and not difference.is_separated


def test_one_seed_is_never_separated(found: Ablations) -> None:
    difference = found.difference("J15")
    assert abs(difference.mean) > 2 * difference.error and len(difference.seeds) == 1
    assert not difference.is_separated


def test_a_seed_that_the_other_lacks_is_left_out_of_the_difference(tmp_path: Path) -> None:
    gains = hard_crops(0)
    records = [record("Original", 0, gains), record("2Scales", 0, gains - 0.2), record("2Scales", 1, gains + 5)]
    difference = collected(tmp_path, records).difference("2Scales")
    assert difference.seeds == pytest.approx((-0.2,)) and difference.mean == pytest.approx(-0.2)


def test_differences_of_the_single_seeds_average_to_the_difference(found: Ablations) -> None:
    seeds = found.seed_differences()
    assert "Original" not in seeds.index
    assert seeds.loc["FullExp"].mean() == pytest.approx(found.difference("FullExp").mean)
    assert math.isnan(seeds.loc["J15", 1])


def test_scores_on_pairs_are_averaged_over_the_seeds_that_have_them(tmp_path: Path) -> None:
    def on_pairs(psnr: float) -> Mapping[str, Any]:
        return {"scores": {"dpdd": {"photos": 38, "psnr_input": 24.0, "psnr": psnr, "lpips": None}}}

    gains = hard_crops(0)
    records = [
        record("Original", 0, gains, **on_pairs(24.2)), record("Original", 1, gains, **on_pairs(24.4)),
        record("J25", 0, gains),
    ]  # fmt: skip
    found = collected(tmp_path, records)
    table = found.scores("dpdd")
    assert found.scored == ["dpdd"] and list(table.index) == ["Original"]
    row = table.loc["Original"]
    assert [row.photos, row.psnr, row.psnr_spread, row.seeds] == pytest.approx([38, 24.3, 0.1, 2])
    assert math.isnan(table.loc["Original", "lpips"])
    with pytest.raises(ValueError, match="'kodak'; known: dpdd"):
        found.scores("kodak")


@pytest.mark.parametrize(("table", "full"), [("3", "FullRKR"), ("4", "Original"), ("J", "J20")])
def test_the_papers_rows_stand_beside_ours(found: Ablations, table: str, full: str) -> None:
    both = beside_paper(found, table)
    assert both["paper psnr"].to_dict() == {s.method: s.psnr for s in SCORES if s.table == table}
    assert both.loc[full, "paper difference"] == 0
    assert both.loc[full, "network mean"] == found.summary().loc["Original", "mean"]
    for variant in set(both.index) & set(found.variants) - {"Original"}:
        assert both.loc[variant, "network difference"] == found.difference(variant).mean
        assert both.loc[variant, "known radius error"] > 0


def test_a_verdict_names_each_variant_on_the_side_that_its_data_say(found: Ablations) -> None:
    said = verdict(found, ["FullRKR", "NonAdaptive", "FullExp", "J15", "NonSeparable"])
    apart, rest = said.split(" The budget is too small to separate from Original: ")
    close, rest = rest.split(" Compared under one seed alone, ")
    assert "NonAdaptive (-0.1" in apart and apart.startswith("More than 2 standard errors")
    assert close.startswith("FullExp (") and close.endswith(").") and "J15 (-0.500" in rest
    assert rest.endswith("Not trained: NonSeparable.") and "FullRKR" not in said


def test_a_verdict_does_not_blame_the_budget_where_nothing_was_changed(tmp_path: Path) -> None:
    records = [record(name, seed, hard_crops(seed)) for name in ("Original", "w/o reblur") for seed in (0, 1)]
    said = verdict(collected(tmp_path, records), ["w/o reblur"])
    assert "does not see the change: w/o reblur (+0.000 ± 0.000 dB)." in said and "budget" not in said


def test_the_description_says_what_was_trained_and_how_long(found: Ablations) -> None:
    said = found.describe()
    for part in ("4 variants", "1 to 2 seeds", "250 steps of 4 crops of 215 photos", "3.0 minutes a run", "abc1234",
                 "the U-Net of the bundled lite", f"{CROPS} crops of 24 photos"):  # fmt: skip
        assert part in said, part


def test_runs_that_cannot_be_compared_are_refused_in_one_line(tmp_path: Path) -> None:
    path, gains = tmp_path / "ablations.json", hard_crops(0)
    full, short = record("Original", 0, gains), record("J15", 0, gains[:-1])
    lacking = {k: v for k, v in full.items() if k != "gain_db"}
    for runs, says in (
        ([], "holds no runs"), ([full, short], r"scored on \[39, 40\] crops"), ([full, full], "a variant twice"),
        ([lacking], "a run of Original without gain_db"),
    ):  # fmt: skip
        path.write_text(json.dumps({"runs": runs}))
        with pytest.raises(ValueError, match=says) as caught:
            read_ablations(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="no such file"):
        read_ablations(tmp_path / "missing.json")


def test_an_unknown_variant_lists_the_known_ones(found: Ablations) -> None:
    with pytest.raises(ValueError, match="J99 was not trained; known: Original, NonAdaptive"):
        found.difference("J99")
