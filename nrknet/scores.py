"""What an evaluation found: per photo, as means, as JSON and as a table."""

import json
import math
import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from nrknet.protocols import Protocol, find_protocol

Size = tuple[int, int]
WIDTH = 110  # of the text below a table


@dataclass(frozen=True)
class ImageScores:
    """Scores of one photo; `before` are the input's, `after` the output's; seconds to restore it."""

    name: str
    before: dict[str, float]
    after: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Scores:
    """Scores of a set of photos under a named protocol.

    Attributes:
        protocol: a key of PROTOCOLS.
        model: the network or method.
        images: one entry for each photo.
        resize: (width, height) to which the photos were brought first.
        environment: where it was measured: versions, device, threads.
    """

    protocol: str
    model: str
    images: tuple[ImageScores, ...]
    resize: Size | None = None
    environment: dict[str, str | int] = field(default_factory=dict)

    @property
    def mean(self) -> dict[str, float]:
        """Means over the photos for which a number is defined, else nan.

        NAME_input (where there is a truth), NAME for the output, the share of photos whose PSNR rose, and seconds.
        """
        rules, result = find_protocol(self.protocol), {}
        for name in rules.metrics:
            if rules.has_truth:
                result[f"{name}_input"] = _mean([i.before.get(name, math.nan) for i in self.images])
            result[name] = _mean([i.after.get(name, math.nan) for i in self.images])
        if rules.has_truth:
            result["share_better"] = statistics.fmean(i.after["psnr"] > i.before["psnr"] for i in self.images)
        result["seconds"] = _mean([i.seconds for i in self.images])
        return result

    def to_json(self) -> str:
        """Everything, rounded to 5 digits, as JSON; null for nan and for the infinite PSNR of equal images."""
        content: dict[str, object] = {"protocol": self.protocol, "model": self.model}
        if self.resize is not None:
            content["resize"] = "{}x{}".format(*self.resize)
        content |= {"environment": self.environment, "mean": self.mean, "images": [asdict(i) for i in self.images]}
        return json.dumps(_rounded(content), indent=1) + "\n"

    def to_table(self) -> str:
        """One line per photo and one for the mean; below it what the numbers are."""
        rules = find_protocol(self.protocol)
        rows = [["photo", *rules.metrics, "seconds"]]
        if rules.has_truth:
            rows.append(["", *(_cell(["input", "output"]) for _ in rules.metrics), ""])
        rows += [_row(image, rules) for image in self.images]
        mean = self.mean
        before = {name: mean[f"{name}_input"] for name in rules.metrics} if rules.has_truth else {}
        rows.append(_row(ImageScores("mean", before, mean, mean["seconds"]), rules))
        notes = [f"protocol {self.protocol} ({rules.whose}): {rules.about}"]
        if rules.has_truth:
            notes.insert(0, f"PSNR rose on {mean['share_better']:.0%} of {len(self.images)} photos")
        return "\n".join([*_aligned(rows), *(textwrap.fill(note, WIDTH) for note in notes)])


def _row(image: ImageScores, rules: Protocol) -> list[str]:
    """The cells of one line: name, input and output of each metric, seconds."""
    sides = (image.before, image.after) if rules.has_truth else (image.after,)
    cells = [_cell([_number(name, side.get(name, math.nan)) for side in sides]) for name in rules.metrics]
    return [image.name, *cells, f"{image.seconds:.2f}"]


def _cell(texts: Sequence[str]) -> str:
    return "  ".join(text.rjust(6) for text in texts)


def _number(metric: str, value: float) -> str:
    """Six characters at the most for usual values: indices from 0 to 1 with 4 decimals, decibels with 3."""
    return "-" if math.isnan(value) else f"{value:.{4 if metric.startswith(('ssim', 'lpips')) else 3}f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))])
        for first, *rest in rows
    ]


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return statistics.fmean(defined) if defined else math.nan


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None  # JSON has neither infinity nor nan
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value
