"""The command line: options in, calls to the library, sentences out. Imports nothing heavy before a command runs."""

import argparse
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nrknet._version import __version__
from nrknet.config import PRESETS, VARIANTS
from nrknet.datasets import DATASETS, PAIRED, SPLITS, check_photos, find_photos
from nrknet.protocols import PROTOCOLS

if TYPE_CHECKING:
    from nrknet.batch import Job
    from nrknet.inference import Deblurrer
    from nrknet.perceptual import Lpips

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
MINUTES = 60  # of training, when the command says nothing

DEBLUR_HELP = """\
Bring back detail that was out of focus.

Each photo gets one restored copy in the output folder, with the same name; the photos themselves are never changed.
Folders are searched with everything in them, and their sub-folders are kept.
"""
DEBLUR_EXAMPLES = """\
examples:
  nrknet deblur portrait.jpg -o restored             one photo: writes restored/portrait.jpg
  nrknet deblur holiday -o restored                  every photo in a folder and its sub-folders
  nrknet deblur holiday -o restored --skip-existing  go on where an earlier run stopped
  nrknet deblur -o restored -- -odd-name.jpg         a name that begins with a dash

Photos that would get the same name in the output folder all get longer ones: a.bmp and a.gif become a_bmp.png and
a_gif.png; jan/a.jpg and feb/a.jpg, given by themselves, become jan_a.jpg and feb_a.jpg.

The exit status is 0 when every photo was restored or skipped, 1 when some could not be, 2 when nothing could be done.
"""
TRAIN_HELP = """\
Train a network on a folder of photos.

Sharp photos are put out of focus on the fly. Pairs of defocused and sharp photos are taken as they are: source/ and
target/, or DPDD, LFDOF, RealDOF or RTF as their authors lay them out.

The output folder gets checkpoints, from which the same command goes on after an interruption (Ctrl-C saves one), and
at the end a network that --model takes.
"""
TRAIN_EXAMPLES = """\
examples:
  nrknet train --data photos --preset lite --minutes 90 --out runs/lite
  nrknet train --data dd_dp_dataset_png --recipe gpu --preset default --minutes 600 --out runs/dpdd
  torchrun --nproc_per_node 4 -m nrknet train --data photos --recipe gpu --minutes 600 --out runs/four
                                            four cards: each takes a batch of its own, the gradients are averaged

What is written to the output folder:
  run.json          every choice: network, recipe, data, seed, device, versions
  log.jsonl         loss, gain in dB, learning rate and speed; scores of validations
  tensorboard/      the same as curves, and pictures of validation crops, where TensorBoard is installed
  checkpoint.pt     what the same command goes on from
  model/            the best network so far

The exit status is 0 when the budget is spent, 130 when training was stopped (a checkpoint is saved), 1 when it or the
upload failed, 2 when it could not start.
"""
PUSH_HELP = """\
Put a trained network on the Hugging Face Hub.

The folder is one that training or `nrknet convert` has made. A page that says what the network is and how to use it is
written from what the folder records.
"""
EVALUATE_HELP = """\
Score a network, or photos that any method has saved, on a data set.

The root folder is laid out in one of these ways:
  pairs    source (defocused) and target (sharp), whose files are paired by name, else in sorted order
  dpdd     test_c/source and test_c/target (or train_c, val_c), paired in sorted order
  lfdof    test_data/input/IMG_X/IMG_X_apN_MM.png and test_data/ground_truth/IMG_X.png (or train_data)
  realdof  source/NN.png and target/NN.png
  rtf      image/0/image_NN.png and GT/sharp_NN.png
  cuhk     image/out_of_focusNNNN.jpg and, for the masks (white = blurred), gt/out_of_focusNNNN.png; no sharp versions,
           so what is measured is how much sharper the photo became where it was blurred, and how little it changed
           where it was sharp

Inputs are scored beside outputs. LPIPS needs AlexNet's ImageNet weights, which are downloaded once (233 MB); where that
is not possible and no file is named, its column stays empty.
"""
CONVERT_HELP = """\
Turn a .pth file of the NRKNet authors into a folder that --model and load_model take.

The file is read as weights alone: nothing in it is run.
"""


