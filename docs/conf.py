"""How Sphinx makes the documentation: `make docs`, then open build/docs/index.html. Nothing is fetched."""

import sys
from pathlib import Path

from nrknet import __version__

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "NRKNet"
author = "NRKNet contributors"
copyright = f"2026, {author}"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "command_help",
    "descriptions",
    "no_outside_requests",
    "plain_docstrings",
]
exclude_patterns = ["package.md"]  # what package indexes show; index.md includes it
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"NRKNet {release}"
html_show_sphinx = False
