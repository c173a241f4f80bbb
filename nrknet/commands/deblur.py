"""`nrknet deblur`: restored copies of photos and of folders of photos."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nrknet.commands.collection import add_collection_options, check_local, deblur_collection
from nrknet.commands.options import (
    add_command,
    add_network_options,
    add_restoring_options,
    check_folder,
    load_deblurrer,
    tile,
)
from nrknet.commands.outcome import FAILED, OK, USAGE, complain, reason

if TYPE_CHECKING:
    from nrknet.batch import Job
    from nrknet.inference import Deblurrer

HELP = """\
Bring back detail that was out of focus.

Each photo gets one restored copy in the output folder, with the same name; the photos themselves are never changed.
Folders are searched with everything in them, and their sub-folders are kept.
"""
EXAMPLES = """\
examples:
  nrknet deblur portrait.jpg -o restored             one photo: writes restored/portrait.jpg
  nrknet deblur holiday -o restored                  every photo in a folder and its sub-folders
  nrknet deblur holiday -o restored --skip-existing  go on where an earlier run stopped, or was killed
  nrknet deblur portrait.jpg -o restored --strength 0.7
                                                     not quite as sharp
  nrknet deblur -o restored -- -odd-name.jpg         a name that begins with a dash
  nrknet deblur --engine ray s3://photos/2024 s3://photos/restored
                                                     a collection, on all cores or a cluster; goes on after a kill

Photos that would get the same name in the output folder all get longer ones: a.bmp and a.gif become a_bmp.png and
a_gif.png; jan/a.jpg and feb/a.jpg, given by themselves, become jan_a.jpg and feb_a.jpg. Names over 255 bytes are cut.

A result is there whole or not at all, whatever happens meanwhile. When the disk is full the command ends.

With --engine ray a collection may be larger than this machine: OUT/manifest.parquet says of every photo what became of
it, and the same command goes on where a killed one stopped. Without -o, the last PATH is the output folder there.

The exit status is 0 when every photo was restored or skipped, 1 when some could not be, 2 when nothing could be done.
"""


def add(commands: Any) -> None:
    """Declare `nrknet deblur`."""
    parser = add_command(commands, "deblur", run, about=HELP, examples=EXAMPLES)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a photo, or a folder of photos")
    parser.add_argument(
        "-o", "--out", metavar="OUT_DIR",
        help="the folder for the restored photos; made if need be, and results of an earlier run in it are replaced",
    )  # fmt: skip
    parser.add_argument(
        "--skip-existing", action="store_true", help="leave out photos whose restored copy is already there"
    )
    add_network_options(parser)
    add_restoring_options(parser)
    parser.add_argument(
        "--tile", type=tile, default="auto", metavar="N",
        help="work in pieces of N x N pixels, at least 160; smaller ones need less memory (default: %(default)s)",
    )  # fmt: skip
    add_collection_options(parser)


def run(args: argparse.Namespace) -> int:
    """Restore every photo that the arguments name, and say how many that were. Returns the exit status."""
    if args.engine == "ray":
        return deblur_collection(args)
    check_local(args)
    return _deblur_here(args, [Path(path) for path in args.paths], Path(args.out))


def _deblur_here(args: argparse.Namespace, paths: "Sequence[Path]", out: Path) -> int:
    from nrknet.batch import find_photos, plan, sort_out
    from nrknet.replacement import remove_leftovers

    photos, problems = find_photos(paths, out)
    for problem in problems:
        complain(problem)
    if not photos:
        if not problems:
            complain("no photos found")
        return USAGE
    batch = sort_out(plan(photos, out), skip_existing=args.skip_existing)
    for job, why in batch.refused:
        complain(f"{job.source}: {why}")
    failed = len(problems) + len(batch.refused)
    done = failures = 0
    if batch.todo:
        check_folder(out)
        for folder in sorted({job.target.parent for job in (*batch.todo, *batch.existing)}):
            remove_leftovers(folder)
        failures = _refuse_first(batch.todo)
        if jobs := batch.todo[failures:]:
            how = {"strength": args.strength, "terms": args.terms}
            done, more = _deblur_each(jobs, load_deblurrer(args, tile=args.tile), **how)
            failures += more
        failed += failures
    left = len(batch.todo) - done - failures
    counts = f"{done} deblurred, {len(batch.existing)} skipped, {failed} failed"
    print(f"{counts}, {left} left" if left else counts)
    return FAILED if failed else OK


def _refuse_first(jobs: "Sequence[Job]") -> int:
    """Refuse photos up to the first that can be restored, which a network is worth loading for. Returns how many."""
    from nrknet.imageio import read_photo
    from nrknet.photo import check_sides

    for number, job in enumerate(jobs):
        try:
            height, width = read_photo(job.source).pixels.shape[:2]
            check_sides(width, height)
        except ValueError as error:
            _refuse(job, error)
        else:
            return number  # it is read again: next to restoring it, that takes no time
    return len(jobs)


def _refuse(job: "Job", error: Exception) -> None:
    why = reason(error)
    complain(why if str(job.source) in why else f"{job.source}: {why}")


def _deblur_each(
    jobs: "Sequence[Job]", deblurrer: "Deblurrer", *, strength: float, terms: int | None
) -> tuple[int, int]:
    """Restore photo after photo; one that fails is named and left out, and a full disk ends it.

    Returns:
        How many were restored, and how many failed.
    """
    from tqdm import tqdm

    from nrknet.inference import restore_file
    from nrknet.replacement import is_full

    failed = 0
    watched = sys.stderr.isatty()
    layout = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"
    with tqdm(total=len(jobs), disable=not watched, bar_format=layout, file=sys.stderr) as bar:

        def advance(part: float) -> None:
            bar.n = num_done + part
            bar.refresh()

        for num_done, job in enumerate(jobs):
            bar.set_description_str(f"{job.source.name} ({num_done + 1} of {len(jobs)})")
            try:
                job.target.parent.mkdir(parents=True, exist_ok=True)
                restore_file(deblurrer, job.source, job.target, advance, strength=strength, terms=terms)
            except Exception as error:
                failed += 1
                with tqdm.external_write_mode(file=sys.stderr):
                    _refuse(job, error)
                if is_full(error):
                    complain("the disk is full; once there is room, the same command with --skip-existing goes on")
                    return num_done + 1 - failed, failed
            else:
                if not watched:
                    print(f"{job.source} -> {job.target}", file=sys.stderr)
            advance(1)
    return len(jobs) - failed, failed
