"""Tables for the screen hold the numbers they are made of."""

import numpy as np
import pandas as pd
import pytest

from demo.ablations import Ablations
from demo.published import SCORES
from demo.tables import NOTHING, ablation_table, as_text, pair_scores, paper_scores


def test_numbers_are_written_as_asked_and_a_dash_where_there_is_none() -> None:
    table = pd.DataFrame({"a": [1.23456, np.nan], "b": [1e9, 2e9], "c": ["x", "y"]}, ["first", "second"])
    shown = as_text(table, {"b": "{:.0e}", "a": "{:.2f}"})
    assert shown.to_dict("index") == {"first": {"b": "1e+09", "a": "1.23"}, "second": {"b": "2e+09", "a": NOTHING}}


@pytest.mark.parametrize("table", ["1", "2", "3", "J", "S2"])
def test_a_table_of_the_paper_holds_every_printed_score(table: str) -> None:
    shown = paper_scores(table)
    for score in (s for s in SCORES if s.table == table):
        cells = shown.loc[score.method, f"{score.dataset} (trained on {score.trained_on})"]
        assert cells["PSNR"] == f"{score.psnr:.3f}"
        assert cells["LPIPS"] == (NOTHING if score.lpips is None else f"{score.lpips:.3f}")
    assert len(shown) == len({s.method for s in SCORES if s.table == table})


def test_ours_stand_beside_the_papers_with_their_errors() -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"variant": v, "seed": seed, "crop": c, "gain_db": (g := 0.8 + shift + rng.normal(0, 0.1)),
         "known_radius_gain_db": g}
        for v, shift in (("Original", 0.0), ("NonAdaptive", -0.5)) for seed in (0, 1) for c in range(20)
    ]  # fmt: skip
    crops = pd.DataFrame(rows)
    found = Ablations(crops[["variant", "seed"]].drop_duplicates(), crops, "nothing")
    shown, summary = ablation_table(found, "3"), found.summary()
    assert shown["paper, DPDD"].loc["NonAdaptive"].tolist() == ["25.309", "0.797", "0.255", "-0.800"]
    difference, error = summary.loc["NonAdaptive", ["difference", "error"]]
    assert shown.loc["NonAdaptive", ("ours, network", "difference")] == f"{difference:+.3f}\u00a0±\u00a0{error:.3f}"
    assert shown.loc["NonAdaptive", ("ours, network", "separated")] == "yes"
    mean, spread = summary.loc["Original", ["mean", "spread"]]
    assert shown.loc["FullRKR", ("ours, network", "gain, dB")] == f"{mean:.3f}\u00a0±\u00a0{spread:.3f}"
    assert shown.loc["FullRKR", ("ours, network", "difference")] == NOTHING
    assert shown.loc["NonSeparable", "ours, known radius"].tolist() == [NOTHING] * 3
    atoms = ablation_table(found, "J")
    assert atoms["paper, DPDD"].loc["J15"].tolist() == ["25.942", "-0.167"], "the paper has PSNR alone"


def test_scores_on_pairs_are_means_over_seeds_with_their_difference_to_the_full_network() -> None:
    runs = pd.DataFrame({
        "variant": ["Original", "Original", "NonAdaptive", "NonAdaptive"], "seed": [0, 1, 0, 1],
        "p photos": 3, "p psnr_input": 24.5, "p psnr": [25.0, 25.2, 24.6, 24.6], "p lpips": [0.2, 0.3, 0.4, 0.4],
    })  # fmt: skip
    shown = pair_scores(Ablations(runs, pd.DataFrame(), "nothing"), "p", ["Original", "NonAdaptive", "NonSeparable"])
    assert shown.index.name == "p, 3 photos, input 24.500 dB"
    assert shown.to_dict("index") == {
        "Original": {
            "seeds": "2", "psnr": "25.100", "psnr_spread": "±\u00a00.100", "difference": "+0.000", "lpips": "0.2500",
        },
        "NonAdaptive": {
            "seeds": "2", "psnr": "24.600", "psnr_spread": "±\u00a00.000", "difference": "-0.500", "lpips": "0.4000",
        },
    }  # fmt: skip
