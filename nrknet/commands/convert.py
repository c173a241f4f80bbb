"""`nrknet convert`: the authors' weights as a folder of ours."""

import argparse
from pathlib import Path
from typing import Any

from nrknet.commands.options import add_command, check_folder
from nrknet.commands.outcome import OK, UsageError

HELP = """\
Turn a .pth file of the NRKNet authors into a folder that --model and load_model take.

The file is read as weights alone: nothing in it is run.
"""


def add(commands: Any) -> None:
    """Declare `nrknet convert`."""
    parser = add_command(commands, "convert", run, about=HELP)
    parser.add_argument("pth", type=Path, metavar="AUTHORS.pth", help="the authors' file")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder to write; made if need be")


def run(args: argparse.Namespace) -> int:
    """Write the authors' network as a folder of ours. Returns the exit status."""
    if not args.pth.is_file():
        raise UsageError(f"{args.pth}: no such file")
    check_folder(args.folder)
    from nrknet.weights import convert_released

    convert_released(args.pth, args.folder)
    print(f"the network is in {args.folder}: use it with --model {args.folder}")
    return OK
