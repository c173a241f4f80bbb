"""The app under load: fifty visitors at once, with small, large and broken photos, wrong inputs and bad intentions.

    python -m benchmarks.reliability.app_load                  five minutes, and some for files to grow old
    python -m benchmarks.reliability.app_load --minutes 0.5 --clients 8 --keep 20 --json /tmp/load.json

The app runs in a process of its own, as `python app.py`. Every visitor's photos carry colours that no other photo has,
so that a photo which comes back to somebody else is found out.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks.reliability import figures
from benchmarks.reliability.app_client import AppClient
from benchmarks.reliability.app_process import AppProcess
from benchmarks.reliability.app_visitors import Tally, Visitor

SETTLE = 3.0
FLOOD_EVERY = 60.0
WITH_PHOTOS = ("small photo", "large photo", "several photos", "hostile name")


def main() -> None:
    """Load the app, and record what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--keep", type=float, default=90, metavar="SECONDS", help="how long the app keeps files")
    parser.add_argument("--queue", type=int, default=64, help="requests that may wait")
    parser.add_argument("--json", type=Path, default=figures.DEFAULT, metavar="PATH")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nrknet-load-") as temporary:
        folder = Path(temporary)
        app = AppProcess(folder, keep_seconds=args.keep, queue=args.queue)
        try:
            result = asyncio.run(load(app, clients=args.clients, seconds=60 * args.minutes, keep=args.keep))
        finally:
            code = app.end()
        result |= {"exit code on SIGTERM": code, "files left after SIGTERM": len(app.visitors_files())}
        result["files left after SIGKILL and a new start"] = after_a_kill(folder, args.keep)
    figures.record("app_load", result, args.json)
    for name, value in result.items():
        print(f"{name}: {value}")


async def load(app: AppProcess, *, clients: int, seconds: float, keep: float) -> dict[str, Any]:
    """Figures of a warm-up, the load, and the time after it."""
    await one_of_each(app, Tally())
    await settle(app, keep)
    start, tally, peak = app.megabytes(), Tally(), Peak(app)
    async with AsyncExitStack() as stack:
        connected = [await stack.enter_async_context(AppClient(app.url)) for _ in range(clients + 1)]
        visitors = [Visitor(client, number, tally) for number, client in enumerate(connected, start=1)]
        until = time.monotonic() + seconds
        watch, flood = asyncio.create_task(peak.watch()), asyncio.create_task(floods(visitors.pop(), until))
        await asyncio.gather(flood, *(visitor.visit(until) for visitor in visitors))
        watch.cancel()
    files = len(app.visitors_files())
    await settle(app, keep)
    after = app.megabytes()
    failures = tracebacks(app.log.read_text())
    waits = sorted(tally.seconds) or [0.0]
    return {
        "clients": clients, "minutes": seconds / 60, "seconds that files are kept": keep,
        "requests": {kind: dict(outcomes) for kind, outcomes in sorted(tally.outcomes.items())},
        "requests in all": sum(outcomes.total() for outcomes in tally.outcomes.values()),
        "photos that came back to their own visitor": sum(tally.outcomes[kind]["done"] for kind in WITH_PHOTOS),
        "photos that came back to another": tally.wrong_photos,
        "files of others or of the server that were given away": tally.count("leaked"),
        "unexpected errors": len(tally.problems) + len(failures), "examples of them": [*tally.problems, *failures][:10],
        "crashes": int(not app.is_alive), "answers that the queue is full": tally.count("full"),
        "seconds, median": round(statistics.median(waits), 2), "seconds, worst": round(waits[-1], 2),
        "memory before, MB": round(start), "memory at its most, MB": round(peak.most), "memory after, MB": round(after),
        "memory after / before": round(after / start, 3),
        "files before the clearing": files, "files after it": len(app.visitors_files()),
    }  # fmt: skip


def tracebacks(log: str) -> list[str]:
    """The end of each traceback in the app's log: its last call, and the error."""
    found = []
    for part in log.split("Traceback (most recent call last):")[1:]:
        lines = part.splitlines()
        end = next((i for i, line in enumerate(lines) if line and not line.startswith(" ")), len(lines) - 1)
        found.append(" ".join(line.strip() for line in lines[max(0, end - 3) : end + 1])[:400])
    return found


class Peak:
    """The most memory that the app has held."""

    def __init__(self, app: AppProcess) -> None:
        self._app, self.most = app, 0.0

    async def watch(self) -> None:
        """Look, again and again."""
        while True:
            self.most = max(self.most, await asyncio.to_thread(self._app.megabytes))
            await asyncio.sleep(0.5)


async def one_of_each(app: AppProcess, tally: Tally) -> None:
    """One request of every kind, small photos from four visitors at once: then all is loaded that is loaded once."""
    async with AppClient(app.url) as client:
        visitors = [Visitor(client, number, tally) for number in range(1001, 1005)]
        for name in visitors[0].actions:
            await visitors[0].do(name)
        await asyncio.gather(*(visitor.do("small photo") for visitor in visitors))
    if tally.problems:
        raise RuntimeError(f"the app fails without any load: {tally.problems}")


async def floods(visitor: Visitor, until: float) -> None:
    """More requests at once than may wait, from time to time."""
    while True:
        await visitor.flood()
        if time.monotonic() + FLOOD_EVERY >= until:
            return
        await asyncio.sleep(FLOOD_EVERY)


async def settle(app: AppProcess, keep: float) -> None:
    """Wait until nothing is left to do, and files have been cleared away."""
    while app.waiting:
        await asyncio.sleep(0.5)
    await asyncio.sleep(keep + 2 * min(60, keep / 4) + SETTLE)


def after_a_kill(folder: Path, keep: float) -> int:
    """Visitors' files that are left when the app is killed, and started again."""
    killed = AppProcess(folder, keep_seconds=keep)
    try:
        asyncio.run(one_of_each(killed, Tally()))
    finally:
        killed.end(signal.SIGKILL)
    left = len(killed.visitors_files())
    again = AppProcess(folder, keep_seconds=keep)
    try:
        remaining = len(again.visitors_files())
    finally:
        again.end()
    if not left:
        raise RuntimeError("the killed app had no files; nothing was tried")
    return remaining


if __name__ == "__main__":
    main()
