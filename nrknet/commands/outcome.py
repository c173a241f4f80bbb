"""How a command ends: its exit status, and what is said when something went wrong."""

import os
import sys
import traceback

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(ValueError):
    """The command cannot start as it was given; the message is one sentence for the user."""


def complain(message: str) -> None:
    """Tell the user what is wrong, in one line on the error stream."""
    print(f"nrknet: {' '.join(message.splitlines())}", file=sys.stderr)


def debugging() -> bool:
    """Whether NRKNET_DEBUG=1 asks for tracebacks and warnings."""
    return os.environ.get("NRKNET_DEBUG") == "1"


def reason(error: Exception) -> str:
    """What went wrong, in one line; with NRKNET_DEBUG=1 the traceback is printed too."""
    if debugging():
        traceback.print_exception(error)
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return "not enough memory; a smaller --tile needs less"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    if isinstance(error, (ValueError, OSError, ArithmeticError)) and text:
        return text
    return f"unexpected {type(error).__name__}: {text} (NRKNET_DEBUG=1 shows more)"
