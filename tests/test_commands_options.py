"""Types of arguments, and checks of what was named, that commands share."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from nrknet.commands.options import check_folder, minutes_of_training, size, tile, whole_number
from nrknet.commands.outcome import UsageError


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (whole_number, "1", 1),
        (whole_number, "007", 7),
        (tile, "auto", "auto"),
        (tile, "512", 512),
        (size, "1024x683", (1024, 683)),
        (size, "16X16", (16, 16)),
        (minutes_of_training, "0.5", 0.5),
        (minutes_of_training, "1e3", 1000.0),
    ],
)
def test_arguments_are_read_as_their_types(kind: Callable[[str], object], text: str, value: object) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (whole_number, ["0", "-1", "1.5", "", "two", "1e3"]),
        (tile, ["0", "-160", "Auto", ""]),
        (size, ["640", "0x10", "15x16", "axb", "640x480x3", "-64x64", "x", ""]),
        (minutes_of_training, ["0", "-1", "nan", "inf", "an hour", ""]),
    ],
)
def test_what_is_no_value_of_a_type_is_refused(kind: Callable[[str], object], texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError, match="must be") as caught:
            kind(text)
        assert str(caught.value).endswith(f"got {text!r}")


def test_a_folder_for_results_is_made_and_left_empty(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")
    check_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a" / "b"] and not list((tmp_path / "a" / "b").iterdir())


def test_a_file_is_no_folder_for_results(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(UsageError, match="taken: is a file, not a folder"):
        check_folder(tmp_path / "taken")
