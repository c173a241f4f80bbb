"""The table in docs/reliability.md, from the figures.

    python -m benchmarks.reliability.table            print it
    python -m benchmarks.reliability.table --write    put it into docs/reliability.md
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.reliability import figures

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- table: python -m benchmarks.reliability.table --write -->", "<!-- end of the table -->"
Figures = dict[str, Any]


def bad_input(found: Figures) -> list[tuple[str, str]]:
    """Broken and odd files."""
    shell, single, app = (found[where] for where in ("command line, one folder", "command line, one photo", "app"))
    first, later = "first answer, from the start of the process, seconds", "slowest refusal after that, seconds"
    slowest = max(shell[first], shell[later])
    large = found["photos of up to 199 megapixels in small files, read"].values()
    return [
        (f"{found['files']} broken or odd files in one `nrknet deblur`", outcome(shell, slowest)),
        ("memory of that", f"{shell['peak memory, megabytes']} MB at most"),
        (f"{single['refused']} of those that are refused, a process for each",
         f"refused in one sentence, in {single['slowest, seconds']} s at most, Python's start included"),
        (f"{app['restored'] + app['refused']} of them through the app", outcome(app, app["slowest refusal, seconds"])),
        ("memory of the app meanwhile", f"{app['peak memory, megabytes']} MB at most"),
        (f"{len(large)} photos of 120 to 199 megapixels in files of {min(seen['bytes'] for seen in large)} bytes to "
         f"{max(seen['bytes'] for seen in large) / 1e6:.1f} MB",
         f"read, in {max(seen['megabytes'] for seen in large)} MB at most"),
    ]  # fmt: skip


def outcome(found: Figures, slowest_refusal: float) -> str:
    """What became of broken and odd files."""
    return (
        f"{found['restored']} restored, {found['refused']} refused in one sentence, "
        f"{len(found['neither, or not as it ought to be'])} otherwise; a refusal took {slowest_refusal} s at most"
    )


def fuzz_reader(found: Figures) -> list[tuple[str, str]]:
    """Files made by a fuzzer."""
    return [
        (f"files made by a fuzzer that follows the reader's branches, {found['minutes']:g} minutes",
         f"{found['inputs tried']:,} read or refused, {len(found['findings'])} findings; the "
         f"slowest took {found['slowest input, seconds']:g} s"),
    ]  # fmt: skip


def app_load(found: Figures) -> list[tuple[str, str]]:
    """The app with many visitors."""
    return [
        (f"{found['clients']} visitors of the app at once, {found['minutes']:g} minutes",
         f"{found['requests in all']:,} requests, {found['crashes']} crashes, {found['unexpected errors']} unexpected "
         "errors"),
        ("whose photos come back",
         f"{found['photos that came back to their own visitor']:,} to their own visitor, "
         f"{found['photos that came back to another']} to another"),
        ("files of others or of the server asked for by path",
         f"{found['files of others or of the server that were given away']} given away"),
        ("requests beyond the queue's end", f"{found['answers that the queue is full']} answered with one sentence"),
        ("how long a visitor waits for a photo",
         f"{found['seconds, median']} s in the median, {found['seconds, worst']} s at worst"),
        ("memory of the app",
         f"{found['memory before, MB']} MB before, {found['memory at its most, MB']} at its most, "
         f"{found['memory after, MB']} after ({found['memory after / before']:.2f} times)"),
        ("visitors' files on the disk",
         f"{found['files before the clearing']}; {found['files after it']} once they are old, "
         f"{found['files left after SIGKILL and a new start']} after SIGKILL and a new start"),
    ]  # fmt: skip


def training_kills(found: Figures) -> list[tuple[str, str]]:
    """Training that is killed."""
    return [
        (f"training killed {found['kills']} times (SIGKILL), "
         f"{found['kills while a checkpoint was written']} of them while a checkpoint was written",
         f"{found['most steps lost']} steps lost at most, of {found['documented most steps lost']} that may be; "
         f"{found['damaged checkpoints']} damaged checkpoints"),
        ("the same run left alone",
         f"{found['steps with other crops']} steps with other crops, {found['steps with another loss']} with another "
         f"loss, {found['tensors that differ at the end']} tensors of the end that differ in any bit"),
    ]  # fmt: skip


def batch_kills(found: Figures) -> list[tuple[str, str]]:
    """A folder of photos whose restoring is killed."""
    full, read_only = found["full disk"], found["read-only disk"]
    rows = [
        (f"`nrknet deblur` of {found['photos']} photos killed {found['kills']} times, "
         f"{found['kills while a result was written']} of them while a result was written",
         f"{found['half-written results']} half-written results, {found['results that differ']} that differ from an "
         f"undisturbed run's, {found['inputs changed']} inputs changed, {found['leftovers in the end']} leftovers"),
    ]  # fmt: skip
    if isinstance(full, dict):
        rows += [
            ("the disk fills up meanwhile",
             f"exit status {full['exit status']}, {full['results']} results kept, {full['results that differ']} of "
             f"them not whole; with room again the rest, {full['results that differ then']} that differ"),
            ("the disk is read-only",
             f"exit status {read_only['exit status']}, {len(read_only['sentences'])} sentence"),
        ]  # fmt: skip
    return rows


def hostile(found: Figures) -> list[tuple[str, str]]:
    """Weights from somebody who means harm."""
    wrong = len(found["otherwise"]) + len(found["loaded"])
    return [
        (f"{found['tried']} crafted weights, checkpoints and configurations",
         f"{len(found['ran'])} ran anything, {found['refused']} refused in one sentence, {wrong} otherwise; "
         f"{found['most_megabytes']} MB taken at most, {found['slowest_seconds']} s at most"),
    ]  # fmt: skip


def numerics(found: Figures) -> list[tuple[str, str]]:
    """What the network computes of extreme photos."""
    rows = []
    for how, seen in found["agreement"].items():
        extreme, real = seen["extreme"], seen["photo"]
        bits = "the same bits twice" if seen["same_bits_twice"] else "not the same bits twice"
        rows.append(
            (f"`{found['model']}` on black, white, checkerboards and the like ({how}), beside PyTorch in float32",
             f"{extreme['largest_difference_of_255']:.3f} of 255 apart at most, {extreme['lowest_psnr_db']} dB at "
             f"least (real photos: {real['lowest_psnr_db']} dB); {seen['not_finite']} not finite; {bits}")
        )  # fmt: skip
    room = found["headroom"]
    rows.append(
        ("largest activation on the same photos",
         f"{room['largest_activation']}; float16 could hold {room['times_within']['float16']:g} times as much")
    )  # fmt: skip
    return rows


def supply(found: Figures) -> list[tuple[str, str]]:
    """What the project depends on."""
    seen = found["audit"]
    audit = f"{seen['audited']} audited, {len(seen['vulnerable'] or {})} with known vulnerabilities"
    skipped = sum((seen["not_audited"] or {}).values())
    return [
        ("requirements with an upper bound", f"{found['with_upper_bound']} of {found['requirements']}"),
        ("`pip-audit` of what is installed", f"{audit}; {skipped} could not be looked up from where this was run"),
    ]


SECTIONS: dict[str, Callable[[Figures], list[tuple[str, str]]]] = {
    "bad_input": bad_input,
    "fuzz_reader": fuzz_reader,
    "app_load": app_load,
    "hostile": hostile,
    "training_kills": training_kills,
    "batch_kills": batch_kills,
    "numerics": numerics,
    "supply": supply,
}


def make_table(everything: dict[str, Figures]) -> str:
    """The figures as a table in Markdown."""
    rows = [(*row, name) for name, explain in SECTIONS.items() for row in explain(everything[name])]
    lines = [f"| {what} | {came} | `{name}` |" for what, came, name in rows]
    return "\n".join(["| what was tried | what came of it | script |", "|---|---|---|", *lines])


def with_table(page: str, table: str) -> str:
    """The page with another table."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def main() -> None:
    """Print the table, or put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put it into docs/reliability.md")
    args = parser.parse_args()
    table = make_table(json.loads(figures.DEFAULT.read_text(encoding="utf-8")))
    if args.write:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), table), encoding="utf-8")
    else:
        print(table)


if __name__ == "__main__":
    main()
