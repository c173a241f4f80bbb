"""A trained folder goes to the Hub with a page that says what it is, and comes back the same."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from networks import one_line, random_network

from nrknet import hub
from nrknet.config import PRESETS
from nrknet.hub import check_push, model_card, push_folder
from nrknet.weights import save_model

LOCAL_HUB = Path(__file__).resolve().parents[2] / "shared" / "tools" / "local_hub.py"
TRAINING = {
    "step": 20, "data": {"dataset": "pairs", "pairs": 350}, "validation": {"psnr": 31.5, "gain_db": 0.25},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(random_network(PRESETS["lite"]), tmp_path / "model", training=TRAINING)
    return tmp_path / "model"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A stand-in of the Hub on this machine."""
    if not LOCAL_HUB.is_file():
        pytest.skip("no stand-in of the Hub here (shared/tools/local_hub.py)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (
        open(tmp_path / "hub.log", "w") as log,
        subprocess.Popen([sys.executable, str(LOCAL_HUB), str(port)], stdout=log, stderr=log) as process,
    ):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        process.kill()


def python(code: str, home: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run code in a process of its own, as the Hub's address is read at import."""
    root = str(Path(hub.__file__).parents[1])
    settings = {"PYTHONPATH": root, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **settings, **environment}, capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip


def test_a_pushed_network_loads_from_its_name_and_is_the_same(folder: Path, server: str, tmp_path: Path) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    code = (
        "import torch; from pathlib import Path; from nrknet import cli, load_model\n"
        f"assert cli.main(['push', {str(folder)!r}, '--repo', 'me/net']) == 0\n"
        "from huggingface_hub import hf_hub_download\n"
        f"torch.save(load_model('me/net', device='cpu').state_dict(), {str(tmp_path / 'back.pt')!r})\n"
        f"Path({str(tmp_path / 'card.md')!r}).write_text(Path(hf_hub_download('me/net', 'README.md')).read_text())\n"
    )
    done = python(code, tmp_path / "home", HF_ENDPOINT=server, HF_TOKEN="hf_stand_in")
    assert done.returncode == 0, done.stderr
    assert f"the network is at {server}/me/net: use it with --model me/net" in done.stdout
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert all(torch.equal(value, back[name]) for name, value in random_network(PRESETS["lite"]).state_dict().items())
    assert (tmp_path / "card.md").read_text() == model_card(folder, "me/net")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_hub_that_cannot_be_reached_is_one_line(folder: Path, tmp_path: Path) -> None:
    code = f"import sys; from nrknet import cli; sys.exit(cli.main(['push', {str(folder)!r}, '--repo', 'me/net']))"
    done = python(code, tmp_path, HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN="hf_stand_in")
    assert done.returncode == 1
    assert done.stderr.startswith("nrknet: ") and done.stderr.count("\n") == 1, done.stderr
    assert "could not be pushed to me/net" in done.stderr and str(folder) in done.stderr


@pytest.mark.parametrize("repo", ["net", "me/net/x", "me/net@main", "a b/c", "me/", "/net", "me/..net", "me/n--x", ""])
def test_a_name_that_no_repository_can_have_is_refused(repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "get_token", lambda: "token")
    with pytest.raises(ValueError, match="is no name of a repository on the Hugging Face Hub; expected") as caught:
        check_push(repo)
    one_line(caught.value)


def test_a_missing_token_is_found_out_beforehand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "get_token", lambda: None)
    with pytest.raises(ValueError, match="needs a token: run `hf auth login`, or set HF_TOKEN"):
        push_folder(folder, "me/net")
    monkeypatch.setattr(hub, "get_token", lambda: "token")
    check_push("me/net.v1_a-b")


def test_a_folder_without_a_network_is_refused_before_the_hub_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "get_token", lambda: "token")
    monkeypatch.setattr(hub, "HfApi", lambda: pytest.fail("nothing is there to push"))
    with pytest.raises(ValueError, match="is not a model folder"):
        push_folder(tmp_path, "me/net")


def test_the_page_says_what_the_folder_records(folder: Path) -> None:
    card = model_card(folder, "me/net")
    _, head, text = card.split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["license"] == "mit" and metadata["library_name"] == "nrknet"
    assert metadata["pipeline_tag"] == "image-to-image" and "defocus-deblurring" in metadata["tags"]
    model = random_network(PRESETS["lite"])
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in text
    assert '--model me/net' in text and 'Deblurrer("me/net")' in text
    assert '- data: {"dataset": "pairs", "pairs": 350}' in text and "- step: 20" in text
    assert "| gain over the input in dB, crops whose input is under 35 dB | 0.25 |" in text


def test_the_page_of_a_folder_without_records_says_so(folder: Path) -> None:
    (folder / "training.json").unlink()
    assert model_card(folder, "me/net").count("Not recorded.") == 2
    (folder / "training.json").write_text("{")
    with pytest.raises(ValueError, match="training.json is not JSON"):
        model_card(folder, "me/net")
    (folder / "training.json").write_text(json.dumps({"source": "authors"}))
    assert "- source: authors" in model_card(folder, "me/net")
