"""What torchrun has announced is read from the environment, and a rank left over from elsewhere is not."""

import pytest

from nrknet.launch import announced_count, announced_index, announced_local_index


def test_a_rank_is_nobody_s_where_no_processes_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    for count in (None, "1"):
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        if count is not None:
            monkeypatch.setenv("WORLD_SIZE", count)
        assert (announced_count(), announced_index(), announced_local_index()) == (1, 0, 0)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (announced_count(), announced_index(), announced_local_index()) == (4, 3, 1)
