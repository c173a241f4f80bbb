"""`nrknet deblur --engine ray`: photo collections larger than a machine."""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nrknet.commands.options import whole_number
from nrknet.commands.outcome import FAILED, OK, USAGE, UsageError, complain, reason

if TYPE_CHECKING:
    from nrknet.bulk.engine import Collection, Options

_RAY_ONLY = ("workers", "retries", "ray_address")


def add_collection_options(parser: argparse.ArgumentParser) -> None:
    """Declare --engine, and what --engine ray knows beside."""
    group = parser.add_argument_group("collections", "Folders and URLs (s3://, gs://, ...) with --engine ray.")
    group.add_argument(
        "--engine", choices=("local", "ray"), default="local",
        help="local: one photo after the other, here; ray: several at a time, here or on a cluster "
        '(pip install "nrknet[ray]") (default: %(default)s)',
    )  # fmt: skip
    group.add_argument(
        "--workers", type=whole_number, metavar="N",
        help="photos at a time (default: one for each graphics card, or else for each core with 2 GB of memory)",
    )  # fmt: skip
    group.add_argument(
        "--retries", type=_retries, metavar="N",
        help="how often a photo is tried again whose worker was killed or lost (default: 3)",
    )  # fmt: skip
    group.add_argument(
        "--ray-address", metavar="HOST:PORT",
        help="a Ray cluster (default: the one that RAY_ADDRESS names, or else all cores of this machine)",
    )  # fmt: skip


def check_local(args: argparse.Namespace) -> None:
    """Refuse what only --engine ray knows.

    Raises:
        UsageError: one sentence.
    """
    from nrknet.bulk.storage import is_url

    for name in _RAY_ONLY:
        if getattr(args, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} needs --engine ray")
    if args.out is None:
        raise UsageError("-o OUT_DIR is missing: the folder for the restored photos")
    for path in (*args.paths, args.out):
        if is_url(path):
            raise UsageError(f"{path}: addresses need --engine ray")


def deblur_collection(args: argparse.Namespace) -> int:
    """Restore what is not done yet of a collection, and say how it went. Returns the exit status."""
    if args.out is None and len(args.paths) < 2:
        raise UsageError("the output folder is missing: nrknet deblur --engine ray IN OUT")
    paths, out = (args.paths, args.out) if args.out is not None else (args.paths[:-1], args.paths[-1])
    try:
        import fsspec  # noqa: F401
        import pyarrow  # noqa: F401
        import ray  # noqa: F401
    except ImportError:
        raise UsageError('--engine ray needs Ray; install it with: pip install "nrknet[ray]"') from None
    from nrknet.bulk.engine import Collection
    from nrknet.bulk.storage import StorageError

    try:
        collection = Collection(paths, out)
    except StorageError as error:
        raise UsageError(str(error)) from error
    for problem in collection.problems:
        complain(problem)
    if not collection.sources:
        return USAGE
    return _restore(collection, _options(args))


def _options(args: argparse.Namespace) -> "Options":
    from nrknet.bulk.engine import Options

    given = {name: getattr(args, name) for name in _RAY_ONLY if getattr(args, name) is not None}
    try:
        return Options(
            model=args.model, device=args.device, precision=args.precision, tile=args.tile,
            strength=args.strength, terms=args.terms, skip_existing=args.skip_existing, **given,
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(str(error)) from error


def _restore(collection: "Collection", options: "Options") -> int:
    from tqdm import tqdm

    from nrknet.bulk.cluster import ClusterError
    from nrknet.bulk.lock import Locked
    from nrknet.bulk.storage import StorageError

    watched = sys.stderr.isatty()
    with tqdm(disable=not watched, unit="photo", file=sys.stderr) as bar:

        def begin(number: int) -> None:
            bar.total = number
            bar.refresh()

        try:
            outcome = collection.restore(options, _reporter(collection, bar, watched), begin)
        except (ClusterError, Locked, StorageError) as error:
            raise UsageError(str(error)) from error
        except (ValueError, OSError) as error:
            raise UsageError(reason(error)) from error
    failed = outcome.num_failed + len(collection.problems)
    print(f"manifest: {outcome.manifest}")
    print(f"{outcome.num_done} deblurred, {outcome.num_skipped} skipped, {failed} failed")
    return FAILED if failed else OK


def _reporter(collection: "Collection", bar: Any, watched: bool) -> Callable[[dict[str, Any]], None]:
    """Says of each photo what became of it, in one line, or moves the bar."""

    def report(record: dict[str, Any]) -> None:
        if record["status"] == "failed":
            why = record["reason"]
            with bar.external_write_mode(file=sys.stderr):
                complain(why if record["source"] in why else f"{record['source']}: {why}")
        elif not watched:
            print(f"{record['source']} -> {collection.out.path(record['target'])}", file=sys.stderr)
        bar.update()

    return report


def _retries(text: str) -> int:
    """A whole number from 0, for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0, got {text!r}")
    return int(text)
