"""How long the analysis app takes from a key pressed on a slider to the figure it changes, in Chromium.

python benchmarks/analysis_app.py --presses 20 --json benchmarks/results/analysis_app.json

Both run on this machine. A press is timed in the page: from the key's event to the first frame in which the figure is
another, drawing included. Sliders go back and forth by one step, on the largest of the example photos.
"""

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

APP = Path(__file__).parent.parent / "demo" / "analysis.py"
PHOTO = "Motorcycle"
SLIDERS = (
    ("Atoms", "Atom j", "atom", None),
    ("Pixel kernels", "Row", "kernel", None),
    ("Coefficients", "Atom j", "coefficient", None),
    ("Neumann series", "Power k", "term", "t = 3, 1/4"),
    ("Reblur", "Amplification", "amplified", None),
)
"""Panel, slider, the figure that it changes, and a button to press first."""
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
# What a figure shows is an image, which may lie in a component's own tree. Nothing runs between the key and the change.
WATCH = """(figure) => {
  const all = (root) => [...root.querySelectorAll("*")].flatMap((e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
  const place = document.querySelector(`.st-key-chart-${figure}`);
  const image = () => all(place).find((e) => e.tagName === "IMG");
  const before = image().src;
  window.took = null;
  addEventListener("keydown", (event) => {
    const look = async () => {
      const now = image();
      if (window.took !== null || !now || now.src === before) return;
      watch.disconnect();
      await now.decode();
      requestAnimationFrame(() => { window.took = performance.now() - event.timeStamp; });
    };
    const watch = new MutationObserver(look);
    const what = { subtree: true, childList: true, attributes: true, attributeFilter: ["src"] };
    for (const root of [place, ...all(place).map((e) => e.shadowRoot).filter(Boolean)]) watch.observe(root, what);
  }, { capture: true, once: true });
}"""


def chromium() -> str | None:
    """Where a Chromium is."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def serve() -> Iterator[str]:
    """The app as `streamlit run` starts it, on a free port: its address."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.headless=true", f"--server.port={port}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url, deadline = f"http://localhost:{port}", time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=5).read()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def press(page: Any, slider: Any, figure: str, key: str) -> float:
    """Milliseconds from a key to the changed figure."""
    page.evaluate(WATCH, figure)
    slider.press(key)
    return float(page.wait_for_function("window.took", timeout=30_000, polling=100).json_value())


def measure(page: Any, url: str, presses: int) -> list[dict[str, Any]]:
    """Each slider's times."""
    rows = []
    for view, label, figure, button in SLIDERS:
        page.goto(f"{url}/?{urlencode({'view': view, 'photo': PHOTO})}")
        page.locator(f".st-key-chart-{figure} img").first.wait_for(timeout=180_000)
        page.wait_for_timeout(2000)
        if button:
            page.get_by_role("radio", name=button).click()
            page.wait_for_timeout(2000)
        slider = page.locator(f'input[type=range][aria-label="{label}"]')
        slider.press("Home")  # so that there is a step to the right
        page.wait_for_timeout(2000)
        took = []
        for number in range(presses + 2):
            took.append(press(page, slider, figure, ("ArrowRight", "ArrowLeft")[number % 2]))
            page.wait_for_timeout(200)
        took = took[2:]  # the first visits to both positions
        row = {"panel": view, "slider": label, "median_ms": statistics.median(took), "worst_ms": max(took)}
        rows.append({name: round(v) if isinstance(v, float) else v for name, v in row.items()})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presses", type=int, default=20)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with serve() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        rows = measure(page, url, args.presses)
        version = browser.version
        browser.close()
    from importlib.metadata import version as installed

    machine = {
        "processor": platform.machine(), "cores": len(os.sched_getaffinity(0)), "python": platform.python_version(),
        "streamlit": installed("streamlit"), "plotly": installed("plotly"), "chromium": version,
    }  # fmt: skip
    if args.json:
        content = {"machine": machine, "photo": PHOTO, "presses": args.presses, "sliders": rows}
        args.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
