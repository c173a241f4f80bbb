"""What the documentation is made with, and the citation; `make test` builds all of the pages before the tests."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nrknet import __version__
from nrknet.cli import make_parser

pytest.importorskip("furo", reason="the documentation needs sphinx and furo")

DOCS = Path(__file__).parent.parent / "docs"
CONF = f"""
import runpy
globals().update(runpy.run_path({str(DOCS / "conf.py")!r}))
"""
INDEX = """
# A page

- a list

A first paragraph with `code`, 3 < 4 & more.

[A link](https://example.org) to follow.

```{toctree}
commands
```

```{eval-rst}
.. autofunction:: sample.norm
```
"""
COMMANDS = """
# Commands

```{command-help}
```
"""
SAMPLE = '''
def norm(x: float) -> float:
    """|x| and `y|z`.

    Args:
        x: any number.

    Returns:
        coefficients (K,), and the error: |x|.
    """
    return abs(x)
'''


def build(folder: Path, **pages: str) -> subprocess.CompletedProcess[str]:
    """Build a small documentation with the settings of ours."""
    (folder / "conf.py").write_text(CONF)
    (folder / "sample.py").write_text(SAMPLE)
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", ".", "built"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_pages_have_descriptions_the_help_of_every_command_and_docstrings_as_they_are_written(tmp_path: Path) -> None:
    done = build(tmp_path, index=INDEX, commands=COMMANDS)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "built" / "index.html").read_text()
    description = "A first paragraph with code, 3 &lt; 4 &amp; more."
    assert f'<meta name="description" content="{description}" />' in page
    assert "|x| and" in page and ">y|z<" in page and "coefficients (K,), and the error: |x|." in page
    commands = (tmp_path / "built" / "commands.html").read_text()
    for action in make_parser()._actions:
        for name, parser in (action.choices or {}).items() if isinstance(action.choices, dict) else ():
            assert f'id="nrknet-{name}"' in commands
            assert parser.format_usage().split()[1] in commands


@pytest.mark.slow
def test_a_page_that_loads_something_from_another_host_is_an_error(tmp_path: Path) -> None:
    done = build(tmp_path, index="# A page\n\n![A picture](https://example.org/badge.svg)\n")
    assert done.returncode != 0 and "index.html makes a browser load https://example.org/badge.svg" in done.stderr


def test_the_citation_is_of_this_version_and_of_the_paper() -> None:
    citation = yaml.safe_load((DOCS.parent / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["version"] == __version__
    paper = citation["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == ["Quan", "Wu", "Ji"] and paper["year"] == 2023
