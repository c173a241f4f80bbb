"""Warns of pages that make a browser ask another host for something: the documentation is to work offline."""

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

ADDRESS = r"""["']?((?:https?:)?//[^"'\s>)]+)"""
LOADED = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)\s*=\s*" + ADDRESS)
STYLED = re.compile(r"(?:url\(|@import)\s*" + ADDRESS)

log = logging.getLogger(__name__)


def check(app: Sphinx, problem: Exception | None) -> None:
    """Look at everything that was built; with -W a warning is an error."""
    if problem is None:
        for path in sorted(Path(app.outdir).rglob("*")):
            for address in outside_addresses(path):
                log.warning("%s makes a browser load %s", path.relative_to(app.outdir), address)


def outside_addresses(path: Path) -> list[str]:
    """What a browser would load from other hosts for a page or a style sheet; links to follow are not among it."""
    if path.suffix == ".html":
        return LOADED.findall(path.read_text(encoding="utf-8"))
    return STYLED.findall(path.read_text(encoding="utf-8")) if path.suffix == ".css" else []


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
