"""What is done from time to time while the app runs: old files deleted, freed memory given back."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import gradio as gr

from demo.folders import KEEP_FOR, OWN
from demo.inputs import files_in
from demo.restorer import Restorer

EVERY = min(60.0, KEEP_FOR / 4)
"""Seconds between two rounds."""
# Of glibc's malloc.h: by default each of 40 threads may keep a heap of its own, and pieces of up to 32 MB lie in heaps,
# from which they return to the system only where nothing lies behind them.
HOW_MEMORY_IS_KEPT = {-8: 2, -3: 1 << 20}  # M_ARENA_MAX, M_MMAP_THRESHOLD
_log = logging.getLogger(__name__)


def housekeeping(page: gr.Blocks, restorer: Restorer) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """For FastAPI: what it enters when the page is first served and leaves when that ends."""

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        with suppress(OSError, AttributeError, TypeError):  # another C library
            for option, value in HOW_MEMORY_IS_KEPT.items():
                ctypes.CDLL(None).mallopt(option, value)
        task = asyncio.create_task(rounds(page, restorer))
        try:
            yield
        finally:
            task.cancel()

    return lifespan


async def rounds(page: gr.Blocks, restorer: Restorer) -> None:
    """Clear away, again and again; what goes wrong is in the log, and the next round is needed all the more."""
    while True:
        await asyncio.sleep(EVERY)
        try:
            await asyncio.to_thread(clear_away, page, restorer)
        except Exception as error:
            _log.error("files could not be cleared away", exc_info=error)


def clear_away(page: gr.Blocks, restorer: Restorer) -> None:
    """Delete what is old, forget the names of what is gone, and give freed memory back to the system."""
    OWN.keep(file for event in waiting(page) for file in files_in(event.data.data))
    OWN.sweep(kept=[file for block in page.blocks.values() for file in getattr(block, "keep_in_cache", ())])
    restorer.clear_away()
    for names in page.temp_file_sets:  # Gradio notes the name of each file that it has ever served
        names -= {name for name in list(names) if not Path(name).exists()}
    give_memory_back()


def waiting(page: gr.Blocks) -> list[Any]:
    """The requests in the page's queue."""
    return [event for queue in list(page._queue.event_queue_per_concurrency_id.values()) for event in list(queue.queue)]


def give_memory_back() -> None:
    """Let the system have the memory that was freed; glibc keeps it for later, a heap for every thread."""
    gc.collect()  # an error and the frames that it came through hold each other
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
