"""Photos read for training: eight bits a channel, many at a time, and every one decoded to its end."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nrknet.imageio import read_photo

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
Pixels = np.ndarray[Any, np.dtype[np.uint8]]
REPORT_EVERY = 15.0
"""Seconds between two reports on a long reading."""


def read_pixels(path: Path) -> Pixels:
    """The pixels of a photo, (H,W,3) uint8 RGB, upright; 16-bit files are rounded to 8 bits.

    Raises:
        ValueError: the file is missing, damaged, cut short or no photo; one sentence that names it.
    """
    pixels = read_photo(path).pixels
    return pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def num_threads() -> int:
    """Decoders let go of Python's lock: as many threads as cores, but no more than 16."""
    return min(os.cpu_count() or 1, 16)


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], *, doing: str) -> Iterator[Result]:
    """Results of a function in the order of the items, computed in threads; says how a long reading gets on.

    Args:
        doing: begins the report, as in "reading photos".

    Raises:
        Exception: what the function raises for the first item for which it does; no more items are then begun.
    """
    begun = reported = time.monotonic()
    with ThreadPoolExecutor(num_threads()) as threads:
        try:
            for done, result in enumerate(threads.map(function, items), start=1):
                yield result
                now = time.monotonic()
                if now - reported > REPORT_EVERY:
                    reported, left = now, (now - begun) * (len(items) - done) / done
                    log.info("%s: %d of %d, about %.0f s left", doing, done, len(items), left)
        finally:
            threads.shutdown(cancel_futures=True)
    if reported > begun:
        log.info("%s: %d took %.0f s", doing, len(items), time.monotonic() - begun)
