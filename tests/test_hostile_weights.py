"""Weights from somebody who means harm are refused in one sentence: nothing in them runs, and no memory is taken."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commandline import save_photo
from networks import one_line

from benchmarks.reliability import hostile
from nrknet import cli
from nrknet.checkpoint import CHECKPOINT_FILE, read_checkpoint
from nrknet.config import MAX_PARAMETERS, PRESETS
from nrknet.folder import CONFIG_FILE, WEIGHTS_FILE
from nrknet.model import NRKNet
from nrknet.tensorfile import MoreThanTensors, read_tensors
from nrknet.weights import load_model, save_model

ROOT = Path(__file__).parent.parent


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.mark.parametrize("name", hostile.pickles(Path("canary")))
def test_the_traps_are_working_ones(name: str, canary: Path) -> None:
    pickle.loads(hostile.pickles(canary)[name])
    assert canary.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_the_traps_work_in_pytorchs_files_too(zipped: bool, canary: Path, tmp_path: Path) -> None:
    content = dict(hostile.that_run(canary))[f"exec, {'in a zip archive' if zipped else 'in an old file'}"]
    (tmp_path / "weights.pth").write_bytes(content)
    torch.load(tmp_path / "weights.pth", weights_only=False)
    assert canary.exists()


@pytest.mark.slow
def test_every_hostile_file_is_refused_by_everything_that_reads_weights_and_takes_no_memory(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.reliability.hostile", "--json", str(figures)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())["hostile"]
    assert found["ran"] == [] and found["loaded"] == [] and found["otherwise"] == {}
    assert found["refused"] == found["tried"] > 250
    assert found["most_megabytes"] < 100  # some ask for a gigabyte, one for four thousand


COMMANDS: dict[str, Callable[[str, Path], list[str]]] = {
    "deblur": lambda model, folder: ["deblur", str(folder / "photo.png"), "-o", str(folder / "out"), "--model", model],
    "convert": lambda model, folder: ["convert", model, str(folder / "converted")],
    "export": lambda model, folder: ["export", model, "--onnx", str(folder / "network.onnx")],
    "evaluate": lambda model, folder: [
        "evaluate", "--dataset", "pairs", "--root", str(folder / "pairs"), "--model", model
    ],
    "train --init": lambda model, folder: [
        "train", "--data", str(folder / "pairs" / "target"), "--out", str(folder / "run"), "--steps", "1",
        "--init", model, "--device", "cpu",
    ],
    "train --curator": lambda model, folder: [
        "train", "--data", str(folder / "pairs" / "target"), "--out", str(folder / "run"), "--steps", "1",
        "--curator", model, "--device", "cpu",
    ],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["system, protocol 2, in a zip archive", "exec, in an old file", "a tar archive"])
def test_no_command_runs_what_is_in_a_weights_file(
    command: str, name: str, canary: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_photo(tmp_path / "photo.png")
    (tmp_path / "weights.pth").write_bytes(dict(hostile.that_run(canary))[name])
    assert cli.main(COMMANDS[command](str(tmp_path / "weights.pth"), tmp_path)) in (1, 2)
    said = capsys.readouterr().err
    assert "weights.pth" in said and said.strip().count("\n") == 0 and "Traceback" not in said
    assert not canary.exists()


def test_a_push_of_a_folder_with_a_pickle_for_weights_is_refused(canary: Path, tmp_path: Path) -> None:
    from nrknet.card import model_card

    save_model(NRKNet(PRESETS["lite"]), tmp_path)
    (tmp_path / WEIGHTS_FILE).write_bytes(hostile.pickles(canary)["exec"])
    with pytest.raises(ValueError) as caught:
        model_card(tmp_path, "me/net")
    assert WEIGHTS_FILE in one_line(caught.value) and not canary.exists()


def test_a_network_that_the_owner_of_the_app_names_runs_nothing(canary: Path, tmp_path: Path) -> None:
    from demo.restorer import load_deblurrer

    (tmp_path / "weights.pth").write_bytes(dict(hostile.that_run(canary))["exec, in a zip archive"])
    with pytest.raises(ValueError) as caught:
        load_deblurrer(str(tmp_path / "weights.pth"), "exact")
    assert "builtins.exec" in one_line(caught.value) and not canary.exists()


def test_what_a_file_asks_for_is_named(canary: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for _, content in (*hostile.that_run(canary), *hostile.that_take_memory()):
        path.write_bytes(content)
        with pytest.raises(ValueError):
            read_tensors(path)
    path.write_bytes(dict(hostile.that_take_memory())["an array of a gigabyte in twenty bytes"])
    with pytest.raises(MoreThanTensors, match=r"builtins\.bytearray"):
        read_tensors(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_and_plain_values_come_back_in_memory_of_their_own(zipped: bool, tmp_path: Path) -> None:
    path, halves = tmp_path / "state.pt", torch.arange(6, dtype=torch.bfloat16).view(2, 3).t()
    state = {"a": torch.arange(4.0), "b": [halves, (1, 2.5, "three", None, True)], "c": {"d": torch.tensor(7)}}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    found = read_tensors(path)
    path.write_bytes(b"")  # a mapped file would be gone
    assert torch.equal(found["a"], state["a"]) and torch.equal(found["b"][0], halves) and int(found["c"]["d"]) == 7
    assert found["b"][1] == (1, 2.5, "three", None, True)


def test_a_checkpoint_that_would_run_code_is_refused_by_name(canary: Path, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT_FILE).write_bytes(dict(hostile.that_run(canary))["a process, in a zip archive"])
    with pytest.raises(ValueError, match="holds more than tensors") as caught:
        read_checkpoint(tmp_path)
    assert CHECKPOINT_FILE in one_line(caught.value) and not canary.exists()


def test_shapes_are_compared_before_numbers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(NRKNet(PRESETS["lite"]), tmp_path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    (tmp_path / CONFIG_FILE).write_text(json.dumps({**config, "widths": [512, 512, 512]}))

    def read(*_: object) -> None:
        raise AssertionError("numbers were read")

    monkeypatch.setattr("safetensors.torch.load_file", read)
    with pytest.raises(ValueError, match="expected \\[512,"):
        load_model(tmp_path, device="cpu")


def test_a_stated_number_of_parameters_is_the_most_a_network_may_have(tmp_path: Path) -> None:
    save_model(NRKNet(PRESETS["lite"]), tmp_path)
    values = json.loads((tmp_path / CONFIG_FILE).read_text())
    for name, content in hostile.configurations(values):
        if name in ("a gigabyte of channels", "every value at its largest"):
            (tmp_path / CONFIG_FILE).write_bytes(content)
            with pytest.raises(ValueError, match=f"expected at most {MAX_PARAMETERS}"):
                load_model(tmp_path, device="cpu")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a permission there")
def test_a_folder_of_links_is_a_folder(tmp_path: Path) -> None:
    save_model(NRKNet(PRESETS["lite"]), tmp_path / "real")
    (tmp_path / "links").mkdir()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        (tmp_path / "links" / name).symlink_to(tmp_path / "real" / name)
    assert load_model(tmp_path / "links", device="cpu").config == PRESETS["lite"]
    (tmp_path / "links" / CONFIG_FILE).unlink()
    (tmp_path / "links" / CONFIG_FILE).symlink_to("/dev/zero")
    with pytest.raises(ValueError) as caught:
        load_model(tmp_path / "links", device="cpu")
    assert CONFIG_FILE in one_line(caught.value)
