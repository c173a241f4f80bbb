"""What is said when something went wrong."""

import errno
import os

import pytest

from nrknet.commands.outcome import complain, reason


@pytest.fixture(autouse=True)
def no_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NRKNET_DEBUG", raising=False)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("expected\n  three, got two"), "expected three, got two"),
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "a.png"), "a.png: No such file or directory"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), "Permission denied"),
        (OSError("cannot identify image file"), "cannot identify image file"),
        (FloatingPointError("the loss is nan"), "the loss is nan"),
        (MemoryError(), "not enough memory; a smaller --tile needs less"),
        (RuntimeError("CUDA out of memory.\nTried to allocate"), "not enough memory; a smaller --tile needs less"),
        (KeyError("size"), "unexpected KeyError: 'size' (NRKNET_DEBUG=1 shows more)"),
    ],
)
def test_the_reason_of_an_error_is_one_line(error: Exception, said: str) -> None:
    assert reason(error) == said


def test_the_traceback_is_printed_where_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ValueError("wrong")
    reason(error)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("NRKNET_DEBUG", "1")
    assert reason(error) == "wrong"
    assert "ValueError: wrong" in capsys.readouterr().err


def test_a_complaint_of_several_lines_is_printed_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    complain("first\nsecond")
    assert capsys.readouterr() == ("", "nrknet: first second\n")
