"""nrknet convert: the folder it writes, what it refuses, and how it says so."""

from pathlib import Path

import pytest
import torch

from benchmarks.released_reference import fill_weights
from nrknet import cli
from nrknet.weights import load_model


def test_convert_writes_a_folder_that_loads_as_the_file_does(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(fill_weights(0), tmp_path / "theirs.pth")
    assert cli.main(["convert", str(tmp_path / "theirs.pth"), str(out)]) == 0
    assert capsys.readouterr().out == f"the network is in {out}: use it with --model {out}\n"
    ours, theirs = (load_model(path, device="cpu").state_dict() for path in (out, tmp_path / "theirs.pth"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_convert_refuses_a_file_that_is_none_of_the_authors(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", str(tmp_path / "gone.pth"), str(out)]) == 2
    assert "no such file" in capsys.readouterr().err
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"not a network")
    assert cli.main(["convert", str(bad), str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("nrknet: ") and error.count("\n") == 1 and "unexpected" not in error
