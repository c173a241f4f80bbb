"""A trained folder goes to the Hub with a page that says what it is, and comes back the same."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from front_matter import front_matter_problems
from hub_server import HubServer
from networks import noise, one_line, random_network
from score_files import write_scores

from nrknet import cli, load_model
from nrknet import hub as hub_module
from nrknet.card import model_card
from nrknet.config import PRESETS
from nrknet.hub import check_push, push_folder
from nrknet.stored import read_scores
from nrknet.weights import save_model

TRAINING = {"step": 20, "data": {"dataset": "pairs", "pairs": 350}, "validation": {"psnr": 31.5, "gain_db": 0.25}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(random_network(PRESETS["lite"]), tmp_path / "net", training=TRAINING)
    return tmp_path / "net"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refusal(*arguments: object, **options: object) -> str:
    """The one line with which a push is refused."""
    with pytest.raises(ValueError) as caught:
        push_folder(*arguments, **options)  # type: ignore[arg-type]
    return one_line(caught.value)


# ---------------------------------------------------------------------------------------------------------------- push


def test_a_pushed_network_comes_back_with_equal_outputs(
    hub: HubServer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, scores = contents(folder), write_scores(folder.parent / "dpdd_net.json")
    assert cli.main(["push", str(folder), "--repo", "me/net", "--results", str(scores)]) == 0
    assert capsys.readouterr().out == f"the network is at {hub.url}/me/net: use it with --model me/net\n"
    assert contents(folder) == before
    pushed = dict(hub.files("me/net"))
    card, attributes = pushed.pop("README.md").decode(), pushed.pop(".gitattributes")
    assert pushed == {**before, "results/dpdd_net.json": scores.read_bytes()} and attributes
    assert card == model_card(folder, "me/net", scores=[read_scores(scores, suffixes=["net"])])
    assert front_matter_problems(card, kind="model") == []
    x = noise(1, 3, 33, 40)
    with torch.no_grad():
        back = load_model("me/net", device="cpu")(x)
        there = load_model(folder, device="cpu")(x)
    assert torch.equal(back.image, there.image)


def test_a_push_is_one_commit_and_the_one_before_it_can_still_be_loaded(hub: HubServer, folder: Path) -> None:
    push_folder(folder, "me/net")
    first = hub.repositories["models/me/net"].refs["main"]
    save_model(random_network(PRESETS["lite"], seed=5), folder)
    push_folder(folder, "me/net")
    assert len(hub.repositories["models/me/net"].commits) == 3  # the first is the Hub's own
    old, new = (load_model(f"me/net@{name}", device="cpu").state_dict() for name in (first, "main"))
    assert not torch.equal(old["head.table"], new["head.table"])
    push_folder(folder, "me/net")
    assert len(hub.repositories["models/me/net"].commits) == 3, "nothing has changed"


def test_a_branch_is_made_and_main_stays_as_it_is(
    hub: HubServer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["push", str(folder), "--repo", "me/net", "--revision", "v2/try"]) == 0
    assert "use it with --model me/net@v2/try" in capsys.readouterr().out
    assert set(hub.files("me/net")) == {".gitattributes"}
    assert "model.safetensors" in hub.files("me/net", "v2/try")
    load_model("me/net@v2/try", device="cpu")
    push_folder(folder, "me/net", revision="v2/try")


def test_scores_of_earlier_weights_are_removed_and_other_files_stay(hub: HubServer, folder: Path) -> None:
    write_scores(folder / "results" / "old.json")
    push_folder(folder, "me/net")
    added = {**hub.files("me/net"), "notes.txt": b"by hand", "results/photo.png": b"by hand"}
    hub.repositories["models/me/net"].commit(added, "by hand")
    (folder / "results" / "old.json").unlink()
    push_folder(folder, "me/net", results=[write_scores(folder.parent / "new.json")])
    assert {"notes.txt", "results/photo.png", "results/new.json"} <= set(hub.files("me/net"))
    assert "results/old.json" not in hub.files("me/net")


def test_a_private_push_is_private_and_is_refused_where_everybody_can_see(hub: HubServer, folder: Path) -> None:
    push_folder(folder, "me/secret", private=True)
    push_folder(folder, "me/secret", private=True)
    assert hub.repositories["models/me/secret"].private
    push_folder(folder, "me/open")
    commits = len(hub.repositories["models/me/open"].commits)
    assert "it is there already, and public; nothing was uploaded" in refusal(folder, "me/open", private=True)
    assert len(hub.repositories["models/me/open"].commits) == commits


# ----------------------------------------------------------------------------------------------------- what goes wrong


def test_the_token_that_cannot_push_is_told_what_to_do(
    hub: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {
        "hf_read": "your token may not write to me/net: make one with write permission, then run `hf auth login`",
        "hf_other": "your token may not write to me/net",
        "hf_made_up": "does not know your token: run `hf auth login`",
    }
    for token, said in expected.items():
        monkeypatch.setenv("HF_TOKEN", token)
        message = refusal(folder, "me/net")
        assert said in message and str(folder) in message
    assert hub.repositories == {}
    monkeypatch.delenv("HF_TOKEN")
    hub.requests.clear()
    assert "needs a token: run `hf auth login`, or set HF_TOKEN" in refusal(folder, "me/net")
    assert hub.requests == []


def test_offline_a_push_is_one_sentence(hub: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.broken = True
    assert "the Hugging Face Hub answered 503: Service unavailable" in refusal(folder, "me/net")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "the Hugging Face Hub cannot be reached" in refusal(folder, "me/net")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids to ask the Hugging Face Hub" in refusal(folder, "me/net")


def test_a_licence_that_the_hub_does_not_know_is_refused_and_nothing_is_uploaded(hub: HubServer, folder: Path) -> None:
    assert "license must be one of" in refusal(folder, "me/net", license="mine")
    assert set(hub.files("me/net")) == {".gitattributes"}
    push_folder(folder, "me/net", license="cc-by-sa-4.0")
    assert b"license: cc-by-sa-4.0" in hub.files("me/net")["README.md"]


@pytest.mark.parametrize("repo", ["net", "me/net/x", "me/net@main", "a b/c", "me/", "/net", "me/..net", "me/n--x", ""])
def test_a_name_that_no_repository_can_have_is_refused(repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "token")
    with pytest.raises(ValueError, match="is no name of a repository on the Hugging Face Hub; expected") as caught:
        check_push(repo)
    one_line(caught.value)


def test_what_cannot_be_pushed_is_refused_before_the_hub_is_asked(
    hub: HubServer, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_push("me/net.v1_a-b")
    (tmp_path / "empty").mkdir()
    assert "is not a model folder" in refusal(tmp_path / "empty", "me/net")
    assert "is no revision" in refusal(folder, "me/net", revision="../x")
    other = write_scores(tmp_path / "other.json", model="lite")
    assert "holds scores of 'lite', not of" in refusal(folder, "me/net", results=[other])
    missing = str(tmp_path / "missing.json")
    assert cli.main(["push", str(folder), "--repo", "me/net", "--results", missing]) == 1
    assert missing in capsys.readouterr().err
    assert hub.requests == []


# -------------------------------------------------------------------------------------------------------- from a shell


def python(code: str, settings: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    root = str(Path(hub_module.__file__).parents[1])
    fixed = {"PYTHONPATH": root, "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **fixed, **settings}, capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip


@pytest.mark.slow
def test_the_address_and_the_token_come_from_the_environment(folder: Path, tmp_path: Path) -> None:
    run = "import json, sys; from nrknet import cli; sys.exit(cli.main(json.loads(sys.argv[1])))"
    with HubServer().running() as server:
        settings = {"HF_ENDPOINT": server.url, "HF_TOKEN": "hf_write", "HF_HOME": str(tmp_path / "home")}
        code = run.replace("sys.argv[1]", repr(json.dumps(["push", str(folder), "--repo", "me/net"])))
        done = python(code, settings)
        assert done.returncode == 0, done.stderr
        assert f"the network is at {server.url}/me/net" in done.stdout
        assert "PUT /_lfs/" in " ".join(server.requests)
