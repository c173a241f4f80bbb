"""Whose turn it is with the network: one photo after the other, and none for which nobody waits any more."""

from __future__ import annotations

import concurrent.futures
import contextvars
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import gradio as gr
from gradio.context import LocalContext

P = ParamSpec("P")
T = TypeVar("T")

LOOK_EVERY = 0.2
"""Seconds between two looks at whether a photo that waits for its turn is still wanted."""

# One thread: two photos at a time would take as long, and twice the memory. First come, first served, photo by photo,
# so that somebody with one photo need not wait for somebody else's hundred.
_network = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="network")
_closing = False


class Abandoned(gr.Error):
    """Nobody waits for the result: the visitor pressed Stop, dropped another photo, or is gone."""

    def __init__(self) -> None:
        super().__init__("This was stopped.", print_exception=False)


Check = Callable[[], None]
"""Raises Abandoned when the work is not wanted any more."""


def watch() -> Check:
    """For the job of Gradio's that calls this: what raises Abandoned once nobody waits for the job."""
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)

    def check() -> None:
        if _closing:
            raise Abandoned
        if blocks is None or event_id is None:  # not called by a visitor
            return
        # Gradio does not stop a function that works; it only forgets the event, or marks it when its client is gone.
        event = blocks._queue.event_ids_to_events.get(event_id)
        if event is None or not event.alive:
            raise Abandoned

    return check


def in_turn(check: Check, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """What a function returns (or raises) that runs after those of all who asked earlier.

    Args:
        check: called from time to time while this waits.
        function: with its arguments.
    """
    context = contextvars.copy_context()  # which holds the event, for the progress that the page shows
    turn = _network.submit(lambda: context.run(function, *args, **options))
    try:
        while not concurrent.futures.wait([turn], timeout=LOOK_EVERY).done:
            check()
    except Abandoned:
        turn.cancel()  # if it has begun, its progress finds out as well
        raise
    try:
        return turn.result()
    finally:
        del turn  # an error would hold its frames, these the turn, and that the error: with all their pixels


def close() -> None:
    """Let go of all work, because the process is to end."""
    global _closing
    _closing = True
    _network.shutdown(wait=False, cancel_futures=True)
