"""nrknet train: what it makes, what it shows meanwhile, and how it exits."""

import re
import sys
from pathlib import Path

import pytest
from commandline import files_in, save_photo

from nrknet import cli


def test_train_makes_a_network_that_deblur_takes(
    photos: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(4):
        save_photo(tmp_path / "sharp" / f"{i}.png", size=(200, 200), seed=i)
    run = tmp_path / "run"
    options = ["--preset", "lite", "--recipe", "smoke", "--steps", "1", "--device", "cpu", "--out", str(run)]
    assert cli.main(["train", "--data", str(tmp_path / "sharp"), *options]) == 0
    found = re.search(r"--model (.+)\n", capsys.readouterr().out)
    assert found is not None
    assert cli.main(["deblur", str(photos / "one.png"), "-o", str(out), "--model", found[1]]) == 0
    assert files_in(out) == ["one.png"]


@pytest.mark.parametrize("option", ["--preset", "--variant", "--recipe"])
def test_train_lists_the_known_names_for_an_unknown_one(
    option: str, photos: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(photos), "--out", str(out), "--steps", "1", "--device", "cpu"]
    assert cli.main(["train", *arguments, option, "no-such-name"]) == 2
    error = capsys.readouterr().err
    assert "no-such-name" in error and "known" in error and "Traceback" not in error


def test_train_without_data_exits_with_2(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--data", str(tmp_path / "gone"), "--out", str(out)]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_train_takes_pairs_and_shows_a_line_where_nobody_watches(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("nrknet.progress.LINE_EVERY", 0.0)
    for photo in pairs.rglob("*.png"):
        save_photo(photo, size=(80, 70), seed=int(photo.stem))
    options = ["--dataset", "pairs", "--preset", "lite", "--recipe", "smoke", "--steps", "2", "--device", "cpu"]
    with caplog.at_level("INFO"):
        assert cli.main(["train", "--data", str(pairs), *options, "--out", str(tmp_path / "run")]) == 0
    lines = [message for message in caplog.messages if message.startswith("step ") and "left" in message]
    assert len(lines) == 2
    assert re.fullmatch(r"step 2, loss \d\.\d{5}, gain [+-]\d\.\d\d dB, \d+\.\d crops/s, 00:00 left", lines[1])


def test_train_with_a_bar_says_step_loss_gain_speed_and_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(2):
        save_photo(tmp_path / "sharp" / f"{i}.png", size=(90, 90), seed=i)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    options = ["--recipe", "smoke", "--steps", "1", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert cli.main(["train", "--data", str(tmp_path / "sharp"), *options]) == 0
    assert re.search(r"step 1, loss .*, gain .* dB, .* crops/s, .* left.*100%", capsys.readouterr().err)


def test_train_names_a_damaged_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(2):
        save_photo(tmp_path / "sharp" / f"{i}.png", size=(90, 90), seed=i)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"PK\x03\x04 cut short")
    options = ["--recipe", "smoke", "--steps", "1", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert cli.main(["train", "--data", str(tmp_path / "sharp"), *options]) == 2
    complaints = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nrknet: ")]
    assert len(complaints) == 1 and "checkpoint.pt is damaged or cut short" in complaints[0]


def test_a_push_that_fails_after_training_leaves_the_network_and_says_how_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise ValueError("the Hub is out for lunch")

    monkeypatch.setattr("nrknet.hub.get_token", lambda: "token")
    monkeypatch.setattr("nrknet.hub.push_folder", fail)
    for i in range(2):
        save_photo(tmp_path / "sharp" / f"{i}.png", size=(90, 90), seed=i)
    options = ["--recipe", "smoke", "--steps", "1", "--device", "cpu", "--push-to-hub", "me/net"]
    run = tmp_path / "run"
    assert cli.main(["train", "--data", str(tmp_path / "sharp"), *options, "--out", str(run)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "out for lunch" in last and f"`nrknet push {run / 'model'} --repo me/net` tries again" in last
    assert (run / "model" / "model.safetensors").is_file()
