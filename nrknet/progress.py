"""How a training run gets on, in one line: step, loss, gain, speed and the time that is left."""

import time
from collections.abc import Mapping

LINE_EVERY = 60.0
"""Seconds between two lines where nobody watches a bar."""


class Pace:
    """Turns the records of training steps into lines, and knows by its own clock how long the rest takes."""

    def __init__(self) -> None:
        self._begun: tuple[float, float] | None = None  # time and progress of the first record
        self._last_line = time.monotonic()

    def line(self, record: Mapping[str, float]) -> str:
        """One line.

        Args:
            record: step, loss, gain_db, crops_per_s and progress (0 to 1), as `train` hands them on.
        """
        now, progress = time.monotonic(), record["progress"]
        if self._begun is None:
            self._begun = now, progress
        since, done = now - self._begun[0], progress - self._begun[1]
        left = _clock(since * (1 - progress) / done) if done > 0 else "?"
        return (
            f"step {record['step']:.0f}, loss {record['loss']:.5f}, gain {record['gain_db']:+.2f} dB, "
            f"{record['crops_per_s']:.1f} crops/s, {left} left"
        )

    def is_due(self, every: float) -> bool:
        """Whether so many seconds have passed since the beginning or the last time that this was true."""
        due = time.monotonic() - self._last_line >= every
        if due:
            self._last_line = time.monotonic()
        return due


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds, as in 1:02:03 or 02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
