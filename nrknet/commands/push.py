"""`nrknet push`: a trained network put on the Hugging Face Hub."""

import argparse
from pathlib import Path
from typing import Any

from nrknet.commands.options import add_command
from nrknet.commands.outcome import FAILED, OK, UsageError, complain, reason

HELP = """\
Put a trained network on the Hugging Face Hub.

The folder is one that training or `nrknet convert` has made. A page that says what the network is, how to use it and
what it measured is written from what the folder records and from the scores that `nrknet evaluate --json` has stored.
"""
EXAMPLES = """\
examples:
  nrknet push runs/lite/model --repo me/nrknet-lite --private
  nrknet evaluate --dataset dpdd --root DPDD --model runs/lite/model --json dpdd.json
  nrknet push runs/lite/model --repo me/nrknet-lite --results dpdd.json
"""


def add(commands: Any) -> None:
    """Declare `nrknet push`."""
    parser = add_command(commands, "push", run, about=HELP, examples=EXAMPLES)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the network's folder")
    parser.add_argument("--repo", required=True, metavar="OWNER/REPO", help="its name on the Hub; made if need be")
    parser.add_argument("--private", action="store_true", help="make a repository that only its owner sees")
    parser.add_argument("--revision", metavar="BRANCH", help="push to this branch, made if need be (default: main)")
    parser.add_argument(
        "--results", type=Path, nargs="+", default=[], metavar="FILE",
        help="scores of this network, as nrknet evaluate --json stores them; a file's name says on which photos. "
        "Those in DIR/results go along by themselves",
    )  # fmt: skip
    parser.add_argument(
        "--license", default="mit", metavar="ID",
        help="of the weights, as the Hub abbreviates it: mit, cc-by-sa-4.0, other (default: %(default)s)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Put a network's folder on the Hub. Returns the exit status."""
    if not args.folder.is_dir():
        raise UsageError(f"{args.folder}: no such folder")
    check_can_push(args.repo)
    return push_and_tell(
        args.folder, args.repo, private=args.private, revision=args.revision, results=args.results,
        license=args.license,
    )  # fmt: skip


def check_can_push(repo: str) -> None:
    """Find out that a push cannot work before hours of training, not after."""
    from nrknet.hub import check_push

    try:
        check_push(repo)
    except ValueError as error:
        raise UsageError(reason(error)) from error


def push_and_tell(folder: Path, repo: str, *, advice: str = "", **options: Any) -> int:
    """Push, and say where the network is, or why it is not there and `advice`. Returns the exit status.

    Args:
        folder: the network's.
        repo: its name on the Hub.
        advice: what to do when the push failed.
        options: of `push_folder`.
    """
    from nrknet.hub import push_folder

    try:
        url = push_folder(folder, repo, **options)
    except ValueError as error:
        complain(reason(error) + advice)
        return FAILED
    revision = options.get("revision")
    print(f"the network is at {url}: use it with --model {repo}{f'@{revision}' if revision else ''}")
    return OK
