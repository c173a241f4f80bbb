"""The ablations that `benchmarks.ablations collect` gathered: per variant mean and spread, and whether it differs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from demo.differences import ERRORS, Difference, paired_difference, seed_spread
from demo.published import SCORES
from demo.results import RESULTS, read_json

MEASURES = {"known_radius_gain_db": "known radius", "gain_db": "network"}
"""What a record holds per crop, in dB over the input, and its short name."""
ORIGINAL = "Original"
SAME = {"FullRKR": ORIGINAL, "FullLoss": ORIGINAL, "J20": ORIGINAL}
"""Names of the full network in other tables of the paper: trained once."""
METHOD = """\
All variants change one network: `lite` with the paper's J = 20 atoms and without its image head, so that only the
Neumann series can change the photo. All have the same crops, steps and seeds. Each starts with the U-Net of the
bundled `lite`, because learning to see blur takes hours and is the same for all; atoms, coefficients and memory start
from nothing. That U-Net was trained inside the full network with 14 atoms, which may favour variants that are like it.
The paper trained each variant for 4000 epochs on DPDD, so the two halves of the tables say different things: the
paper's what a variant is worth in the end, ours what it is worth after this little training.

Two gains over the input are measured, on the same crops of photos that are held out (`benchmarks/ablations.py`):

- **known radius**: the true blur radius is given and no network is used, only the atoms and one learned coefficient
  vector per radius and scale: how well the operators invert defocus;
- **network**: the whole network, from the photo alone.

