"""`nrknet push`: a trained network put on the Hugging Face Hub."""

import argparse
from pathlib import Path
from typing import Any

from nrknet.commands.options import add_command
from nrknet.commands.outcome import FAILED, OK, UsageError, complain, reason

HELP = """\
Put a trained network on the Hugging Face Hub.

The folder is one that training or `nrknet convert` has made. A page that says what the network is and how to use it is
written from what the folder records.
"""


def add(commands: Any) -> None:
    """Declare `nrknet push`."""
    parser = add_command(commands, "push", run, about=HELP)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the network's folder")
    parser.add_argument("--repo", required=True, metavar="OWNER/REPO", help="its name on the Hub; made if need be")
    parser.add_argument("--private", action="store_true", help="make a repository that only its owner sees")


def run(args: argparse.Namespace) -> int:
    """Put a network's folder on the Hub. Returns the exit status."""
    if not args.folder.is_dir():
        raise UsageError(f"{args.folder}: no such folder")
    check_can_push(args.repo)
    return push_and_tell(args.folder, args.repo, private=args.private)


def check_can_push(repo: str) -> None:
    """Find out that a push cannot work before hours of training, not after."""
    from nrknet.hub import check_push

    try:
        check_push(repo)
    except ValueError as error:
        raise UsageError(reason(error)) from error


def push_and_tell(folder: Path, repo: str, *, private: bool = False, advice: str = "") -> int:
    """Push, and say where the network is, or why it is not there and `advice`. Returns the exit status."""
    from nrknet.hub import push_folder

    try:
        url = push_folder(folder, repo, private=private)
    except ValueError as error:
        complain(reason(error) + advice)
        return FAILED
    print(f"the network is at {url}: use it with --model {repo}")
    return OK
