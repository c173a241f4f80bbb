"""How the app is served to many at once: how many may wait, what is kept in memory, what passes the gate."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from demo import turns
from demo.folders import OWN
from demo.gate import Gate
from demo.housekeeping import housekeeping
from demo.inputs import explain_wrong_inputs
from demo.limits import LARGEST_FILE
from demo.restorer import Restorer

MOST_WAITING = int(os.environ.get("NRKNET_QUEUE", 64))
"""Requests that may wait; more are refused, so that nobody waits for nothing."""
MOST_VISITS = 100
"""Of which Gradio remembers the state: a hundred kilobytes each, which this page has no need of."""


def serve(page: gr.Blocks, restorer: Restorer) -> dict[str, Any]:
    """Make a page fit for many visitors.

    Args:
        page: what is served.
        restorer: what remembers photos.

    Returns:
        Options of `page.launch`.
    """
    page.queue(max_size=MOST_WAITING, api_open=False)  # else a program could go past the queue
    explain_wrong_inputs(page)
    gate = Middleware(Gate, has_room=OWN.has_room, is_full=lambda: len(page._queue) >= MOST_WAITING)
    return {
        "app_kwargs": {"middleware": [gate], "lifespan": housekeeping(page, restorer), "openapi_url": None},
        "max_file_size": LARGEST_FILE,
        "state_session_capacity": MOST_VISITS,
        "enable_monitoring": False,
    }


def end_on_terminate() -> None:
    """Let SIGTERM, by which services are stopped, end the process in order: at once, and with its files deleted."""

    def end(*_: Any) -> None:
        turns.close()
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
