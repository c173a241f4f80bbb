"""The directive `command-help`: what `nrknet COMMAND --help` says, for every command, asked of the program itself."""

import argparse
import os

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from nrknet.cli import make_parser

COLUMNS = "88"  # of the terminal that argparse is told it writes to


class CommandHelp(SphinxDirective):
    """A section for each command, with its help."""

    def run(self) -> list[nodes.Node]:
        """The sections, in the order of `nrknet --help`."""
        os.environ["COLUMNS"], os.environ["NO_COLOR"] = COLUMNS, "1"
        return [_section(f"nrknet {name}", parser.format_help()) for name, parser in _commands().items()]


def _commands() -> dict[str, argparse.ArgumentParser]:
    for action in make_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise ValueError("nrknet has no commands")


def _section(title: str, text: str) -> nodes.section:
    parts = (nodes.title(title, title), nodes.literal_block(text, text, language="text"))
    return nodes.section(text, *parts, ids=[nodes.make_id(title)], names=[title])


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
