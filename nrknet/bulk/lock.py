"""One run at a time for an output folder."""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from nrknet.bulk.manifest import WORK
from nrknet.bulk.storage import Folder, StorageError, persist

LOCK = f"{WORK}/lock.json"
BEAT_SECONDS = 30.0
STALE_SECONDS = 180.0
"""After this long without a sign of life from another machine, its run is taken for dead."""


class Locked(Exception):
    """Another run is at work there; the message is one sentence."""


class Lock:
    """Held while a run lasts: a file in the output folder that is renewed every half minute.

    A run that was killed on this machine is seen to be gone at once, one on another machine after three minutes.
    Object stores cannot tell who came first within the blink of an eye: two runs that begin together are told apart by
    reading the lock again.

    Args:
        out: the output folder.
        clock: seconds since 1970.
        pause: seconds until the lock is read again.

    Raises:
        Locked: another run is at work there.
        StorageError: nothing can be written there.
    """

    def __init__(self, out: Folder, *, clock: Callable[[], float] = time.time, pause: float = 0.2) -> None:
        self._out = out
        self._clock = clock
        self._pause = pause
        self._token = secrets.token_hex(8)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Lock":
        holder = self._holder()
        if holder and self._is_alive(holder):
            raise Locked(_sentence(self._out, holder))
        self._renew()
        time.sleep(self._pause)
        holder = self._holder()
        if holder and holder["token"] != self._token:
            raise Locked(_sentence(self._out, holder))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        holder = self._holder()
        if holder and holder["token"] == self._token:
            self._out.delete([LOCK])

    def _holder(self) -> dict[str, Any] | None:
        if not persist(lambda: self._out.look(LOCK), self._out.place):
            return None
        try:
            holder = json.loads(self._out.read(LOCK))
            return holder if {"token", "host", "pid", "beat"} <= set(holder) else None
        except (ValueError, TypeError, FileNotFoundError):
            return None

    def _is_alive(self, holder: dict[str, Any]) -> bool:
        if holder["host"] == socket.gethostname():
            return is_running(holder["pid"])
        return self._clock() - holder["beat"] < STALE_SECONDS

    def _renew(self) -> None:
        holder = {"token": self._token, "host": socket.gethostname(), "pid": os.getpid(), "beat": self._clock()}
        persist(lambda: self._out.write(LOCK, json.dumps(holder).encode()), self._out.place)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            try:
                self._renew()
            except StorageError:
                continue  # the run itself will stumble over it


def is_running(pid: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _sentence(out: Folder, holder: dict[str, Any]) -> str:
    return (
        f"{out.place}: another run is at work there (process {holder['pid']} on {holder['host']}); "
        f"wait for its end, or delete {out.path(LOCK)} if there is none"
    )
