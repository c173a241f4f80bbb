"""One command in several processes, which torchrun has started: they are joined, and the main one alone speaks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nrknet.commands.outcome import FAILED, USAGE, UsageError, reason
from nrknet.launch import announced_count, announced_index

if TYPE_CHECKING:
    from nrknet.processes import Processes


def join_checked(device: str, check: Callable[[], None]) -> "Processes | None":
    """The processes of this command, joined, once each has checked what it was given.

    Args:
        device: as `join_processes` takes it.
        check: raises UsageError where the command cannot start.

    Returns:
        None where there is one process; it then checks at once, before PyTorch is imported.

    Raises:
        UsageError: they cannot be joined, or a check has failed in this process.
        SystemExit: a check has failed, and the main process says so.
    """
    if announced_count() == 1:
        check()
        return None
    from nrknet.processes import join_processes

    with told_once():
        processes = join_processes(device)
        processes.together(check)
    return processes


@contextmanager
def told_once() -> Iterator[None]:
    """Within it, a ValueError is one for the user, and of what all processes know the main one alone speaks.

    Raises:
        UsageError: for a ValueError.
        ConnectionError: another process has ended without a word to this one.
        SystemExit: in the other processes, of what the main one says.
    """
    try:
        yield
    except ValueError as error:
        if announced_index() and _is_agreed(error):
            raise SystemExit(USAGE) from error
        raise UsageError(reason(error)) from error
    except FloatingPointError as error:  # of the mean loss, which is that of all
        if announced_index():
            raise SystemExit(FAILED) from error
        raise
    except RuntimeError as error:
        if announced_count() == 1 or not _is_lost_connection(error):
            raise
        raise ConnectionError("another process has ended, and this one too; the other's message says why") from error


def _is_lost_connection(error: RuntimeError) -> bool:
    from torch.distributed import DistError

    return isinstance(error, DistError) or "gloo" in str(error)  # gloo has no type of its own for it


def _is_agreed(error: ValueError) -> bool:
    from nrknet.processes import AgreedError

    return isinstance(error, AgreedError)
