"""A stand-in of the Hugging Face Hub on this machine: repositories with revisions behind the real protocol.

It answers what `huggingface_hub` asks when networks and Spaces are pushed and loaded (`hub_routes.py`), and keeps every
commit (`hub_store.py`). The fixture `hub` in conftest.py points this process at it; another process needs HF_ENDPOINT
and HF_HUB_DISABLE_XET=1, as large files travel by Git LFS here.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from hub_routes import ROUTES, Answer, Request
from hub_store import HubStore, Refusal


class HubServer(HubStore):
    """The repositories, and the server that answers for them."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, threading.Lock()))
        self._server.daemon_threads = True
        super().__init__(f"http://127.0.0.1:{self._server.server_port}")

    @contextmanager
    def running(self) -> Iterator["HubServer"]:
        """Serve while the context lasts."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


def _handler(hub: HubStore, lock: threading.Lock) -> type[BaseHTTPRequestHandler]:
    """What reads requests from the wire and writes answers to it, for this hub."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: `hub.requests` has it."""

        def answer(self) -> None:
            body, path = self._body(), urlsplit(self.path).path
            method = "GET" if self.command == "HEAD" else self.command
            with lock:
                hub.requests.append(f"{self.command} {path}")
                try:
                    if hub.broken:
                        raise Refusal(503, "", "Service unavailable")
                    self._send(self._route(method, path, body))
                except Refusal as refusal:
                    headers = {"X-Error-Code": refusal.code} if refusal.code else {}
                    headers["X-Error-Message"] = refusal.message
                    self._send(Answer({"error": refusal.message, **refusal.more}, headers, refusal.status))

        def _route(self, method: str, path: str, body: bytes) -> Answer:
            for wanted, pattern, route in ROUTES:
                match = re.fullmatch(pattern, path)
                if match and wanted == method:
                    scheme, _, token = self.headers.get("Authorization", "").partition(" ")
                    return route(Request(hub, match, body, token if scheme == "Bearer" else None))
            raise Refusal(404, "", f"no such address: {path}")

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _send(self, answer: Answer) -> None:
            raw = isinstance(answer.content, bytes)
            data = answer.content if raw else json.dumps(answer.content).encode()
            self.send_response(answer.status)
            kind = "application/octet-stream" if raw else "application/json"
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_PUT = answer

    return Handler
