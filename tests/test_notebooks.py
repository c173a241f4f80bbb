"""Every notebook runs from top to bottom and shows again what is stored in it."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="the notebooks need jupyter")
nbclient = pytest.importorskip("nbclient", reason="the notebooks need jupyter")

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXPECTED = {"table1_table2", "table3", "table4", "table5", "atoms", "neumann", "coefficients", "quickstart"}
MOST_BYTES = 2_000_000
NUMBER = re.compile(r"[-+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")
TIMES = "times"  # the tag of cells whose output is measured seconds
SHOWN = ("text/markdown", "text/plain")

Node = Any


def shown(cell: Node) -> str:
    """What a code cell shows, as text; pictures are named, not compared."""
    parts = []
    for output in cell.outputs:
        if output.output_type == "stream":
            parts.append(output.text)
        elif output.output_type in ("display_data", "execute_result"):
            kinds = [kind for kind in SHOWN if kind in output.data]
            parts += [output.data[kinds[0]]] if kinds else []
    return "\n".join(parts)


def code_cells(notebook: Node) -> list[Node]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def numbers(text: str) -> list[float]:
    return [float(n.replace(",", "").replace("−", "-")) for n in NUMBER.findall(text)]


def words(text: str) -> str:
    """The text without numbers, and without the white space that depends on how long they are."""
    return re.sub(r"[\s|:-]+", " ", NUMBER.sub("#", text)).strip()


def same(stored: str, found: str) -> bool:
    """Equal but for the rounding of numbers: another processor adds in another order."""
    a, b = numbers(stored), numbers(found)
    close = len(a) == len(b) and all(math.isclose(x, y, rel_tol=0.02, abs_tol=0.011) for x, y in zip(a, b, strict=True))
    return close and words(stored) == words(found)


def test_all_notebooks_are_there() -> None:
    assert {path.stem for path in NOTEBOOKS} == EXPECTED


def test_the_quickstart_has_the_ten_cells_that_it_promises() -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    assert "Ten cells of code" in notebook.cells[0].source and len(code_cells(notebook)) == 10


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_is_stored_in_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NRKNET_DATA", raising=False)
    stored = nbformat.read(path, as_version=4)
    fresh = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(fresh, timeout=300, resources={"metadata": {"path": str(path.parent)}})
    client.execute()
    for number, (old, new) in enumerate(zip(code_cells(stored), code_cells(fresh), strict=True), start=1):
        if TIMES not in old.metadata.get("tags", []):
            assert same(shown(old), shown(new)), f"cell {number} of {path.name} shows {shown(new)!r}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_with_its_outputs_light_and_in_order(path: Path) -> None:
    assert path.stat().st_size < MOST_BYTES
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {kind for cell in cells for output in cell.outputs for kind in output.get("data", {})}
    assert "image/png" in kinds  # figures that GitHub and exported pages show, offline as well
    assert not any("plotly" in kind or "javascript" in kind for kind in kinds)
    texts = "\n".join(shown(cell) for cell in cells)
    assert not re.search(r"(^|[\s'\"])/[a-z]+/|Warning|Error", texts)  # no path of a machine, nothing that went wrong


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_tells_and_does_not_compute(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    assert not re.search(r"^\s*(def|class) ", "\n".join(c.source for c in code_cells(notebook)), re.MULTILINE)


@pytest.mark.parametrize(
    ("stored", "found", "equal"),
    [
        ("psnr 24.871", "psnr 24.872", True),
        ("psnr 24.9 dB", "psnr  25.0 dB", True),
        ("psnr 24.9", "psnr 26.1", False),
        ("1,234 px", "1234 px", True),
        ("two 3", "three 3", False),
        ("PyTorch 2.13.0", "PyTorch 2.13.0", True),
        ("3 4", "3", False),
    ],
)
def test_outputs_are_compared_by_their_words_and_by_rounded_numbers(stored: str, found: str, equal: bool) -> None:
    assert same(stored, found) is equal
