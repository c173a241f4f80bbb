"""The page about reliability says what was measured."""

import json
from pathlib import Path

import pytest

from benchmarks.reliability import figures, table

NAMES = sorted(path.stem for path in Path(table.__file__).parent.glob("*.py"))


def test_the_table_on_the_page_is_that_of_the_figures() -> None:
    made = table.make_table(json.loads(figures.DEFAULT.read_text(encoding="utf-8")))
    page = table.PAGE.read_text(encoding="utf-8")
    assert table.with_table(page, made) == page


def test_another_table_takes_the_place_of_the_old_one_and_nothing_else() -> None:
    page = f"above\n{table.BEGIN}\n\nold\n\n{table.END}\nbelow\n"
    assert table.with_table(page, "new") == f"above\n{table.BEGIN}\n\nnew\n\n{table.END}\nbelow\n"


@pytest.mark.parametrize("name", sorted(table.SECTIONS))
def test_every_section_has_the_script_that_measures_it(name: str) -> None:
    assert name in NAMES
    assert f"python -m benchmarks.reliability.{name}" in table.PAGE.read_text(encoding="utf-8")


def test_one_section_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    figures.record("one", {"kills": 3}, path)
    figures.record("two", {"kills": 4}, path)
    figures.record("one", {"kills": 5}, path)
    found = json.loads(path.read_text())
    assert (found["one"]["kills"], found["two"]["kills"]) == (5, 4)
    assert found["one"]["measured"]["versions"].keys() >= {"nrknet", "torch"}
