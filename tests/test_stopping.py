"""Ctrl-C and SIGTERM ask a run to stop; what listened before listens again after."""

import os
import signal
import threading
from typing import Any

import pytest

from nrknet import stopping
from nrknet.stopping import SIGNALS, StopRequest, sigterm_as_interrupt


@pytest.fixture(autouse=True)
def listening() -> Any:
    """Whoever started the tests may have told them to ignore signals."""
    before = [signal.signal(number, signal.default_int_handler) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_and_its_echo_does_nothing(number: signal.Signals) -> None:
    with StopRequest() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is signal.default_int_handler


def test_a_later_second_signal_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "ECHO", -1.0)
    with pytest.raises(KeyboardInterrupt), StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ignored_signals_stay_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert not stop


def test_in_another_thread_nothing_listens() -> None:
    seen: list[Any] = []

    def work() -> None:
        with StopRequest() as stop, sigterm_as_interrupt():
            seen.append((bool(stop), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, signal.default_int_handler)]


def test_sigterm_interrupts_where_it_would_have_killed() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
