"""Which photos are found, and what their restored copies are called."""

from pathlib import Path

import pytest
from commandline import save_photo

from nrknet.batch import find_photos, plan


def test_a_photo_that_is_not_what_its_name_says_gets_the_right_suffix(tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "in"
    save_photo(folder / "a.png").rename(folder / "a.jpg")
    save_photo(folder / "b.bmp")
    jobs = plan(find_photos([folder], out)[0], out)
    assert [job.target.name for job in jobs] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("names", "results"),
    [
        (["a.png", "b.png"], ["a.png", "b.png"]),
        (["a.bmp", "a.png"], ["a_bmp.png", "a_png.png"]),
        (["x/a.png", "y/a.png"], ["x_a.png", "y_a.png"]),
        (["x/a.png", "y/a.png", "y/a.bmp"], ["x_a_png.png", "y_a_png.png", "y_a_bmp.png"]),
        (["x/1/a.png", "y/1/a.png"], ["x_1_a.png", "y_1_a.png"]),
        (["a.bmp", "a.png", "a_bmp.png"], ["a_bmp_2.png", "a_png.png", "a_bmp.png"]),
        (["a.png", "A.png"], ["a_png_2.png", "A_png.png"]),
    ],
)
def test_photos_that_would_share_a_name_each_keep_a_result(
    names: list[str], results: list[str], tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found, problems = find_photos([tmp_path / name for name in names], tmp_path / "out")
    if len(found) < len(names):
        pytest.skip("the file system takes capitals for small letters")
    jobs = plan(found, tmp_path / "out")
    assert not problems
    assert [str(job.target.relative_to(tmp_path / "out")) for job in jobs] == results
    again = plan(list(reversed(found)), tmp_path / "out")
    assert set(again) == set(jobs), "the names do not hang on the order"
