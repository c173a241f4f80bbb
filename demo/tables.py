"""Tables for the screen: numbers as text, the paper's rows as it prints them, and ours beside them."""

from collections.abc import Mapping, Sequence

import pandas as pd

from demo.ablations import MEASURES, ORIGINAL, Ablations, beside_paper
from demo.published import SCORES

NOTHING = "–"
_METRICS = {"psnr": ("PSNR", "{:.3f}"), "ssim": ("SSIM", "{:.3f}"), "lpips": ("LPIPS", "{:.3f}")}


def as_text(table: pd.DataFrame, formats: Mapping[str, str]) -> pd.DataFrame:
    """A table with its numbers written out, and a dash where there is none.

    Args:
        table: any.
        formats: column -> format, such as "{:.2f}"; columns that are not named are left out, the others are in the
            order of the formats.
    """
    columns = {name: [_text(value, spec) for value in table[name]] for name, spec in formats.items()}
    return pd.DataFrame(columns, table.index)


def paper_scores(table: str) -> pd.DataFrame:
    """A table of the paper as it prints it: one row per method, the metrics of each data set side by side.

    Args:
        table: "1" to "5", "S1" to "S3" or "J", as in `demo.published`.
    """
    rows: dict[str, dict[tuple[str, str], str]] = {}
    for score in SCORES:
        if score.table == table:
            of_set = f"{score.dataset} (trained on {score.trained_on})"
            for name, (label, spec) in _METRICS.items():
                rows.setdefault(score.method, {})[of_set, label] = _text(getattr(score, name), spec)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("paper")


def ablation_table(ablations: Ablations, table: str) -> pd.DataFrame:
    """An ablation table, the paper's columns beside ours.

    Gains are ± their spread over the seeds, differences are to the full network, ± a standard error.

    Args:
        ablations: ours.
        table: "3", "4", "5" or "J".
    """
    both = beside_paper(ablations, table)
    columns = {
        ("paper, DPDD", label): [_text(value, spec) for value in both[f"paper {name}"]]
        for name, (label, spec) in _METRICS.items()
    }
    columns["paper, DPDD", "difference"] = [f"{value:+.3f}" for value in both["paper difference"]]
    for short in MEASURES.values():
        ours, label = both.filter(like=f"{short} "), f"ours, {short}"
        columns[label, "gain, dB"] = _with_error(ours[f"{short} mean"], ours[f"{short} spread"], "{:.3f}")
        columns[label, "difference"] = _with_error(ours[f"{short} difference"], ours[f"{short} error"], "{:+.3f}")
        columns[label, "separated"] = [
            NOTHING if pd.isna(value) else "yes" if value else "no" for value in ours[f"{short} separated"]
        ]
    if table == "J":
        columns = {name: column for name, column in columns.items() if name[1] not in ("SSIM", "LPIPS")}
    return pd.DataFrame(columns, both.index)


def pair_scores(ablations: Ablations, pairs: str, variants: Sequence[str]) -> pd.DataFrame:
    """What the variants score on pairs: means over the seeds, `spread` over them, `difference` to the full network.

    Args:
        ablations: ours.
        pairs: a name of `ablations.scored`.
        variants: the rows, the full network among them; those that were not scored are left out.
    """
    scores = ablations.scores(pairs)
    scores = scores.reindex([name for name in variants if name in scores.index])
    scores["difference"] = scores["psnr"] - scores["psnr"].get(ORIGINAL, float("nan"))
    formats = {"seeds": "{:.0f}", "psnr": "{:.3f}", "psnr_spread": "±\u00a0{:.3f}", "difference": "{:+.3f}"}
    formats |= {name: "{:.4f}" for name in ("ssim_uniform", "ssim_gaussian", "lpips") if name in scores}
    label = f"{pairs}, {scores['photos'].iloc[0]:.0f} photos, input {scores['psnr_input'].iloc[0]:.3f} dB"
    return as_text(scores, formats).rename_axis(label)


def _with_error(values: pd.Series, errors: pd.Series, spec: str) -> list[str]:
    """Each ± its error, on one line; without where there is none."""
    return [
        _text(value, spec) + _text(error, "\u00a0±\u00a0{:.3f}", otherwise="")
        for value, error in zip(values, errors, strict=True)
    ]


def _text(value: float | None, spec: str, *, otherwise: str = NOTHING) -> str:
    return otherwise if pd.isna(value) else spec.format(value)