class UsageError(Exception):
    """The command cannot start as it was given; the message is one sentence for the user."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments after the program's name; those of the process when None.

    Returns:
        The exit status: 0 all went well, 1 something failed, 2 the command makes no sense as given, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A file name need not be printable where it is printed.
            stream.reconfigure(errors="backslashreplace")
    if not sys.warnoptions and not _debugging():
        warnings.simplefilter("ignore")  # those of the libraries mean nothing to a photographer
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        _complain("stopped")
        return INTERRUPTED
    except UsageError as error:
        _complain(str(error))
        return USAGE
    except Exception as error:
        _complain(_reason(error))
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nrknet",
        description="Make defocused photos sharp again (NRKNet, CVPR 2023).",
        epilog="`nrknet COMMAND --help` says more about each.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"nrknet {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_deblur(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_convert(commands)
    _add_push(commands)
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], *, about: str, examples: str | None = None
) -> argparse.ArgumentParser:
    """Add a sub-command; the first line of `about` is what the list of commands shows."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about.partition("\n")[0].rstrip("."),
        description=about,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def _add_network_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default="default", metavar="M",
        help="a network that comes with nrknet, by name; a folder with one; or owner/name on the Hugging Face Hub "
        "(default: %(default)s)",
    )  # fmt: skip
    _add_device_option(parser)
    parser.add_argument(
        "--precision", choices=("auto", "exact"), default="auto",
        help="auto: as fast as the device does well; exact: 32-bit numbers throughout (default: %(default)s)",
    )  # fmt: skip


def _add_device_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", default="auto", metavar="D",
        help="auto: a graphics card where there is one; or cpu, cuda, cuda:1, mps (default: %(default)s)",
    )  # fmt: skip


def _add_deblur(commands: Any) -> None:
    parser = _command(commands, "deblur", _deblur, about=DEBLUR_HELP, examples=DEBLUR_EXAMPLES)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a photo, or a folder of photos")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="OUT_DIR",
        help="the folder for the restored photos; made if need be, and results of an earlier run in it are replaced",
    )  # fmt: skip
    parser.add_argument(
        "--skip-existing", action="store_true", help="leave out photos whose restored copy is already there"
    )
    _add_network_options(parser)
    parser.add_argument(
        "--tile", type=_tile, default="auto", metavar="N",
        help="work in pieces of N x N pixels, at least 160; smaller ones need less memory (default: %(default)s)",
    )  # fmt: skip


def _deblur(args: argparse.Namespace) -> int:
    from nrknet.batch import find_photos, plan, sort_out

    photos, problems = find_photos(args.paths, args.out)
    for problem in problems:
        _complain(problem)
    if not photos:
        if not problems:
            _complain("no photos found")
        return USAGE
    batch = sort_out(plan(photos, args.out), skip_existing=args.skip_existing)
    for job, why in batch.refused:
        _complain(f"{job.source}: {why}")
    failed = len(problems) + len(batch.refused)
    if batch.todo:
        _check_folder(args.out)
        failures = _deblur_each(batch.todo, _load(args, tile=args.tile))
        failed += failures
    num_deblurred = len(batch.todo) - (failures if batch.todo else 0)
    print(f"{num_deblurred} deblurred, {len(batch.existing)} skipped, {failed} failed")
    return FAILED if failed else OK


def _deblur_each(jobs: "Sequence[Job]", deblurrer: "Deblurrer") -> int:
    """Restore photo after photo; one that fails is named and left out. Returns how many failed."""
    from tqdm import tqdm

    from nrknet.inference import restore_file

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
                restore_file(deblurrer, job.source, job.target, progress=advance)
            except Exception as error:
                failed += 1
                reason = _reason(error)
                with tqdm.external_write_mode(file=sys.stderr):
                    _complain(reason if str(job.source) in reason else f"{job.source}: {reason}")
            else:
                if not watched:
                    print(f"{job.source} -> {job.target}", file=sys.stderr)
            advance(1)
    return failed


def _add_train(commands: Any) -> None:
    parser = _command(commands, "train", _train, about=TRAIN_HELP, examples=TRAIN_EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder of training photos")
    parser.add_argument(
        "--dataset", choices=("auto", "sharp", *PAIRED), default="auto",
        help="what the folder holds: sharp photos, pairs (source/ and target/), or a benchmark as its authors lay it "
        "out (default: %(default)s, which looks)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder for what training makes")
    parser.add_argument(
        "--preset", default="lite", metavar="P", help=f"the network: {', '.join(PRESETS)} (default: %(default)s)"
    )
    parser.add_argument("--recipe", default="default", metavar="R", help="the way it is trained (default: %(default)s)")
    parser.add_argument(
        "--variant", metavar="V",
        help=f"an ablation of the paper's network, in place of a preset: {', '.join(VARIANTS)}",
    )  # fmt: skip
    parser.add_argument(
        "--init", metavar="MODEL",
        help="start from the weights of this network, which may be smaller: a name, a folder, or owner/repo on the Hub",
    )  # fmt: skip
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=_positive, metavar="N", help="stop after N steps, earlier runs included")
    length.add_argument(
        "--minutes", type=_minutes, metavar="M",
        help=f"stop after M minutes, earlier runs included (default: {MINUTES}, unless --steps is given)",
    )  # fmt: skip
    _add_device_option(parser)
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all randomness (default: %(default)s)")
    parser.add_argument(
        "--push-to-hub", metavar="OWNER/REPO", help="at the end put the network on the Hugging Face Hub, as nrknet push"
    )


