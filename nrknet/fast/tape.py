"""What was done for a photo, to be done again for the next one of its size.

What the kernels are asked to do depends on a photo's size, not on what is in it. So it is written down the first time,
and for the photos that follow Python has next to nothing to do.
"""

import threading
from collections.abc import Callable
from typing import Any

from nrknet.arrays import Map
from nrknet.fast.threads import num_threads

Tape = list[tuple[Callable[..., Any], tuple[Any, ...]]]
"""Calls with their arguments, in their order."""
LONGEST = 5000
"""Calls of a photo that are written down, about a kilobyte each; where there are more, each has much to do."""

_writing = threading.local()


def do(work: Callable[..., Any], *arguments: Any) -> None:
    """Call it; and again when what is written down now is repeated, so its arguments have to last."""
    work(*arguments)
    tape: Tape | None = getattr(_writing, "tape", None)
    if tape is not None:
        tape.append((work, arguments))


class Record:
    """What is done for photos in the same memory, band by band.

    Between `start` and `finish` all bands of a photo are to be made in their order; a photo that is given up leaves
    the record of no use.
    """

    def __init__(self) -> None:
        self._bands: list[tuple[Tape, list[Map]]] = []
        self._of, self._whole, self._room, self._next = (0, 0), False, LONGEST, 0

    def start(self, height: int) -> None:
        """A photo of so many rows begins; with another height or another number of threads all is written anew."""
        if self._of != (height, num_threads()):
            self._of, self._whole, self._room = (height, num_threads()), False, LONGEST
            self._bands.clear()
        self._next = 0

    def band(self, make: Callable[[], list[Map]]) -> list[Map]:
        """The maps that `make` gives for the next band of this photo, by what it did for that of the first one."""
        if self._whole:
            tape, maps = self._bands[self._next]
            self._next += 1
            for work, arguments in tape:
                work(*arguments)
            return maps
        if self._room < 0:
            return make()
        _writing.tape = tape = []
        try:
            maps = make()
        finally:
            _writing.tape = None
        self._room -= len(tape)
        self._bands.append((tape, maps))
        if self._room < 0:
            self._bands.clear()
        return maps

    def finish(self) -> None:
        """The photo is made."""
        self._whole = self._room >= 0
