"""Stopping a long run from outside: Ctrl-C and SIGTERM between two steps, and how much a kill takes back."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAVE_STEPS = 500
"""Steps between two checkpoints at most, which a kill takes back, where a recipe's seconds are not over before."""
ECHO = 2.0
"""Seconds in which a second signal is taken for the first one's echo: torchrun passes on what the terminal sent."""


class TrainingStopped(KeyboardInterrupt):
    """A run was told to stop and has saved its checkpoint; the message says how to go on."""


class StopRequest:
    """True once somebody has asked to stop; while it is entered, Ctrl-C and SIGTERM ask, and a second one interrupts.

    Only Python's main thread can listen to signals: elsewhere nothing changes. Signals that are ignored stay ignored.
    """

    def __init__(self) -> None:
        self._asked: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __bool__(self) -> bool:
        return self._asked is not None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked is not None and now - self._asked > ECHO:
            raise KeyboardInterrupt
        self._asked = now if self._asked is None else self._asked


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Within it, SIGTERM raises KeyboardInterrupt as Ctrl-C does, where it would have ended the process unheard."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
