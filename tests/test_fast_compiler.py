"""The kernels are compiled once, kept, and done without where they cannot be compiled."""

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kernels import needs_kernels

from nrknet.fast import compiler
from nrknet.fast.operations import convolution

USE = """
import logging, sys
import numpy as np
logging.basicConfig(stream=sys.stderr, format="%(message)s")
from nrknet.fast.operations import convolution
layer, out = convolution(np.ones((16, 16, 3, 3), np.float32)), np.zeros((4, 4, 16), np.float32)
layer(np.ones((13, 13, 16), np.float32), out)
assert (out == 144).all(), out
print(type(layer).__name__)
"""


def use_elsewhere(cache: Path, **environment: str) -> tuple[str, str]:
    """What another process says that uses the kernels, and its complaints."""
    variables = {**os.environ, "XDG_CACHE_HOME": str(cache), "HOME": str(cache), **environment}
    variables.pop("CXX", None) if "CXX" not in environment else None
    found = subprocess.run(
        [sys.executable, "-c", USE], env=variables, capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    return found.stdout.strip(), found.stderr.strip()


def kept(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.so"))


@needs_kernels
@pytest.mark.slow
def test_they_are_compiled_once_and_kept(tmp_path: Path) -> None:
    assert use_elsewhere(tmp_path) == ("CompiledConvolution", "")
    (file,) = kept(tmp_path)
    made = file.stat().st_mtime_ns
    assert use_elsewhere(tmp_path) == ("CompiledConvolution", "")
    assert kept(tmp_path) == [file] and file.stat().st_mtime_ns == made
    assert [p for p in file.parent.iterdir() if p != file] == []  # nothing is left of the compiling


@needs_kernels
@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_where_nothing_can_be_kept_they_are_compiled_for_the_moment(tmp_path: Path) -> None:
    # a file where the folder should be: not even the superuser can write there
    (tmp_path / "nrknet").write_text("")
    (tmp_path / "Library").write_text("")
    assert use_elsewhere(tmp_path) == ("CompiledConvolution", "")
    assert kept(tmp_path) == []


def test_without_a_compiler_pytorch_does_the_work_and_one_line_says_so(tmp_path: Path) -> None:
    name, complaints = use_elsewhere(tmp_path, PATH="")
    assert name == "TorchConvolution"
    assert complaints.startswith("no compiled kernels, PyTorch does all the work, more slowly: there is no C++")
    assert "\n" not in complaints


@pytest.mark.skipif(os.name != "posix", reason="a script as a compiler")
def test_a_compiler_that_fails_is_quoted(tmp_path: Path) -> None:
    script = tmp_path / "c++"
    script.write_text("#!/bin/sh\necho 'common.h:1: note' >&2\necho 'common.h:2: error: what is AVX?' >&2\nexit 1\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    name, complaints = use_elsewhere(tmp_path, CXX=str(script))
    assert name == "TorchConvolution"
    assert complaints.endswith(f"{script} says: common.h:2: error: what is AVX?") and "\n" not in complaints
    assert kept(tmp_path) == []


def test_they_can_be_switched_off_without_a_word(tmp_path: Path) -> None:
    assert use_elsewhere(tmp_path, NRKNET_KERNELS="off") == ("TorchConvolution", "")


@pytest.mark.parametrize("change", ["source", "flag", "processor"])
def test_what_was_compiled_from_or_for_something_else_is_not_taken(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Path] = []

    def compile_nothing(command: list[str], folder: Path, target: Path) -> Path:
        compiled.append(target)
        target.write_bytes(b"")
        return target

    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "a.cpp").write_text("int a;")
    monkeypatch.setattr(compiler, "SOURCES", sources)
    monkeypatch.setattr(compiler, "_compile", compile_nothing)
    monkeypatch.setattr(compiler, "_compiler", lambda: "c++")
    first = compiler.compiled(tmp_path)
    assert compiler.compiled(tmp_path) == first and len(compiled) == 1
    if change == "source":
        (sources / "a.cpp").write_text("int b;")
    elif change == "flag":
        monkeypatch.setattr(compiler, "_FLAGS", ("-O1",))
    else:
        monkeypatch.setattr(compiler, "_processor", lambda: "flags: none")
    assert compiler.compiled(tmp_path) != first and len(compiled) == 2


@needs_kernels
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_can_use_them() -> None:
    layer = convolution(np.ones((32, 16, 3, 3), np.float32))
    window, out = np.ones((107, 107, 16), np.float32), np.zeros((100, 100, 32), np.float32)
    layer(window, out)  # the threads are there now; the child has none of them
    child = os.fork()
    if child == 0:
        out[:] = 0
        layer(window, out)
        os._exit(0 if (out == 144).all() else 1)
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        subprocess.run(["sleep", "0.05"], check=True)
    else:
        os.kill(child, 9)
        pytest.fail("the forked process hangs")
    assert status == 0


def test_nothing_is_logged_when_all_is_well(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        compiler.library()
    assert caplog.records == []
