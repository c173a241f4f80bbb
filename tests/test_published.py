"""The paper's tables say what the paper's text says about them."""

from collections import Counter

import pytest

from demo.published import COMPARED, COSTS, SCORES, Score
from nrknet.config import VARIANTS


def rows(table: str, dataset: str, trained_on: str = "DPDD") -> dict[str, Score]:
    return {s.method: s for s in SCORES if (s.table, s.dataset, s.trained_on) == (table, dataset, trained_on)}


@pytest.mark.parametrize(
    ("table", "trained_on", "dataset", "gain"),
    [
        ("1", "DPDD", "DPDD", 0.624), ("1", "DPDD", "RealDOF", 0.264), ("1", "DPDD", "RTF", 0.959),
        ("2", "LFDOF", "LFDOF", 0.228), ("2", "LFDOF", "RTF", 0.495),
    ],
)  # fmt: skip
def test_the_gain_over_the_best_other_method_is_the_texts(
    table: str, trained_on: str, dataset: str, gain: float
) -> None:
    found = rows(table, dataset, trained_on)
    best = max(found[method].psnr for method in COMPARED if method in found)
    assert found["NRKNet"].psnr - best == pytest.approx(gain, abs=1e-9)


@pytest.mark.parametrize("dataset", ["DPDD", "RealDOF", "RTF"])
def test_in_table_1_nrknet_has_the_best_psnr_and_ssim_and_one_method_a_better_lpips_on_realdof(dataset: str) -> None:
    found = rows("1", dataset)
    own = found.pop("NRKNet")
    assert own.psnr > max(s.psnr for s in found.values()) and own.ssim > max(s.ssim for s in found.values())
    better = [method for method, score in found.items() if score.lpips < own.lpips]
    assert better == (["IFANet"] if dataset == "RealDOF" else [])


@pytest.mark.parametrize("dataset", ["LFDOF", "RTF"])
def test_in_table_2_no_method_beats_nrknet_in_any_metric(dataset: str) -> None:
    found = rows("2", dataset, "LFDOF")
    own = found["NRKNet"]
    assert all(s.psnr <= own.psnr and s.ssim <= own.ssim and s.lpips >= own.lpips for s in found.values())


def test_nrknet_has_the_third_smallest_model_of_table_1() -> None:
    by_size = sorted((cost for cost in COSTS if cost.table == "1"), key=lambda cost: cost.parameters)
    assert [cost.method for cost in by_size[:3]] == ["GKMNet", "KPAC", "NRKNet"]


def test_fixed_atoms_lose_most_and_the_full_rkr_costs_least_in_table_3() -> None:
    found = rows("3", "DPDD")
    assert min(found, key=lambda method: found[method].psnr) == "NonAdaptive"
    costs = [cost for cost in COSTS if cost.table == "3"]
    assert min(costs, key=lambda c: c.macs).method == min(costs, key=lambda c: c.parameters).method == "FullRKR"


def test_psnr_rises_with_the_number_of_atoms_and_just_a_bit_above_20() -> None:
    psnr = [score.psnr for score in rows("J", "DPDD").values()]
    assert len(psnr) == 5 and psnr == sorted(psnr)
    assert psnr[4] - psnr[2] < 0.03 < psnr[2] - psnr[1]


def test_every_ablation_table_ends_with_the_full_network_of_table_1() -> None:
    full = rows("1", "DPDD")["NRKNet"]
    for table, name in (("3", "FullRKR"), ("4", "Original"), ("5", "FullLoss")):
        same = rows(table, "DPDD")[name]
        assert (same.psnr, same.ssim, same.lpips) == (full.psnr, full.ssim, full.lpips)
    assert rows("J", "DPDD")["J20"].psnr == full.psnr


def test_every_cell_is_there_once() -> None:
    cells = Counter((s.table, s.trained_on, s.dataset, s.method) for s in SCORES)
    assert max(cells.values()) == 1
    sizes = Counter(s.table for s in SCORES)
    assert sizes == {"1": 9 * 3, "2": 8 * 2, "3": 4, "4": 5, "5": 4, "J": 5, "S1": 5 * 4, "S2": 6 * 4, "S3": 5 * 4}
    assert set(rows("1", "DPDD")) == {"Input", *COMPARED, "NRKNet"} and len(COMPARED) == 7
    assert set(rows("2", "RTF", "LFDOF")) == {"Input", *COMPARED, "NRKNet"} - {"DPDNet-S"}
    assert len({(cost.table, cost.method) for cost in COSTS}) == len(COSTS) == 8 + 4 + 5


def test_every_ablation_is_one_that_can_be_trained() -> None:
    names = {s.method for s in SCORES if s.table not in ("1", "2")} - {"Input"}
    assert names == set(VARIANTS)


def test_the_inputs_are_the_same_in_all_tables_but_for_the_misprint() -> None:
    found: dict[str, set[float]] = {}
    for score in SCORES:
        if score.method == "Input":
            found.setdefault(score.dataset, set()).add(score.psnr)
    assert found == {"DPDD": {23.890}, "RealDOF": {22.333, 23.890}, "RTF": {24.2}, "LFDOF": {25.874}}


def test_metrics_are_in_their_ranges() -> None:
    for score in SCORES:
        assert 22 < score.psnr < 31
        assert score.ssim is None or 0.5 < score.ssim < 0.9
        assert score.lpips is None or 0.1 < score.lpips < 0.6
