"""A client of the app over plain HTTP, which can also do what a well-behaved one does not."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal
from urllib.parse import quote

import httpx

API = "/gradio_api"
FEW_SECONDS, PATIENCE = 30.0, 900.0


@dataclass(frozen=True)
class Answer:
    """What came of a request.

    Attributes:
        kind: "done"; "refused", with a sentence; "full", as the queue was; "failed" is all that must not happen.
        data: what a done one returned.
        said: the sentence.
    """

    kind: Literal["done", "refused", "full", "failed"]
    data: list[Any]
    said: str = ""

    @property
    def is_sentence(self) -> bool:
        """Whether it says in one line of text what was wrong, without a traceback or a folder of the server."""
        is_text = len(self.said) < 400 and self.said.endswith((".", "…"))
        return is_text and not re.search(r"\n|Traceback|nrknet-app-|site-packages", self.said)


def uploaded(path: str) -> dict[str, Any]:
    """How an endpoint is told of an uploaded file."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


class AppClient:
    """One visitor; an asynchronous context.

    Args:
        url: of the app.
    """

    def __init__(self, url: str) -> None:
        patience = httpx.Timeout(PATIENCE, connect=FEW_SECONDS)
        self.http = httpx.AsyncClient(base_url=url, timeout=patience, trust_env=False)

    async def __aenter__(self) -> AppClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    async def upload(self, content: bytes, name: str = "photo.png") -> str:
        """Upload a file. Returns where it lies.

        Raises:
            httpx.HTTPStatusError: it was refused.
        """
        answer = await self.http.post(f"{API}/upload", files=[("files", (name, content, "image/png"))])
        answer.raise_for_status()
        return str(answer.json()[0])

    async def call(self, endpoint: str, data: list[Any]) -> Answer:
        """Call an endpoint and wait for what it says."""
        begun = await self.http.post(f"{API}/call/{endpoint}", json={"data": data})
        if begun.status_code != 200:
            return _refused(begun)
        event, lines = "", []
        async with self.http.stream("GET", f"{API}/call/{endpoint}/{begun.json()['event_id']}") as stream:
            async for line in stream.aiter_lines():
                name, _, value = line.partition(": ")
                event = value if name == "event" else event
                if name == "data" and event in ("complete", "error"):
                    lines.append(json.loads(value))
        if event == "complete" and lines:
            return Answer("done", lines[-1])
        said = (lines[-1] or {}).get("error") if lines else None
        return Answer("refused", [], said) if said else Answer("failed", [], f"no sentence: {lines}")

    async def leave_midway(self, endpoint: str, data: list[Any]) -> bool:
        """Call an endpoint and go away as soon as it works on it. Returns False where the queue was full."""
        begun = await self._join(endpoint, data)
        return begun is not None and await self._wait_for_work(begun[0], cancel=None)

    async def cancel_midway(self, endpoint: str, data: list[Any]) -> bool:
        """Call an endpoint and press Stop as soon as it works on it. Returns False where the queue was full."""
        begun = await self._join(endpoint, data)
        return begun is not None and await self._wait_for_work(begun[0], cancel=begun)

    async def flood(self, endpoint: str, data: list[Any], count: int) -> list[tuple[int, str]]:
        """Call an endpoint many times at once and go away without listening. Returns statuses and sentences."""
        session, function = secrets.token_hex(5), await self._function(endpoint)
        body = {"data": data, "fn_index": function, "session_hash": session}
        answers = await asyncio.gather(*(self.http.post(f"{API}/queue/join", json=body) for _ in range(count)))
        async with self.http.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as stream:
            await anext(stream.aiter_lines())
        return [(answer.status_code, str(answer.json().get("detail", ""))) for answer in answers]

    async def file(self, path: str) -> bytes:
        """Ask for a file that an endpoint named.

        Raises:
            httpx.HTTPStatusError: it is not there, or not for this visitor.
        """
        answer = await self.http.get(f"{API}/file={quote(path)}")
        answer.raise_for_status()
        return answer.content

    async def _join(self, endpoint: str, data: list[Any]) -> tuple[str, int, str] | None:
        """Queue as the page does. Returns session, function and event."""
        session, function = secrets.token_hex(5), await self._function(endpoint)
        body = {"data": data, "fn_index": function, "session_hash": session}
        joined = await self.http.post(f"{API}/queue/join", json=body)
        if joined.status_code == 503:
            return None
        joined.raise_for_status()
        return session, function, joined.json()["event_id"]

    async def _function(self, endpoint: str) -> int:
        config = (await self.http.get("/config")).json()
        (function,) = (d["id"] for d in config["dependencies"] if d["api_name"] == endpoint)
        return int(function)

    async def _wait_for_work(self, session: str, cancel: tuple[str, int, str] | None) -> bool:
        """Listen until a photo is half done or so, then cancel it, or just hang up."""
        async with self.http.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as stream:
            async for line in stream.aiter_lines():
                message = json.loads(line.removeprefix("data: ")) if line else {}
                if message.get("msg") == "process_completed":
                    break
                if message.get("msg") != "progress":
                    continue
                if cancel is not None:
                    body = dict(zip(("session_hash", "fn_index", "event_id"), cancel, strict=True))
                    await self.http.post(f"{API}/cancel", json=body)
                break
        return True


def _refused(answer: httpx.Response) -> Answer:
    try:
        said = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return Answer("failed", [], f"{answer.status_code} {answer.text[:200]}")
    return Answer("full" if answer.status_code == 503 else "refused", [], said)
