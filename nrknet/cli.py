"""The command line: finds the command and runs it, and turns an error into one line and an exit status."""

import argparse
import sys
import warnings
from collections.abc import Sequence

from nrknet._version import __version__
from nrknet.commands import convert, deblur, evaluate, export, push, train
from nrknet.commands.outcome import FAILED, INTERRUPTED, USAGE, UsageError, complain, debugging, reason
from nrknet.launch import announced_index


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
    if not sys.warnoptions and not debugging():
        warnings.simplefilter("ignore")  # those of the libraries mean nothing to a photographer
    args = make_parser().parse_args(argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        if announced_index() == 0:  # of several processes, all of which are stopped, one says so
            complain("stopped")
        return INTERRUPTED
    except UsageError as error:
        complain(str(error))
        return USAGE
    except Exception as error:
        complain(reason(error))
        return FAILED


def make_parser() -> argparse.ArgumentParser:
    """The parser of the program and of its commands; nothing heavy is imported."""
    parser = argparse.ArgumentParser(
        prog="nrknet",
        description="Make defocused photos sharp again (NRKNet, CVPR 2023).",
        epilog="`nrknet COMMAND --help` says more about each.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"nrknet {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (deblur, train, evaluate, convert, export, push):
        command.add(commands)
    return parser