def _train(args: argparse.Namespace) -> int:
    if not args.data.is_dir():
        raise UsageError(f"{args.data}: no such folder")
    if args.push_to_hub is not None:
        _check_push(args.push_to_hub)
    _check_folder(args.out)
    from nrknet.processes import announced_index
    from nrknet.stopping import TrainingStopped, sigterm_as_interrupt

    is_main = announced_index() == 0
    logging.basicConfig(level=logging.INFO if is_main else logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        with sigterm_as_interrupt():
            folder = _train_shown(args, is_main)
    except TrainingStopped as stopped:
        if is_main:
            _complain(str(stopped))
        return INTERRUPTED
    if not is_main:
        return OK
    print(f"the trained network is in {folder}: use it with --model {folder}")
    if args.push_to_hub is None:
        return OK
    again = f"; it is not lost: `nrknet push {folder} --repo {args.push_to_hub}` tries again"
    return _push_folder(folder, args.push_to_hub, advice=again)


def _train_shown(args: argparse.Namespace, is_main: bool) -> Path:
    """Train, the main process with a progress bar on a terminal, or a line a minute elsewhere."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from nrknet import progress
    from nrknet.train import train

    watched = is_main and sys.stderr.isatty()
    bar = tqdm(total=1, disable=not watched, bar_format="{desc} {percentage:3.0f}%|{bar}|", desc="getting ready")
    pace = progress.Pace()

    def show(record: dict[str, float]) -> None:
        line = pace.line(record)
        bar.set_description_str(line, refresh=False)
        bar.update(record["progress"] - bar.n)
        if not watched and pace.is_due(progress.LINE_EVERY):
            logging.getLogger(__name__).info("%s", line)

    minutes = MINUTES if args.minutes is None and args.steps is None else args.minutes
    with bar, logging_redirect_tqdm():
        try:
            return train(
                args.data, args.out, dataset=args.dataset, preset=args.preset, recipe=args.recipe, variant=args.variant,
                init=args.init, steps=args.steps, minutes=minutes, device=args.device, seed=args.seed,
                on_step=show if is_main else None,
            )  # fmt: skip
        except ValueError as error:
            raise UsageError(_reason(error)) from error


def _add_evaluate(commands: Any) -> None:
    parser = _command(commands, "evaluate", _evaluate, about=EVALUATE_HELP)
    parser.add_argument(
        "--dataset", choices=tuple(DATASETS), required=True,
        help="how the files are laid out: pairs (source/ and target/), or as a benchmark's authors do",
    )  # fmt: skip
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the folder with the data set")
    parser.add_argument(
        "--split", choices=SPLITS, default="test", help="the part of dpdd or lfdof (default: %(default)s)"
    )
    _add_network_options(parser)
    parser.add_argument(
        "--restored", type=Path, metavar="DIR",
        help="score the photos that a method has saved in this folder, under the defocused photos' names; "
        "no model is run",
    )  # fmt: skip
    parser.add_argument(
        "--resize", type=_size, metavar="WxH", help="first bring all photos to this size, as in 1024x683"
    )
    parser.add_argument("--limit", type=_positive, metavar="N", help="only the first N photos")
    parser.add_argument(
        "--protocol", choices=tuple(PROTOCOLS), metavar="NAME",
        help=f"whose way of scoring: {', '.join(PROTOCOLS)}; what each is, is said below the table "
        "(default: default; for cuhk, cuhk)",
    )  # fmt: skip
    parser.add_argument(
        "--lpips-backbone", type=Path, metavar="FILE",
        help="torchvision's AlexNet weights, all or the features alone, instead of the download; "
        "the environment variable NRKNET_LPIPS_BACKBONE does the same",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the scores to this file")


def _evaluate(args: argparse.Namespace) -> int:
    if args.json is not None:
        if args.json.is_dir():
            raise UsageError(f"{args.json}: is a folder, not a file")
        _check_folder(args.json.parent)
    protocol = args.protocol or ("cuhk" if args.dataset == "cuhk" else "default")
    try:
        photos = find_photos(args.dataset, args.root, split=args.split)[: args.limit]
        check_photos(photos, has_truth=PROTOCOLS[protocol].has_truth)
    except (ValueError, OSError) as error:
        raise UsageError(_reason(error)) from error
    from tqdm import tqdm

    from nrknet.evaluation import evaluate, score_restored

    deblurrer = _load(args) if args.restored is None else None
    lpips = _load_lpips(args.lpips_backbone) if PROTOCOLS[protocol].uses_lpips else None
    with tqdm(total=len(photos), disable=not sys.stderr.isatty(), unit="photo", file=sys.stderr) as bar:
        options: dict[str, Any] = {"resize": args.resize, "lpips": lpips, "on_image": lambda _: bar.update()}
        try:
            if deblurrer is None:
                scores = score_restored(args.restored, photos, protocol, name=args.restored.name, **options)
            else:
                scores = evaluate(deblurrer, photos, protocol, model_name=args.model, **options)
        except ValueError as error:
            raise UsageError(_reason(error)) from error
    print(scores.to_table())
    if args.json is not None:
        args.json.write_text(scores.to_json(), encoding="utf-8")
    return OK


def _load_lpips(backbone: Path | None) -> "Lpips | None":
    """LPIPS, or None after one line that says why there is none."""
    from nrknet.perceptual import LpipsUnavailable, load_lpips

    try:
        return load_lpips(backbone, show_progress=sys.stderr.isatty())
    except LpipsUnavailable as error:
        _complain(f"the LPIPS column stays empty: {error}")
        return None
    except ValueError as error:
        raise UsageError(_reason(error)) from error


def _add_convert(commands: Any) -> None:
    parser = _command(commands, "convert", _convert, about=CONVERT_HELP)
    parser.add_argument("pth", type=Path, metavar="AUTHORS.pth", help="the authors' file")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder to write; made if need be")


def _convert(args: argparse.Namespace) -> int:
    if not args.pth.is_file():
        raise UsageError(f"{args.pth}: no such file")
    _check_folder(args.folder)
    from nrknet.weights import convert_released

    convert_released(args.pth, args.folder)
    print(f"the network is in {args.folder}: use it with --model {args.folder}")
    return OK


def _add_push(commands: Any) -> None:
    parser = _command(commands, "push", _push, about=PUSH_HELP)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the network's folder")
    parser.add_argument("--repo", required=True, metavar="OWNER/REPO", help="its name on the Hub; made if need be")
    parser.add_argument("--private", action="store_true", help="make a repository that only its owner sees")


def _push(args: argparse.Namespace) -> int:
    if not args.folder.is_dir():
        raise UsageError(f"{args.folder}: no such folder")
    _check_push(args.repo)
    return _push_folder(args.folder, args.repo, private=args.private)


def _check_push(repo: str) -> None:
    """Find out that a push cannot work before hours of training, not after."""
    from nrknet.hub import check_push

    try:
        check_push(repo)
    except ValueError as error:
        raise UsageError(_reason(error)) from error


def _push_folder(folder: Path, repo: str, *, private: bool = False, advice: str = "") -> int:
    from nrknet.hub import push_folder

    try:
        url = push_folder(folder, repo, private=private)
    except ValueError as error:
        _complain(_reason(error) + advice)
        return FAILED
    print(f"the network is at {url}: use it with --model {repo}")
    return OK


def _load(args: argparse.Namespace, **options: Any) -> "Deblurrer":
    """The network that the options name, ready to work."""
    from nrknet.inference import Deblurrer

    try:
        return Deblurrer(args.model, device=args.device, precision=args.precision, **options)
    except (ValueError, OSError) as error:
        raise UsageError(_reason(error)) from error


def _check_folder(folder: Path) -> None:
    """Make a folder for results, and find out that nothing can be written there before hours of work, not after."""
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        raise UsageError(f"{folder}: is a file, not a folder") from None
    except OSError as error:
        raise UsageError(f"{folder}: cannot write there: {error.strerror}") from error


def _positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    """WxH, for argparse."""
    numbers = text.lower().split("x")
    if len(numbers) != 2 or not all(n.isdecimal() and int(n) >= 16 for n in numbers):
        raise argparse.ArgumentTypeError(f"must be a width and a height from 16 pixels, as in 1024x683, got {text!r}")
    return int(numbers[0]), int(numbers[1])


def _tile(text: str) -> int | str:
    return text if text == "auto" else _positive(text)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return minutes


def _complain(message: str) -> None:
    print(f"nrknet: {' '.join(message.splitlines())}", file=sys.stderr)


def _debugging() -> bool:
    return os.environ.get("NRKNET_DEBUG") == "1"


def _reason(error: Exception) -> str:
    """What went wrong, in one line; with NRKNET_DEBUG=1 the traceback is printed too."""
    if _debugging():
        traceback.print_exception(error)
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return "not enough memory; a smaller --tile needs less"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    if isinstance(error, (ValueError, OSError, ArithmeticError)) and text:
        return text
    return f"unexpected {type(error).__name__}: {text} (NRKNET_DEBUG=1 shows more)"
