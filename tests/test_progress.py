"""The line of a run's progress reckons the time that is left from this session's own pace."""

import pytest

from nrknet import progress
from nrknet.progress import Pace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def record(step: int, share: float) -> dict[str, float]:
    return {"step": step, "loss": 0.0123456, "gain_db": -0.256, "crops_per_s": 12.34, "progress": share}


def test_a_line_says_step_loss_gain_speed_and_time_left(clock: list[float]) -> None:
    pace = Pace()
    assert pace.line(record(1, 0.1)) == "step 1, loss 0.01235, gain -0.26 dB, 12.3 crops/s, ? left"
    clock[0] += 60
    assert pace.line(record(2, 0.2)).endswith(", 08:00 left")
    clock[0] += 3600
    assert pace.line(record(3, 0.3)).endswith(", 3:33:30 left")


def test_a_resumed_run_is_reckoned_from_where_it_resumed(clock: list[float]) -> None:
    pace = Pace()
    pace.line(record(900, 0.9))
    clock[0] += 10
    assert pace.line(record(950, 0.95)).endswith(", 00:10 left")


def test_a_line_is_due_once_in_so_many_seconds(clock: list[float]) -> None:
    pace = Pace()
    assert not pace.is_due(60)
    clock[0] += 61
    assert pace.is_due(60) and not pace.is_due(60)
    clock[0] += 59
    assert not pace.is_due(60)
