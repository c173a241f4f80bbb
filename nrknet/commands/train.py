"""`nrknet train`: a network trained on a folder of photos."""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nrknet.commands.options import add_command, add_device_option, check_folder, minutes_of_training, whole_number
from nrknet.commands.outcome import INTERRUPTED, OK, UsageError, complain
from nrknet.commands.push import check_can_push, push_and_tell
from nrknet.commands.several import join_checked, told_once
from nrknet.config import PRESETS, VARIANTS
from nrknet.datasets import PAIRED
from nrknet.launch import announced_index
from nrknet.stopping import SAVE_STEPS

if TYPE_CHECKING:
    from nrknet.processes import Processes

MINUTES = 60  # of training, when the command says nothing

HELP = """\
Train a network on a folder of photos.

Sharp photos are put out of focus on the fly. Pairs of defocused and sharp photos are taken as they are: source/ and
target/, or DPDD, LFDOF, RealDOF or RTF as their authors lay them out.

The output folder gets checkpoints, from which the same command goes on after an interruption (Ctrl-C saves one), and
at the end a network that --model takes. A kill or a power cut takes back the steps since the last checkpoint, at most
those of --save-steps; on a CPU, a run of so many --steps then ends with the very weights that it would have had.
"""
EXAMPLES = """\
examples:
  nrknet train --data photos --preset lite --minutes 90 --out runs/lite
  nrknet train --data dd_dp_dataset_png --recipe gpu --preset default --minutes 600 --out runs/dpdd
  torchrun --nproc_per_node 4 -m nrknet train --data photos --recipe gpu --batch 128 --minutes 600 --out runs/four
                                            four cards, 32 crops a step on each; without --batch, 8 on each

Cards share the crops of each step: without --batch, and but for rounding, a run on four is a run on one, and goes on
from its checkpoint. docs/many-machines.md says how to train on several machines.

What is written to the output folder:
  run.json          every choice: network, recipe, data, seed, device, versions
  log.jsonl         loss, gain in dB, learning rate and speed; scores of validations
  tensorboard/      the same as curves, and pictures of validation crops, where TensorBoard is installed
  checkpoint.pt     what the same command goes on from, with a checksum
  checkpoint-previous.pt
                    the one before, which is taken where that is damaged
  model/            the best network so far

Steps whose loss or gradient is not finite are left out, each with a warning and a line in log.jsonl; ten in a row end
the run. So does a full disk: what was saved before stays whole, and once there is room the same command goes on.

The exit status is 0 when the budget is spent, 130 when training was stopped (a checkpoint is saved), 1 when it or the
upload failed, 2 when it could not start.
"""


def add(commands: Any) -> None:
    """Declare `nrknet train`."""
    parser = add_command(commands, "train", run, about=HELP, examples=EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder of training photos")
    parser.add_argument(
        "--dataset", choices=("auto", "sharp", *PAIRED), default="auto",
        help="what the folder holds: sharp photos, pairs (source/ and target/), or a benchmark as its authors lay it "
        "out (default: %(default)s, which looks)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder for what training makes")
    parser.add_argument(
        "--preset", metavar="P", help=f"the network: {', '.join(PRESETS)} (default: lite, or paper for a variant)"
    )
    parser.add_argument("--recipe", default="default", metavar="R", help="the way it is trained (default: %(default)s)")
    parser.add_argument(
        "--variant", metavar="V",
        help=f"an ablation of the paper, made to the network or to its loss: {', '.join(VARIANTS)}",
    )  # fmt: skip
    parser.add_argument(
        "--init", metavar="MODEL",
        help="start from the weights of this network, which may be smaller, or larger, and is pruned then: a name, "
        "a folder, or owner/repo on the Hub",
    )  # fmt: skip
    parser.add_argument(
        "--curator", metavar="MODEL",
        help="leave out crops of sharp photos of which this network finds a part out of focus: towards a soft "
        "background a network learns to leave blur alone",
    )  # fmt: skip
    parser.add_argument(
        "--batch", type=whole_number, metavar="N",
        help="crops a step, over all processes, which take N / processes each; the learning rate stays the recipe's "
        "(default: the recipe's, 32 for gpu, 4 for most)",
    )  # fmt: skip
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=whole_number, metavar="N", help="stop after N steps, earlier runs included")
    length.add_argument(
        "--minutes", type=minutes_of_training, metavar="M",
        help=f"stop after M minutes, earlier runs included (default: {MINUTES}, unless --steps is given)",
    )  # fmt: skip
    parser.add_argument(
        "--save-steps", type=whole_number, default=SAVE_STEPS, metavar="N",
        help="save a checkpoint every N steps at the latest; a kill takes back no more than these (default: "
        "%(default)s, or the steps of two minutes, where these are fewer)",
    )  # fmt: skip
    add_device_option(parser)
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all randomness (default: %(default)s)")
    parser.add_argument(
        "--push-to-hub", metavar="OWNER/REPO", help="at the end put the network on the Hugging Face Hub, as nrknet push"
    )


def run(args: argparse.Namespace) -> int:
    """Train, or go on, until the budget is spent; push the network where that was asked. Returns the exit status."""
    processes = join_checked(args.device, lambda: _check(args))
    from nrknet.stopping import TrainingStopped, sigterm_as_interrupt

    is_main = announced_index() == 0
    logging.basicConfig(level=logging.INFO if is_main else logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        with sigterm_as_interrupt():
            folder = _train_shown(args, processes)
    except TrainingStopped as stopped:
        if is_main:
            complain(str(stopped))
        return INTERRUPTED
    if not is_main:
        return OK
    print(f"the trained network is in {folder}: use it with --model {folder}")
    if args.push_to_hub is None:
        return OK
    again = f"; it is not lost: `nrknet push {folder} --repo {args.push_to_hub}` tries again"
    return push_and_tell(folder, args.push_to_hub, advice=again)


def _check(args: argparse.Namespace) -> None:
    """Refuse what can be refused at once; where results go is the main process's business."""
    if not args.data.is_dir():
        raise UsageError(f"{args.data}: no such folder")
    if announced_index() == 0:
        if args.push_to_hub is not None:
            check_can_push(args.push_to_hub)
        check_folder(args.out)


def _train_shown(args: argparse.Namespace, processes: "Processes | None") -> Path:
    """Train, the main process with a progress bar on a terminal, or a line a minute elsewhere."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from nrknet import progress
    from nrknet.train import train

    is_main = announced_index() == 0
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
    with bar, logging_redirect_tqdm(), told_once():
        return train(
            args.data, args.out, dataset=args.dataset, preset=args.preset, recipe=args.recipe, variant=args.variant,
            init=args.init, curator=args.curator, batch=args.batch, steps=args.steps, minutes=minutes,
            device=args.device, seed=args.seed, save_steps=args.save_steps, on_step=show if is_main else None,
            processes=processes,
        )  # fmt: skip
