"""One run at a time for an output folder, and no lock that outlives its run."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import files_in

from nrknet.bulk.lock import LOCK, STALE_SECONDS, Lock, Locked
from nrknet.bulk.storage import LocalFolder


def test_a_second_run_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    out = LocalFolder(tmp_path)
    with Lock(out, pause=0):
        with pytest.raises(Locked, match=f"process {os.getpid()} on {socket.gethostname()}"), Lock(out, pause=0):
            pytest.fail("both have the lock")
        assert files_in(tmp_path) == [LOCK]
    with Lock(out, pause=0):
        pass
    assert files_in(tmp_path) == []


def test_a_run_that_was_killed_here_is_no_hindrance(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    out = LocalFolder(tmp_path)
    holder = {"token": "x", "host": socket.gethostname(), "pid": gone.pid, "beat": 1e12}
    out.write(LOCK, json.dumps(holder).encode())
    with Lock(out, pause=0):
        assert json.loads(out.read(LOCK))["pid"] == os.getpid()


@pytest.mark.parametrize("age", [STALE_SECONDS - 1, STALE_SECONDS + 1])
def test_a_run_on_another_machine_is_alive_while_it_gives_signs(age: float, tmp_path: Path) -> None:
    out = LocalFolder(tmp_path)
    out.write(LOCK, json.dumps({"token": "x", "host": "another", "pid": 1, "beat": 1000}).encode())
    lock = Lock(out, clock=lambda: 1000 + age, pause=0)
    if age < STALE_SECONDS:
        with pytest.raises(Locked, match="process 1 on another"), lock:
            pytest.fail("both have the lock")
    else:
        with lock:
            pass


def test_a_lock_that_another_run_took_is_not_deleted(tmp_path: Path) -> None:
    out = LocalFolder(tmp_path)
    other = {"token": "x", "host": "another", "pid": 1, "beat": 1000}
    with Lock(out, pause=0):
        out.write(LOCK, json.dumps(other).encode())
    assert json.loads(out.read(LOCK)) == other


def test_a_broken_lock_file_is_no_lock(tmp_path: Path) -> None:
    out = LocalFolder(tmp_path)
    out.write(LOCK, b"{")
    with Lock(out, pause=0):
        pass
