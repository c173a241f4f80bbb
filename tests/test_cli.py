"""The command line as a whole: help, version, what makes no sense."""

import importlib.metadata
import subprocess
import sys

import pytest
from commandline import child_environment

from nrknet import cli
from nrknet._version import __version__

COMMANDS = ("deblur", "train", "evaluate", "convert", "export", "push")


def test_help_and_version_do_not_import_torch_or_numpy() -> None:
    for arguments in (["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)):
        code = (
            "import sys\nfrom nrknet.cli import main\n"
            f"try: main({arguments!r})\nexcept SystemExit as stop: assert not stop.code\n"
            "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules), 'heavy import'"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=child_environment({}), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"nrknet {__version__}\n"
    try:
        installed = importlib.metadata.version("nrknet")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("nrknet is not installed, only on the path")
    assert installed == __version__


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sharpen"],
        ["deblur"],
        ["deblur", "a.jpg", "-o", "out", "--tile", "0"],
        ["deblur", "a.jpg", "-o", "out", "--tile", "big"],
        ["deblur", "a.jpg", "-o", "out", "--precision", "low"],
        ["deblur", "a.jpg", "-o", "out", "--no-such-option"],
        ["deblur", "a.jpg", "-o", "out", "--strength", "1.5"],
        ["deblur", "a.jpg", "-o", "out", "--strength", "nan"],
        ["deblur", "a.jpg", "-o", "out", "--terms", "0"],
        ["train", "--data", ".", "--out", "o", "--steps", "3", "--minutes", "1"],
        ["train", "--data", ".", "--out", "o", "--minutes", "nan"],
        ["train", "--data", ".", "--out", "o", "--steps", "-1"],
        ["evaluate", "--dataset", "nonsense", "--root", "."],
        ["train", "--data", ".", "--out", "o", "--dataset", "cuhk"],
        ["convert", "only.pth"],
        ["export", "lite"],
        ["export", "lite", "--onnx", "lite.onnx", "--opset", "new"],
        ["push", "folder"],
    ],
)
def test_a_command_that_makes_no_sense_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage: nrknet" in capsys.readouterr().err
