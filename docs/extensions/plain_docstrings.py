"""Docstrings are plain text with code in single backticks; this makes reStructuredText of them that says the same."""

import re
from typing import Any

from sphinx.application import Sphinx

MARKS = re.compile(r"(?<!`)`([^`]+)`(?!`)|\|")  # code; and bars of a norm, to reStructuredText a substitution's
RETURNS = re.compile(r"^Returns:\n\s+", re.MULTILINE)  # all of it text: the type is in the signature


def translate(app: Sphinx, what: str, name: str, item: object, options: object, lines: list[str]) -> None:
    """Make the lines of a docstring reStructuredText, in place."""
    text = MARKS.sub(lambda found: f"``{found[1]}``" if found[1] else r"\|", "\n".join(lines))
    lines[:] = RETURNS.sub(r":returns: ", text).split("\n")


def skip_fields(app: Sphinx, what: str, name: str, item: Any, skip: bool, options: object) -> bool | None:
    """Leave out fields of named tuples, which their class describes."""
    return True if (getattr(item, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx; the translation comes before that of Args and Returns, whose priority is 500."""
    app.connect("autodoc-process-docstring", translate, priority=400)
    app.connect("autodoc-skip-member", skip_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
