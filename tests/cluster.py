"""A Ray cluster in a process of its own, which several tests connect to, and a store that its workers reach."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commandline import child_environment

_SERVE = """
import sys
from nrknet.bulk.cluster import cluster
with cluster(None) as ray:
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
"""


def ray_environment(folder: Path) -> dict[str, str]:
    """For processes that start Ray.

    Each of Ray's processes imports jsonschema, which builds a grammar for addresses that nobody needs, for seconds,
    where Jupyter has brought it along; jsonschema does without when it cannot be imported.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rfc3987_syntax.py").write_text("raise ImportError('not for tests')\n")
    environment = child_environment({"RAY_AUTH_MODE": "disabled"})
    return {**environment, "PYTHONPATH": os.pathsep.join([str(folder), environment["PYTHONPATH"]])}


@contextmanager
def running_cluster(environment: dict[str, str]) -> Iterator[str]:
    """Start a cluster, yield its address, and stop it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address, "Ray did not start"
        yield address
    finally:
        process.stdin.close()
        process.wait(timeout=120)
        process.stdout.close()
