"""Stored evaluations as tables."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from demo.results import RESULTS, read_costs, read_evaluations, read_json, read_photos
from nrknet.complexity import complexity
from nrknet.config import VARIANTS
from nrknet.scores import ImageScores, Scores


def scores(psnr: float, *, names: tuple[str, ...] = ("a", "b")) -> Scores:
    images = tuple(
        ImageScores(name, {"psnr": 20.0, "ssim_uniform": 0.5}, {"psnr": psnr + i, "ssim_uniform": 0.6}, 0.25)
        for i, name in enumerate(names)
    )
    return Scores("papers", "lite", images, (1024, 683), {"torch": "2.9", "threads": 2})


def test_a_row_holds_the_means_the_environment_and_the_number_of_photos(tmp_path: Path) -> None:
    written = scores(21.0)
    (tmp_path / "first.json").write_text(written.to_json())
    (tmp_path / "second.json").write_text(scores(23.0, names=("a", "b", "c")).to_json())
    table = read_evaluations(tmp_path).set_index("name")
    assert list(table.index) == ["first", "second"] and list(table["photos"]) == [2, 3]
    assert table.loc["first", "psnr"] == written.mean["psnr"] == 21.5
    assert table.loc["first", ["model", "protocol", "resize", "torch", "threads"]].tolist() == [
        "lite", "papers", "1024x683", "2.9", 2,
    ]  # fmt: skip
    assert math.isnan(table.loc["first", "lpips"])


def test_photos_are_rows_of_their_own_whose_mean_is_the_evaluations(tmp_path: Path) -> None:
    (tmp_path / "first.json").write_text(scores(21.0).to_json())
    photos = read_photos(tmp_path)
    assert list(photos["photo"]) == ["a", "b"] and list(photos["psnr"]) == [21.0, 22.0]
    assert photos["psnr_input"].tolist() == [20.0, 20.0]


def test_files_of_other_benchmarks_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "tiles.json").write_text('{"model": "lite", "rows": []}')
    assert read_evaluations(tmp_path).empty and read_photos(tmp_path).empty


def test_the_photos_in_the_repository_have_the_means_that_are_stored_beside_them() -> None:
    evaluations, photos = read_evaluations().set_index("name"), read_photos()
    assert {json.loads(p.read_text()).get("protocol") for p in RESULTS.glob("*_lite.json")} == set(evaluations.protocol)
    for name, of_one in photos.groupby("name"):
        assert len(of_one) == evaluations.loc[name, "photos"]
        for metric in ("psnr", "lpips", "sharpening"):
            if not math.isnan(mean := evaluations.loc[name, metric]):
                assert of_one[metric].mean() == pytest.approx(mean, abs=2e-5)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "holds a list"),
        ('{"protocol": "papers", "model": "lite"}', "lacks environment, mean, images"),
        ('{"protocol": "papers", "model": "", "environment": {}, "mean": {}, "images": [{"name": "a"}]}', "an image"),
    ],
)
def test_a_broken_file_is_named_in_one_line(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "broken.json").write_text(content)
    with pytest.raises(ValueError, match=says) as caught:
        read_evaluations(tmp_path)
    assert "broken.json" in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_folder_or_file_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        read_evaluations(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="none.json: no such file"):
        read_json(tmp_path / "none.json")


def test_costs_are_found_by_preset_or_variant_and_say_where_they_were_measured(tmp_path: Path) -> None:
    path = tmp_path / "complexity.json"
    command = [sys.executable, "-m", "benchmarks.complexity", "--models", "lite", "--variants", "2Scales"]
    command += ["--size", "48x32", "--repeats", "1", "--json", str(path)]
    subprocess.run(command, cwd=Path(__file__).parent.parent, check=True, capture_output=True)
    costs, where = read_costs(path)
    assert list(costs.index) == ["lite", "2Scales"] and (costs["seconds"] > 0).all()
    assert costs.loc["2Scales", "total_macs"] == complexity(VARIANTS["2Scales"], height=32, width=48).total_macs
    assert "48x32 pixels on cpu" in where
    path.write_text('{"networks": []}')
    with pytest.raises(ValueError, match="complexity.json is not what .* no 'repeats'"):
        read_costs(path)
