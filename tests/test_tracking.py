"""A run's records go on after an interruption as if there had been none."""

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nrknet.tracking import Tracker

event_accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is not installed"
)


def curves(folder: Path) -> Any:
    events = event_accumulator.EventAccumulator(str(folder / "tensorboard"))
    return events.Reload()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_values_become_lines_and_curves_each_term_under_its_name(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, step=0)
    for step in (1, 50):
        tracker.steps(step, 1.25, {"loss": 0.5 * step, "rate": 0.1, "gain_db": 0.2, "mse": 0.25, "crops_per_s": 3.0})
    tracker.scores(50, 2.0, {"psnr": 30.5}, [torch.full((3, 8, 16), 0.5), torch.zeros(3, 8, 16)])
    tracker.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 50, 50]
    assert lines(tmp_path)[0]["mse"] == 0.25 and lines(tmp_path)[2]["validation"] == {"psnr": 30.5}
    seen = curves(tmp_path)
    assert set(seen.Tags()["scalars"]) == {
        "loss/total", "loss/mse", "train/rate", "train/gain_db", "train/crops_per_s", "validation/psnr",
    }  # fmt: skip
    assert [(e.step, e.value) for e in seen.Scalars("loss/total")] == [(1, 0.5), (50, 25.0)]
    assert seen.Tags()["images"] == ["validation/crop 0", "validation/crop 1"]
    picture = seen.Images("validation/crop 0")[0]
    assert (picture.step, picture.width, picture.height) == (50, 16, 8)


def test_after_an_interruption_curves_and_lines_go_on_from_the_checkpoint(tmp_path: Path) -> None:
    first = Tracker(tmp_path, step=0)
    for step in (1, 50, 100):
        first.steps(step, 1.0, {"loss": 1.0})
    first.close()
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 1')  # killed while writing
    second = Tracker(tmp_path, step=60)
    for step in (100, 150):
        second.steps(step, 2.0, {"loss": 2.0})
    second.close()
    expected = [(1, 1.0), (50, 1.0), (100, 2.0), (150, 2.0)]
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == expected
    assert [(e.step, e.value) for e in curves(tmp_path).Scalars("loss/total")] == expected


@pytest.mark.parametrize("spoilt", [b'{"step": 1', b"\xff\0\0\0\n", b"7\n", b"{}\n"])
def test_lines_that_are_cut_short_or_no_records_are_dropped(spoilt: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n' + spoilt)
    Tracker(tmp_path, step=5).steps(6, 1.0, {})
    assert [line["step"] for line in lines(tmp_path)] == [1, 6]


def test_a_line_without_its_end_is_not_joined_with_the_next(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1}\n{"step": 2}')
    Tracker(tmp_path, step=2).steps(3, 1.0, {})
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]


def test_a_validation_that_no_checkpoint_knows_of_is_dropped(tmp_path: Path) -> None:
    first = Tracker(tmp_path, step=0)
    for step in (1, 2):
        first.steps(step, 1.0, {"loss": 1.0})
        first.scores(step, 1.0, {"psnr": 20.0}, [])
    first.close()
    Tracker(tmp_path, step=2, validated=1)
    assert [(line["step"], "validation" in line) for line in lines(tmp_path)] == [(1, False), (1, True), (2, False)]


def test_a_step_that_is_left_out_is_a_line_and_a_point(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, step=0)
    tracker.skipped(3, 1.5, "the loss is nan")
    tracker.close()
    assert lines(tmp_path) == [{"step": 3, "seconds": 1.5, "skipped": "the loss is nan"}]
    assert [e.step for e in curves(tmp_path).Scalars("train/skipped")] == [3]


def test_nothing_is_written_before_there_is_something_to_record(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, step=0)
    tracker.close()
    assert not list(tmp_path.iterdir())
    tracker.describe({"seed": 3})
    assert json.loads((tmp_path / "run.json").read_text()) == {"seed": 3} and len(list(tmp_path.iterdir())) == 1


def test_without_tensorboard_the_lines_are_written_and_one_message_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = builtins.__import__

    def hidden(name: str, *rest: Any) -> Any:
        if "tensorboard" in name:
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", hidden)
    with caplog.at_level("INFO"):
        tracker = Tracker(tmp_path, step=0)
        for step in (1, 50):
            tracker.steps(step, 1.0, {"loss": 1.0})
        tracker.scores(50, 1.0, {"psnr": 20.0}, [])
        tracker.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 50, 50]
    assert len(caplog.messages) == 1 and "no TensorBoard here" in caplog.messages[0]
    assert not (tmp_path / "tensorboard").exists()