*Gain* is ± its spread over the seeds: half the difference of two, the standard deviation of more. *Difference* is to
the full network, crop by crop under the same seed, ± one standard error, in which the chance of the crops and that of
the seeds add up; a crop is one sample, its seeds are averaged first. *Separated* is what exceeds two standard errors.
Crops of one photo are alike and two seeds are few, so these errors are rough; and of many true zeros, one in twenty
exceeds two standard errors by chance.
"""
"""How all variants were trained and compared, in Markdown."""
_CONCLUSIONS = (
    f"More than {ERRORS:g} standard errors from Original",
    "The budget is too small to separate from Original",
    "Compared under one seed alone, which cannot tell a variant from its luck",
    "Equal to Original in every crop, as this measure does not see the change",
)
_KEYS = ("variant", "seed", "steps", "crops", "seconds", "parameters", "data", "commit", "device", *MEASURES)
_PROVENANCE = ("steps", "crops", "prefit_steps", "prefit_seconds", "train_seconds", "seconds", "parameters")


@dataclass(frozen=True)
class Ablations:
    """Every trained variant.

    Attributes:
        runs: one row per variant and seed: steps, seconds, parameters, the means of MEASURES, what was scored on pairs
            (as "NAME psnr" and so on), and where it was trained.
        crops: one row per variant, seed and crop with MEASURES, in dB over the input.
        start: in words, what all variants start from.
    """

    runs: pd.DataFrame
    crops: pd.DataFrame
    start: str

    @property
    def variants(self) -> list[str]:
        """The variants there are, in the order of the file."""
        return list(dict.fromkeys(self.runs["variant"]))

    def difference(self, variant: str, *, measure: str = "gain_db", other: str = ORIGINAL) -> Difference:
        """The difference of a variant to another, crop by crop under the same seed.

        Raises:
            ValueError: one of them was not trained, or they have no seed in common.
        """
        own, reference = self._by_crop(variant, measure), self._by_crop(other, measure)
        seeds = own.columns.intersection(reference.columns)
        if seeds.empty:
            raise ValueError(f"{variant} and {other} have no seed in common")
        return paired_difference((own[seeds] - reference[seeds]).to_numpy().T)

    def summary(self, measure: str = "gain_db") -> pd.DataFrame:
        """Per variant: mean, spread, seeds, difference (to Original), error, separated.

        `spread` is over the means of the seeds, as `seed_spread` has it; Original itself has no difference.
        """
        rows = {}
        for variant in self.variants:
            means = self._by_crop(variant, measure).mean()
            row = {"mean": means.mean(), "spread": seed_spread(means.tolist()), "seeds": len(means)}
            if variant != ORIGINAL and ORIGINAL in self.variants:
                found = self.difference(variant, measure=measure)
                row |= {"difference": found.mean, "error": found.error, "separated": found.is_separated}
            rows[variant] = row
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")
        return table.reindex(columns=["mean", "spread", "seeds", "difference", "error", "separated"])

    def seed_differences(self, measure: str = "gain_db") -> pd.DataFrame:
        """The mean difference to Original of each seed: one row per variant, one column per seed."""
        means = self.crops.groupby(["variant", "seed"], sort=False)[measure].mean().unstack("seed")
        return (means - means.loc[ORIGINAL]).reindex(self.variants).drop(index=ORIGINAL)

    def scores(self, pairs: str) -> pd.DataFrame:
        """Means over the seeds of what was scored on the pairs of a name: photos, psnr_input, psnr, and so on.

        One row per variant that was scored on them; psnr_spread is over the seeds, as `seed_spread` has it.

        Raises:
            ValueError: nothing was scored on pairs of that name.
        """
        if pairs not in self.scored:
            raise ValueError(f"no variant was scored on {pairs!r}; known: {', '.join(self.scored) or 'none'}")
        columns = {name: name.removeprefix(f"{pairs} ") for name in self.runs if name.startswith(f"{pairs} ")}
        scored = self.runs[["variant", *columns]].rename(columns=columns).dropna(subset="psnr")
        groups = scored.groupby("variant", sort=False)
        spread = groups["psnr"].agg(lambda values: seed_spread(values.tolist()))
        return groups.mean().join(groups.size().rename("seeds")).assign(psnr_spread=spread)

    @property
    def scored(self) -> list[str]:
        """Names of the pairs that variants were scored on."""
        return [name.removesuffix(" psnr") for name in self.runs if name.endswith(" psnr")]

    def describe(self) -> str:
        """One sentence: what was trained, on what, how long and where; ranges where the runs differ."""
        runs, seeds = self.runs, self.runs.groupby("variant")["seed"].nunique()
        return (
            f"{len(seeds)} variants, {_range(seeds)} {'seeds' if seeds.max() > 1 else 'seed'} each: "
            f"{_range(runs['steps'])} steps of {_range(runs['crops'] / runs['steps'])} crops "
            f"of {_range(runs['photos'])} photos, after {_range(runs['prefit_steps'])} steps of pre-fitting; "
            f"{_range(runs['seconds'] / 60, 1)} minutes a run, "
            f"{runs['seconds'].sum() / 3600:.1f} hours in all, on {', '.join(runs['device'].unique())}; commit "
            f"{', '.join(runs['commit'].astype(str).unique())}. Start: {self.start}. Compared on "
            f"{self.crops['crop'].nunique()} crops of {_range(runs['validation_photos'])} photos that are held out."
        )

    def _by_crop(self, variant: str, measure: str) -> pd.DataFrame:
        """(crops, seeds) of one variant."""
        if variant not in self.variants:
            raise ValueError(f"{variant} was not trained; known: {', '.join(self.variants)}")
        return self.crops[self.crops["variant"] == variant].pivot(index="crop", columns="seed", values=measure)


def read_ablations(path: Path = RESULTS / "ablations.json") -> Ablations:
    """Read what `python -m benchmarks.ablations collect` wrote.

    Raises:
        ValueError: the file is missing, is broken, or holds runs that cannot be compared; one line.
    """
    content = read_json(path)
    records = content.get("runs")
    if not isinstance(records, list) or not records:
        raise ValueError(f"{path} holds no runs; expected what `python -m benchmarks.ablations collect` writes")
    for record in records:
        missing = [key for key in _KEYS if key not in record]
        if missing:
            raise ValueError(f"{path} holds a run of {record.get('variant')} without {', '.join(missing)}")
    counts = sorted({len(record[measure]) for record in records for measure in MEASURES})
    if len(counts) > 1 or counts[0] < 2:
        raise ValueError(f"{path} holds runs scored on {counts} crops; expected the same crops, two or more")
    if len({(record["variant"], record["seed"]) for record in records}) < len(records):
        raise ValueError(f"{path} holds a variant twice with the same seed")
    runs, crops = [], []
    for record in records:
        run = {"variant": record["variant"], "seed": record["seed"]}
        values = {measure: record[measure] for measure in MEASURES}
        crops.append(pd.DataFrame({**run, "crop": range(counts[0]), **values}))
        scores = {f"{name} {key}": v for name, found in record.get("scores", {}).items() for key, v in found.items()}
        means = {measure: float(np.mean(v)) for measure, v in values.items()}
        kept = {key: record.get(key) for key in (*_PROVENANCE, "commit", "device")}
        photos = {key: record["data"].get(key) for key in ("photos", "validation_photos")}
        runs.append({**run, **kept, **photos, **means, **scores})
    start = content.get("start", "not recorded")
    return Ablations(pd.DataFrame(runs).replace({None: float("nan")}), pd.concat(crops, ignore_index=True), start)


def full_network(names: Iterable[str]) -> str:
    """What the full network is called among the variants of one of the paper's tables."""
    return next(name for name in names if SAME.get(name, name) == ORIGINAL)


