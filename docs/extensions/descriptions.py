"""Gives each page the description that search engines show under its title: the beginning of its first paragraph."""

import html
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

LONGEST = 200  # characters; search engines cut what is longer


def describe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Put the description among the tags of the page's head."""
    text = "" if doctree is None else description(doctree)
    if text:
        context["metatags"] += f'<meta name="description" content="{html.escape(text)}" />\n'


def description(doctree: nodes.document) -> str:
    """The first paragraph that is not inside a table or list, cut after a word."""
    for paragraph in doctree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.section | nodes.document):
            words = " ".join(paragraph.astext().split())
            return words if len(words) <= LONGEST else words[: LONGEST - 1].rsplit(" ", 1)[0] + "…"
    return ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect("html-page-context", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
