"""What commands share: how one is declared, options and types of arguments, checks of what was named."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nrknet.collection import no_collection
from nrknet.commands.outcome import UsageError, reason

if TYPE_CHECKING:
    from nrknet.inference import Deblurrer


def add_command(
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


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options that `load_deblurrer` reads."""
    parser.add_argument(
        "--model", default="default", metavar="M",
        help="a network that comes with nrknet, by name; a folder with one; or owner/name on the Hugging Face Hub "
        "(default: %(default)s)",
    )  # fmt: skip
    add_device_option(parser)
    parser.add_argument(
        "--precision", choices=("auto", "exact"), default="auto",
        help="auto: as fast as the device does well; exact: 32-bit numbers throughout (default: %(default)s)",
    )  # fmt: skip


def add_restoring_options(parser: argparse.ArgumentParser) -> None:
    """Declare --strength and --terms."""
    parser.add_argument(
        "--strength", type=share, default=1.0, metavar="S",
        help="0 gives the photo as it is, 1 the restored one, 0.5 what is half-way (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--terms", type=whole_number, metavar="K",
        help="cut the network's Neumann series short after its K-th term, from 1, which restores less (default: all)",
    )  # fmt: skip


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Declare --device."""
    parser.add_argument(
        "--device", default="auto", metavar="D",
        help="auto: a graphics card where there is one; or cpu, cuda, cuda:1, mps (default: %(default)s)",
    )  # fmt: skip


def load_deblurrer(args: argparse.Namespace, **options: Any) -> "Deblurrer":
    """The network that the options name, ready to work."""
    from nrknet.fast import compiler

    if args.device in ("auto", "cpu"):
        compiler.start()  # which the next lines give time for
    with no_collection(keep=True):  # a fourth of the time of importing PyTorch, where it is needed, would go there
        from nrknet.inference import Deblurrer

    try:
        return Deblurrer(args.model, device=args.device, precision=args.precision, **options)
    except (ValueError, OSError) as error:
        raise UsageError(reason(error)) from error


def check_folder(folder: Path) -> None:
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


def whole_number(text: str) -> int:
    """A whole number from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return int(text)


def size(text: str) -> tuple[int, int]:
    """WxH, for argparse."""
    numbers = text.lower().split("x")
    if len(numbers) != 2 or not all(n.isdecimal() and int(n) >= 16 for n in numbers):
        raise argparse.ArgumentTypeError(f"must be a width and a height from 16 pixels, as in 1024x683, got {text!r}")
    return int(numbers[0]), int(numbers[1])


def tile(text: str) -> int | str:
    """A whole number from 1 or "auto", for argparse."""
    return text if text == "auto" else whole_number(text)


def share(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, got {text!r}")
    return number


def minutes_of_training(text: str) -> float:
    """A finite number above 0, for argparse."""
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return minutes
