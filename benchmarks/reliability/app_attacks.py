"""What should get nobody anything from the app: paths of files that are not for them, inputs that make no sense."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from benchmarks.reliability.app_client import API, uploaded

HOSTILE_NAMES = (
    "../../../escape.png", "..", "a\0b.png", "n" * 300 + ".png", "\N{LATIN SMALL LETTER E WITH ACUTE}" * 200 + ".png",
    "<img src=x onerror=alert(1)>.png", "\"'><script>alert(1)</script>.png", ".hidden.png", "con.png", "\n.png",
    "[x](javascript:alert(1)).png", "%2e%2e%2fescape.png",
)  # fmt: skip


def forbidden_addresses(own: str) -> list[str]:
    """Addresses that must not be answered with a file.

    Args:
        own: path of a file that the attacker uploaded, which tells where others' lie.
    """
    served = PurePosixPath(own).parent.parent
    server = (
        "/etc/passwd", "/proc/self/environ", "/proc/self/cmdline", "../../../../etc/passwd", "app.py", "./app.py",
        "README.md", "demo/gate.py", ".git/config", "nrknet/__init__.py", "/tmp", "/", "", ".", "~/.bashrc",
        "file:///etc/passwd", "http://127.0.0.1:1/x", "HTTP://127.0.0.1:1/x", "https://example.com/x", "//etc/passwd",
        "/dev/zero", "/dev/stdin",
    )  # fmt: skip
    others = (
        str(served), f"{served}/", f"{served}/.", f"{served}/..", f"{served.parent}/lock", f"{served.parent}/restored",
        f"{served.parent}/examples/cat.png", f"{served}/../lock", f"{served}/../restored", f"{served}/%2e%2e/lock",
        f"{served}/../examples/cat.png", str(PurePosixPath(own).parent), f"{served}/{'0' * 64}/photo.png",
        f"{served}/*/photo.png", f"{own}/../../../lock", f"{served}/../../../etc/passwd",
    )  # fmt: skip
    files = [quote(path, safe="/:") for path in (*server, *others)]
    twice = [quote(quote(path, safe=""), safe="") for path in (*server[:4], *others[:8])]
    routes = [
        "/static/..%2f..%2f..%2f..%2fetc%2fpasswd", "/assets/..%2f..%2froutes.py", "/svelte/..%2f..%2froutes.py",
        "/static/%2fetc%2fpasswd", "/theme.css/../../app.py", f"{API}/proxy=http://127.0.0.1:1/", "/monitoring",
        f"{API}/proxy=https://example.com/", f"{API}/custom_component/html/client/..%2f/app.py", f"{API}/vibe-code",
        f"{API}/stream/a/b/1/playlist-file", f"{API}/stream/..%2f..%2fetc/passwd/1/x.mp4", "/monitoring/summary",
        f"{API}/deep_link?session_hash=x", f"{API}/run-history/buckets", f"{API}/runs", f"{API}/dev/reload",
        f"{API}/file/etc/passwd", f"{API}/file/http://127.0.0.1:1/", "/pwa_icon/..%2fapp.py", "/app.py", "/.git/config",
    ]  # fmt: skip
    return [*(f"{API}/file={path}" for path in (*files, *twice)), *routes]


def is_leak(status: int, body: bytes) -> bool:
    """Whether an answer gives away what it should not: any success but the page and its own empty answers."""
    return status < 300 or any(mark in body for mark in (b"root:", b"Traceback", b"import gradio", b"[core]"))


def foreign_files(own: str) -> list[Any]:
    """What to hand in as a photo so that the server reads a file that is not the visitor's, or fetches one."""
    served = PurePosixPath(own).parent.parent
    paths = (
        "/etc/passwd", "app.py", "../app.py", f"{served}/../examples/cat.png", f"{served}/../lock", str(served), "",
        "/proc/self/environ", "\0", "a" * 5000, "file:///etc/passwd", "/dev/zero", "http://127.0.0.1:1/x.png",
        "https://127.0.0.1:1/x.png", "HTTP://127.0.0.1:1/x.png", "ftp://127.0.0.1/x.png", f"{own}/../../../lock",
    )  # fmt: skip
    return [*map(uploaded, paths), {"path": own}, {"path": "/etc/passwd"}, "/etc/passwd", own, [uploaded(own)]]


def wrong_inputs(own: str) -> list[tuple[str, list[Any]]]:
    """Endpoint and inputs, each to be refused in one sentence.

    Args:
        own: path of a photo that was uploaded.
    """
    photo = uploaded(own)
    usual = [photo, "default", "auto", 1, 3]
    changes: list[tuple[int, Any]] = [
        *((1, model) for model in ("/etc", "owner/name", "../nrknet", ["default"], {"a": 1}, 7, "x" * 10_000)),
        *((2, precision) for precision in ("half", "", 7, ["auto"])),
        *((3, strength) for strength in (-1, 2, 1e308, "NaN", "abc", "", [1], {"a": 1}, 10**30)),
        *((4, terms) for terms in (-1, 0, 4, 1.5, 10**30, "x", [3])),
        *((0, file) for file in (7, True, "x", {}, [], {"path": None}, None, *foreign_files(own))),
    ]
    changed = [("deblur", [*usual[:at], value, *usual[at + 1 :]]) for at, value in changes]
    places = [(-1, 0), (0, -1), (10**9, 0), (10**30, 10**30), ("a", "b"), (None, 0), ([0], 0), (1e300, 0)]
    return [
        *changed,
        *(("kernel", [photo, row, column, "default", "auto"]) for row, column in places),
        *(("refocus", [photo, *place, 1, "default", "auto", 1, 3]) for place in places[:4]),
        *(("refocus", [photo, 1, 1, aperture, "default", "auto", 1, 3]) for aperture in (-1, 99, "x", None)),
        *(("deblur", data) for data in ([], [photo], [photo] * 9)),
        *(("deblur_many", [photos, *usual[1:]]) for photos in ([], None, photo, foreign_files(own)[:1], [photo] * 101)),
        *(("example", [name]) for name in ("Dog", "", 7, None, {"a": 1}, "../cat", "x" * 10_000)),
        ("nothing", []),
    ]  # fmt: skip
