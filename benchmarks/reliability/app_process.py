"""The app in a process of its own, started as its user would, and looked at from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 180.0


class AppProcess:
    """`python app.py`, reachable once this is made.

    Args:
        folder: for its files and its log.
        keep_seconds: how long it keeps visitors' files.
        queue: how many requests may wait.

    Attributes:
        url: where it is served.
        log: the file that it writes to.

    Raises:
        RuntimeError: it did not start.
    """

    def __init__(self, folder: Path, *, keep_seconds: float, queue: int = 64) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{port}", folder / f"app-{port}.log"
        settings = {
            "GRADIO_TEMP_DIR": str(folder), "GRADIO_SERVER_PORT": str(port), "NRKNET_QUEUE": str(queue),
            "NRKNET_KEEP_SECONDS": str(keep_seconds),
        }  # fmt: skip
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "app.py"], cwd=ROOT, env={**os.environ, **settings}, stdout=log, stderr=log
            )
        self._wait_for_start()

    def _wait_for_start(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.is_alive:
            try:
                if httpx.get(f"{self.url}/config", trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.2)
        self.end(signal.SIGKILL)
        raise RuntimeError(f"the app did not start:\n{self.log.read_text()[-2000:]}")

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def waiting(self) -> int:
        """Requests in its queue."""
        return int(httpx.get(f"{self.url}/gradio_api/queue/status", trust_env=False).json()["queue_size"])

    def megabytes(self) -> float:
        """Of memory that it holds."""
        done = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(self._process.pid)], capture_output=True, text=True, check=True
        )
        return int(done.stdout) / 1024

    def processor_seconds(self) -> float:
        """That it has used so far; Linux only."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def visitors_files(self) -> list[Path]:
        """What it keeps for visitors: uploads, results, what is remembered; the page's own four examples aside."""
        folders = [path for name in ("served", "restored") for path in self._folder.glob(f"nrknet-app-*/{name}")]
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        return [path for path in files if path.name not in ("cat.png", "motorcycle.png", "coffee.png", "portrait.png")]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal. Returns the exit code, negative for one that the signal made."""
        if self.is_alive:
            self._process.send_signal(number)
        return self._process.wait(timeout=60)
