"""`nrknet evaluate`: scores of a network, or of saved photos, on a data set."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nrknet.commands.options import add_command, add_network_options, check_folder, load_deblurrer, size, whole_number
from nrknet.commands.outcome import OK, UsageError, complain, reason
from nrknet.commands.several import join_checked, told_once
from nrknet.datasets import DATASETS, SPLITS, check_photos, find_photos
from nrknet.launch import announced_index
from nrknet.protocols import PROTOCOLS

if TYPE_CHECKING:
    from nrknet.datasets import Masked, Pair
    from nrknet.perceptual import Lpips
    from nrknet.processes import Processes
    from nrknet.scores import Scores

HELP = """\
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

Several cards or machines share the photos, and the scores are those of one:
  torchrun --nproc_per_node 4 -m nrknet evaluate --dataset dpdd --root DPDD --json scores.json
docs/many-machines.md says more.
"""


def add(commands: Any) -> None:
    """Declare `nrknet evaluate`."""
    parser = add_command(commands, "evaluate", run, about=HELP)
    parser.add_argument(
        "--dataset", choices=tuple(DATASETS), required=True,
        help="how the files are laid out: pairs (source/ and target/), or as a benchmark's authors do",
    )  # fmt: skip
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the folder with the data set")
    parser.add_argument(
        "--split", choices=SPLITS, default="test", help="the part of dpdd or lfdof (default: %(default)s)"
    )
    add_network_options(parser)
    parser.add_argument(
        "--restored", type=Path, metavar="DIR",
        help="score the photos that a method has saved in this folder, under the defocused photos' names; "
        "no model is run",
    )  # fmt: skip
    parser.add_argument(
        "--resize", type=size, metavar="WxH", help="first bring all photos to this size, as in 1024x683"
    )
    parser.add_argument("--limit", type=whole_number, metavar="N", help="only the first N photos")
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


def run(args: argparse.Namespace) -> int:
    """Print the scores, and write them to a file where one was named. Returns the exit status."""
    photos: list[Any] = []
    processes = join_checked(args.device, lambda: photos.extend(_find(args)))
    if processes is not None:
        args.device = str(processes.device)
    with told_once():
        scores = _score(args, photos, processes)
    if processes is not None:
        processes.close()
    if announced_index() == 0:
        print(scores.to_table())
        if args.json is not None:
            args.json.write_text(scores.to_json(), encoding="utf-8")
    return OK


def _find(args: argparse.Namespace) -> "Sequence[Pair] | Sequence[Masked]":
    """The photos to score, all of which have been looked at; the file of scores is the main process's business."""
    if args.json is not None and announced_index() == 0:
        if args.json.is_dir():
            raise UsageError(f"{args.json}: is a folder, not a file")
        check_folder(args.json.parent)
    try:
        photos = find_photos(args.dataset, args.root, split=args.split)[: args.limit]
        check_photos(photos, has_truth=PROTOCOLS[_protocol(args)].has_truth)
    except (ValueError, OSError) as error:
        raise UsageError(reason(error)) from error
    return photos


def _protocol(args: argparse.Namespace) -> str:
    return args.protocol or ("cuhk" if args.dataset == "cuhk" else "default")


def _score(args: argparse.Namespace, photos: "Sequence[Any]", processes: "Processes | None") -> "Scores":
    """The scores, the main process with a progress bar on a terminal."""
    from tqdm import tqdm

    from nrknet.evaluation import evaluate, score_restored
    from nrknet.processes import join_processes

    processes = processes or join_processes("cpu" if args.restored else args.device)
    protocol = _protocol(args)
    deblurrer = processes.together(lambda: load_deblurrer(args) if args.restored is None else None)
    lpips = _load_lpips(args.lpips_backbone, processes) if PROTOCOLS[protocol].uses_lpips else None
    watched = processes.is_main and sys.stderr.isatty()
    with tqdm(total=len(photos), disable=not watched, unit="photo", file=sys.stderr) as bar:
        options: dict[str, Any] = {
            "resize": args.resize, "lpips": lpips, "on_image": lambda _: bar.update(), "processes": processes,
        }  # fmt: skip
        if deblurrer is None:
            return score_restored(args.restored, photos, protocol, name=args.restored.name, **options)
        return evaluate(deblurrer, photos, protocol, model_name=args.model, **options)


def _load_lpips(backbone: Path | None, processes: "Processes") -> "Lpips | None":
    """LPIPS, or None after one line that says why there is none; the first process of a machine may download it."""
    from nrknet.perceptual import LpipsUnavailable, load_lpips

    def load(is_turn: bool) -> "Lpips | str | None":
        if not is_turn:
            return None
        try:
            return load_lpips(backbone, show_progress=processes.is_main and sys.stderr.isatty())
        except LpipsUnavailable as error:
            return str(error)

    found = processes.together(lambda: load(processes.is_first_here))
    found = processes.together(lambda: load(not processes.is_first_here)) or found
    problems = [why for why in processes.gather(found if isinstance(found, str) else None) if why is not None]
    if problems and processes.is_main:
        complain(f"the LPIPS column stays empty: {problems[0]}")
    return None if problems or isinstance(found, str) else found
