"""What reaches the app's page and API: routes that they need, requests of a bounded size, as many as can wait."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

API = "/gradio_api"
CLOSED = (
    "/component_server", "/custom_component", "/deep_link", "/dev/", "/file/http", "/file=http", "/process_recording",
    "/proxy=", "/run-history", "/runs", "/stream/", "/undo-vibe-edit", "/vibe-",
)  # fmt: skip
"""Routes of Gradio's that this app has no use for; some keep files that nobody clears away, some fetch from the net."""
MOST_UPLOADED = 2 << 30
"""Bytes in one upload: of all photos together."""
MOST_SENT = 1 << 20
"""Bytes in any other request."""
MOST_IGNORED = 128 << 20
"""Bytes of a refused request that are taken in all the same: one photo."""
MISUNDERSTOOD = "This request cannot be understood; the page lists what there is under Use via API."
FULL_DISK = "The server's disk is full; try again later."
_log = logging.getLogger(__name__)


class Gate:
    """Wraps a Gradio app.

    Args:
        app: what answers.
        has_room: whether the disk can take so many bytes.
        is_full: whether as many wait as may.
    """

    def __init__(self, app: Asgi, *, has_room: Callable[[int], bool], is_full: Callable[[], bool]) -> None:
        self._app, self._has_room, self._is_full = app, has_room, is_full

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or let it pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = Answer(send)
        refused = self._refusal(scope)
        if refused is not None:
            await ignore(receive)
            await answer.refuse(*refused)
            return
        try:
            await self._app(scope, bounded(scope, receive), answer.send)
        except Exception as error:  # what a route of Gradio's does not expect, such as a name that it does not know
            _log.warning("%s %s failed: %.300r", scope["method"], scope["path"], error)
            await answer.refuse(400, MISUNDERSTOOD)

    def _refusal(self, scope: Message) -> tuple[int, str] | None:
        """Status and sentence for what may not pass."""
        path, route = scope["path"], _route(scope)
        if route.lower().startswith(CLOSED) or path.startswith("/monitoring"):
            return 404, "Not Found"
        if scope["method"] != "POST":
            return None
        length = _content_length(scope)
        if _is_upload(scope):
            if length > MOST_UPLOADED:
                return 413, _too_large(MOST_UPLOADED)
            return None if self._has_room(length) else (507, FULL_DISK)
        if length > MOST_SENT:
            return 413, _too_large(MOST_SENT)
        if route.startswith(("/queue/join", "/call/")) and self._is_full():
            return 503, "Too many photos are waiting already; try again in a few minutes."
        return None


class Answer:
    """What is sent back; whether that has begun."""

    def __init__(self, send: Send) -> None:
        self._send, self._has_begun = send, False

    async def send(self, message: Message) -> None:
        """Pass on a part of the app's own answer."""
        self._has_begun = True
        await self._send(message)

    async def refuse(self, status: int, detail: str) -> None:
        """Answer with one sentence; where an answer has begun, end it."""
        if self._has_begun:
            with suppress(Exception):  # it may have ended, or owe what its header has promised
                await self._send({"type": "http.response.body", "body": b""})
            return
        self._has_begun = True
        # ASCII without quotes and backslashes, so that it needs no escapes
        body = f'{{"detail":"{detail}"}}'.encode()
        kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        # what the visitor has not sent yet is not waited for
        headers = [*kind, (b"connection", b"close")]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


async def ignore(receive: Receive) -> None:
    """Take in what is still being sent, and drop it: a connection that is closed meanwhile loses the answer."""
    total, is_more = 0, True
    while is_more and total < MOST_IGNORED:
        message = await receive()
        total += len(message.get("body", b""))
        is_more = message.get("more_body", False)


def bounded(scope: Message, receive: Receive) -> Receive:
    """A request's body as far as its size is allowed; what is too long, or broken off, leaves no file behind."""
    is_upload, total = _is_upload(scope), 0

    async def receive_bounded() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if is_upload and total > MOST_UPLOADED:
            raise MultiPartException(_too_large(MOST_UPLOADED))  # for which Gradio deletes what it has written
        if is_upload and message["type"] == "http.disconnect":
            raise MultiPartException("The upload was broken off.")
        if not is_upload and total > MOST_SENT:
            raise HTTPException(413, _too_large(MOST_SENT))  # which FastAPI answers with, whatever it was reading
        return message

    return receive_bounded


def _route(scope: Message) -> str:
    """The part of the path behind the API's prefix, wherever the app is mounted; empty elsewhere."""
    _, found, route = scope["path"].partition(API)
    return route if found else ""


def _is_upload(scope: Message) -> bool:
    return scope["method"] == "POST" and _route(scope).rstrip("/") == "/upload"


def _content_length(scope: Message) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _too_large(most: int) -> str:
    size = f"{most >> 30} GB" if most >= 1 << 30 else f"{most >> 20} MB"
    return f"This is larger than the maximum allowed size of {size}."