def beside_paper(ablations: Ablations, table: str) -> pd.DataFrame:
    """The paper's rows of an ablation table beside ours.

    Args:
        ablations: ours.
        table: "3", "4", "5" or "J", of `demo.published`.

    Returns:
        One row per variant by the paper's name: the paper's PSNR, SSIM, LPIPS and difference in PSNR to its full
        network, and for both of MEASURES our mean, difference and error; nan where a variant is not trained.
    """
    paper = pd.DataFrame([vars(score) for score in SCORES if score.table == table]).set_index("method")
    full = full_network(paper.index)
    result = paper[["psnr", "ssim", "lpips"]].add_prefix("paper ")
    result.insert(1, "paper difference", paper["psnr"] - paper["psnr"][full])
    for measure, short in MEASURES.items():
        ours = ablations.summary(measure).rename(index={ORIGINAL: full}).reindex(paper.index)
        ours.columns = [f"{short} {column}" for column in ours]
        result = result.join(ours)
    return result.rename_axis("variant")


def verdict(ablations: Ablations, variants: Sequence[str], *, measure: str = "gain_db") -> str:
    """In words, which of the variants differ from Original by more than their error and which do not."""
    trained = [name for name in variants if name in ablations.variants and name != ORIGINAL]
    found = {name: ablations.difference(name, measure=measure) for name in trained}
    said: dict[str, list[str]] = {}
    for name, difference in found.items():
        text = f"{name} ({difference.mean:+.3f} ± {difference.error:.3f} dB)"
        said.setdefault(_conclusion(difference), []).append(text)
    parts = [f"{conclusion}: {_and(said[conclusion])}." for conclusion in _CONCLUSIONS if conclusion in said]
    if untrained := [name for name in variants if name not in ablations.variants and name not in SAME]:
        parts.append(f"Not trained: {_and(untrained)}.")
    return " ".join(parts)


def _conclusion(difference: Difference) -> str:
    apart, close, single, untouched = _CONCLUSIONS
    if difference.mean == difference.error == 0:
        return untouched
    if difference.is_separated:
        return apart
    return close if len(difference.seeds) > 1 else single


def _and(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))


def _range(values: pd.Series, digits: int = 0) -> str:
    """A number, or the smallest and the largest."""
    low, high = (f"{value:.{digits}f}" for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"
