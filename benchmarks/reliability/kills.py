"""Processes that are killed at random moments."""

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Moment:
    """When a process is killed.

    Args:
        seconds: after its start at the latest.
        sight: as soon as this is true, where it is given, or
        delay: so many seconds later.
    """

    seconds: float
    sight: Callable[[], bool] | None = None
    delay: float = 0.0

    def wait(self, process: "subprocess.Popen[bytes]") -> bool:
        """Wait for it; False when the process has ended before."""
        end = time.monotonic() + self.seconds
        while process.poll() is None:
            if self.sight is not None and self.sight():
                time.sleep(self.delay)
                return process.poll() is None
            if time.monotonic() >= end:
                return True
            time.sleep(0.0003 if self.sight is not None else 0.005)
        return False


def run_until(command: list[str], moment: Moment | None, *, environment: dict[str, str], said: Path) -> int:
    """Run a command to its end, or kill it (SIGKILL) at a moment.

    Args:
        command: the program and its arguments.
        moment: None: never.
        environment: of the process.
        said: the file that what it prints is added to.

    Returns:
        Its exit status; -9 when it was killed.
    """
    with said.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        if moment is not None and moment.wait(process):
            process.kill()
        return process.wait()


def was_killed(status: int) -> bool:
    """Whether a status is that of a process that was killed."""
    return status == -signal.SIGKILL
