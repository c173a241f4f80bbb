"""nrknet push, and nrknet train --push-to-hub: what is known to fail is refused before any work."""

from pathlib import Path

import pytest

from nrknet import cli


@pytest.mark.parametrize(
    ("repo", "token", "named"), [("name", "t", "'name' is no name"), ("me/net", "", "needs a token")]
)
def test_a_push_that_cannot_work_stops_training_before_it_begins(
    repo: str, token: str, named: str, photos: Path, out: Path, network: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("nrknet.hub.get_token", lambda: token or None)
    assert cli.main(["train", "--data", str(photos), "--out", str(out), "--steps", "1", "--push-to-hub", repo]) == 2
    assert cli.main(["push", network, "--repo", repo]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all(named in error for error in errors)
    assert not out.exists()
