"""Stored scores are read back as they were written, and only those of the network in question."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from networks import one_line
from score_files import write_scores

from nrknet.scores import ImageScores, Scores
from nrknet.stored import find_scores, read_scores


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    return tmp_path / "net"


def test_scores_are_read_as_they_were_written(folder: Path) -> None:
    [found] = find_scores(folder, "me/x", [write_scores(folder.parent / "dpdd_net.json")])
    assert (found.photos, found.model, found.protocol, found.count) == ("dpdd", "net", "papers", 2)
    assert found.mean["psnr_input"] == 20 and found.mean["psnr"] == 21
    assert found.mean["lpips"] is None and found.environment == {"device": "cpu"}


def test_scores_in_the_folder_and_named_ones_are_found_in_the_order_of_their_names(folder: Path) -> None:
    write_scores(folder / "results" / "b.json")
    other = write_scores(folder.parent / "a.json")
    assert [each.path.name for each in find_scores(folder, "me/x", [other])] == ["a.json", "b.json"]
    assert [each.photos for each in find_scores(folder, "me/x", [other, other])] == ["a", "b"]


@pytest.mark.parametrize("model", ["net", "me/x", "x", "me/x@v1", "{folder}", "{folder}/"])
def test_scores_count_when_they_name_the_network_in_any_way(folder: Path, model: str) -> None:
    path = write_scores(folder.parent / "a.json", model=model.format(folder=folder))
    assert len(find_scores(folder, "me/x", [path])) == 1


@pytest.mark.parametrize("model", ["lite", "default", "me/y", "other/net", "{folder}2"])
def test_scores_of_another_network_are_refused(folder: Path, model: str) -> None:
    path = write_scores(folder.parent / "a.json", model=model.format(folder=folder))
    with pytest.raises(ValueError, match="holds scores of .*, not of") as caught:
        find_scores(folder, "me/x", [path])
    assert str(path) in one_line(caught.value)


def test_two_files_of_one_name_are_refused(folder: Path) -> None:
    write_scores(folder / "results" / "a.json")
    with pytest.raises(ValueError, match="have the same name"):
        find_scores(folder, "me/x", [write_scores(folder.parent / "a.json")])


CHANGES: dict[str, Any] = {
    "protocol": "secret",
    "model": 3,
    "images": [],
    "mean": {"psnr": "high"},
    "environment": None,
}


@pytest.mark.parametrize("key", CHANGES)
def test_what_is_no_stored_scores_is_one_line_that_names_the_file(folder: Path, key: str) -> None:
    path = write_scores(folder / "a.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), key: CHANGES[key]}))
    with pytest.raises(ValueError) as caught:
        read_scores(path)
    assert str(path) in one_line(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", "{}", "[" * 100_000])
def test_any_other_json_is_one_line_too(folder: Path, content: str) -> None:
    path = folder / "a.json"
    path.write_text(content)
    with pytest.raises(ValueError) as caught:
        read_scores(path)
    assert str(path) in one_line(caught.value)
    with pytest.raises(ValueError):
        read_scores(folder / "none.json")


def test_infinite_scores_are_read_as_not_defined(folder: Path) -> None:
    path = folder / "a.json"
    image = ImageScores("a", {"psnr": math.inf, "ssim_uniform": 1.0}, {"psnr": 50.0, "ssim_uniform": 1.0}, 0.1)
    path.write_text(Scores("papers", "net", (image,)).to_json())
    assert read_scores(path).mean["psnr_input"] is None and read_scores(path).mean["psnr"] == 50
