"""nrknet export: the file it writes, what it refuses, and how it says so."""

import sys
from pathlib import Path

import pytest

from nrknet import cli
from nrknet.export import Exported


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str], *, status: int = 2) -> str:
    """The one line that a command that cannot work writes."""
    assert cli.main(["export", *arguments]) == status
    written = capsys.readouterr()
    assert not written.out and written.err.startswith("nrknet: ") and written.err.count("\n") == 1
    return written.err


def test_what_cannot_be_exported_is_refused_in_one_sentence(
    tmp_path: Path, out: Path, network: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(out / "net.onnx")
    assert "there is no model 'nonsense'" in complaint(["nonsense", "--onnx", file], capsys)
    assert "must end in .onnx" in complaint([network, "--onnx", str(out / "net.pt")], capsys)
    assert "opset must be a whole number from 18 to" in complaint([network, "--onnx", file, "--opset", "9"], capsys)
    folder = tmp_path / "folder.onnx"
    folder.mkdir()
    assert "is a folder" in complaint([network, "--onnx", str(folder)], capsys)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert 'pip install "nrknet[onnx]"' in complaint([network, "--onnx", file], capsys)
    assert not out.exists()


def test_the_command_hands_the_network_over_and_says_how_well_the_file_agrees(
    out: Path, network: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, object] = {}

    def export(model: object, path: Path, **options: object) -> Exported:
        given.update(options, folder=path.parent.is_dir())
        return Exported(path, 1_500_000, 20, 2e-6, 3e-5)

    monkeypatch.setattr("nrknet.export.export_onnx", export)
    file = out / "deep" / "net.onnx"
    assert cli.main(["export", network, "--onnx", str(file), "--opset", "20"]) == 0
    assert given == {"name": network, "training": {}, "opset": 20, "folder": True}
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(f"the network is in {file}: 1.5 MB, opset 20, float32;") and "2.0e-06" in said
