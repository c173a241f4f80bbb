"""Networks come from the Hub as they were pushed; names, revisions, files and sizes are checked before use."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import HubServer
from networks import noise, one_line, random_network
from safetensors.torch import load, save

from nrknet import Deblurrer, NRKNet, cli, load_model
from nrknet.config import MAX_WIDTH, PRESETS
from nrknet.model import NRKNetOutput
from nrknet.repository import check_revision, split_name
from nrknet.weights import save_model

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def files_of(model: NRKNet, folder: Path) -> dict[str, bytes]:
    """What a repository of this network holds."""
    save_model(model, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def first() -> NRKNet:
    return random_network(PRESETS["lite"], seed=1)


@pytest.fixture
def files(first: NRKNet, tmp_path: Path) -> dict[str, bytes]:
    return files_of(first, tmp_path / "first")


def same(a: NRKNet, b: NRKNet) -> bool:
    x = noise(1, 3, 33, 40)
    with torch.no_grad():
        found: NRKNetOutput = a(x)
        return torch.equal(found.image, b(x).image)


def refusal(source: str, **options: Any) -> str:
    """The one line with which a source is refused."""
    with pytest.raises(ValueError) as caught:
        NRKNet.from_pretrained(source, **options) if options else load_model(source, device="cpu")
    return one_line(caught.value)


def downloads(hub: HubServer) -> set[str]:
    """The files that were asked for."""
    return {request.rpartition("/")[2] for request in hub.requests if "/resolve/" in request}


# ----------------------------------------------------------------------------------------------------------- revisions


def test_every_way_of_loading_pins_a_revision(
    hub: HubServer, first: NRKNet, files: dict[str, bytes], tmp_path: Path
) -> None:
    second = random_network(PRESETS["lite"], seed=2)
    old = hub.add("me/net", files)
    new = hub.add("me/net", files_of(second, tmp_path / "second"))
    hub.repositories["models/me/net"].refs["v1.0"] = old
    for name, expected in (("", second), ("@main", second), (f"@{new}", second), (f"@{old}", first), ("@v1.0", first)):
        assert same(load_model(f"me/net{name}", device="cpu"), expected), name
    assert same(NRKNet.from_pretrained("me/net", revision=old), first)
    assert same(NRKNet.from_pretrained(f"me/net@{old}"), first) and same(NRKNet.from_pretrained("me/net"), second)
    assert same(Deblurrer(f"me/net@{old}", device="cpu").model, first)
    assert downloads(hub) == {CONFIG, WEIGHTS}


def test_a_pinned_commit_that_is_in_the_cache_asks_nobody(hub: HubServer, files: dict[str, bytes]) -> None:
    sha = hub.add("me/net", files)
    load_model(f"me/net@{sha}", device="cpu")
    hub.requests.clear()
    load_model(f"me/net@{sha}", device="cpu")
    assert hub.requests == []


def test_a_branch_may_have_slashes_in_its_name(hub: HubServer, first: NRKNet, files: dict[str, bytes]) -> None:
    hub.add("me/net", {})
    hub.repositories["models/me/net"].commit(files, "try", "refs/pr/1")
    assert same(load_model("me/net@refs/pr/1", device="cpu"), first)


@pytest.mark.parametrize("name", ["me/net", "me/net@main", "me/net@refs/pr/1", "a.b-c_d/e.f@v1.0_rc-2"])
def test_names_come_apart_into_repository_and_revision(name: str) -> None:
    repo, revision = split_name(name)
    assert (repo if revision is None else f"{repo}@{revision}") == name
    assert split_name(repo, revision=revision) == split_name(name, revision=revision) == (repo, revision)


BAD_REVISIONS = ["", "..", "../main", "a/../b", "/main", "a//b", "-x", "a b", "a\nb", "main?x=1", "a#b", "a%2e", "é",
                 "a@b", "a\\b", "x" * 300]  # fmt: skip


@pytest.mark.parametrize("revision", BAD_REVISIONS)
def test_a_revision_that_cannot_be_is_refused_before_the_hub_is_asked(hub: HubServer, revision: str) -> None:
    hub.add("me/net", {})
    assert "revision" in refusal("me/net", revision=revision)
    if "\n" not in revision:
        assert "revision" in refusal(f"me/net@{revision}")
    assert hub.requests == []
    with pytest.raises(ValueError, match="is no revision"):
        check_revision(revision)


@pytest.mark.parametrize("repo", ["../net", "me/..", "/me/net", "me/net/x", "net", "me/n..et", "me/net.git"])
def test_a_repository_that_cannot_be_is_refused_before_the_hub_is_asked(hub: HubServer, repo: str) -> None:
    assert "owner/" in refusal(repo, revision="main")
    assert hub.requests == []


def test_two_different_revisions_are_refused(hub: HubServer) -> None:
    assert "names another revision than 'v2'" in refusal("me/net@v1", revision="v2")
    assert hub.requests == []


# --------------------------------------------------------------------------------------------------- what is not there


def test_what_is_not_there_is_named(hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("me/net", files)
    hub.add("me/empty", {})
    hub.add("me/pickled", {CONFIG: files[CONFIG], "pytorch_model.bin": b"\x80\x02."})
    assert "no me/none" in refusal("me/none") and "your token" in refusal("me/none")
    assert "me/net@v9 cannot be loaded: me/net has no such revision" in refusal("me/net@v9")
    assert "me/empty on the Hugging Face Hub has no config.json" in refusal("me/empty")
    pickled = refusal("me/pickled")
    assert "has no model.safetensors" in pickled and "pickles can run code" in pickled
    assert "pytorch_model.bin" not in downloads(hub)
    monkeypatch.delenv("HF_TOKEN")
    assert "or it is private: in that case run `hf auth login`, or set HF_TOKEN" in refusal("me/none")


def test_a_private_repository_asks_for_a_token_that_may_see_it(
    hub: HubServer, first: NRKNet, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("me/secret", files, private=True)
    hub.add("me/gated", files, gated=True)
    assert "no me/secret, or your token may not see it" in refusal("me/secret", token=False)
    assert same(NRKNet.from_pretrained("me/secret", token="hf_read", cache_dir=tmp_path / "elsewhere"), first)
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "no me/secret, or your token may not see it" in refusal("me/secret")
    assert "me/gated is gated: ask for access on its page" in refusal("me/gated")
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    assert "does not know your token: run `hf auth login`" in refusal("me/secret")
    monkeypatch.delenv("HF_TOKEN")
    assert "in that case run `hf auth login`, or set HF_TOKEN" in refusal("me/secret")


def test_offline_the_cache_is_used_and_what_is_not_in_it_is_one_sentence(
    hub: HubServer, first: NRKNet, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = hub.add("me/net", files)
    load_model("me/net", device="cpu")
    hub.broken = True
    assert same(load_model("me/net", device="cpu"), first)
    assert "me/other is not in the cache, and the Hugging Face Hub answered 503" in refusal("me/other")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert same(load_model("me/net", device="cpu"), first) and same(load_model(f"me/net@{sha}", device="cpu"), first)
    assert "me/other is not in the cache, and HF_HUB_OFFLINE forbids" in refusal("me/other")
    assert "me/net@v2 is not in the cache" in refusal("me/net@v2")


def test_a_hub_that_cannot_be_reached_is_one_sentence(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    assert refusal("me/net") == "me/net is not in the cache, and the Hugging Face Hub cannot be reached"


def test_the_command_line_says_it_in_one_line(hub: HubServer, capsys: pytest.CaptureFixture[str], out: Path) -> None:
    example = Path(__file__).parents[1] / "docs" / "example.png"
    hub.add("me/empty", {})
    bad = {"me/none": "no me/none", "me/empty@v1": "no such revision", "me/empty@../x": "no revision"}
    for name, said in bad.items():
        assert cli.main(["deblur", str(example), "-o", str(out), "--model", name]) == 2
        error = capsys.readouterr().err
        assert error.startswith("nrknet: ") and said in error and error.count("\n") == 1


# ------------------------------------------------------------------------------------------------ what is in the files


def test_a_bad_configuration_is_refused_before_its_weights_are_fetched(hub: HubServer, files: dict[str, bytes]) -> None:
    values = json.loads(files[CONFIG])
    contents = {
        "dropout": json.dumps({**values, "dropout": 0.1}).encode(),
        "widths": json.dumps({**values, "widths": [1_000_000_000] * 3}).encode(),
        "stem": json.dumps({**values, "stem": 7}).encode(),
        "lists in lists": b"[" * 50_000,
        "bytes are too many": b" " * 1_000_000 + files[CONFIG],
        "parameters, expected at most": json.dumps(
            {**values, "widths": [MAX_WIDTH] * 4, "num_blocks": [32] * 4, "image_blocks": 32}
        ).encode(),
        "Expecting value": b"nonsense",
    }
    for number, (said, content) in enumerate(contents.items()):
        hub.add(f"me/bad{number}", {**files, CONFIG: content})
        message = refusal(f"me/bad{number}")
        assert said in message and CONFIG in message
    assert downloads(hub) == {CONFIG}


def test_weights_that_do_not_fit_are_refused_by_name(hub: HubServer, files: dict[str, bytes]) -> None:
    tensors = load(files[WEIGHTS])
    fewer = {name: value for name, value in tensors.items() if name != "unet.entries.0.weight"}
    contents = {
        "missing unet.entries.0.weight": save(fewer),
        "unexpected unet.more": save({**tensors, "unet.more": torch.zeros(1)}),
        "head.table is [1, 2]": save({**tensors, "head.table": torch.zeros(1, 2)}),
        "head.table holds I32": save({**tensors, "head.table": tensors["head.table"].int()}),
        "not a safetensors file": files[WEIGHTS][:-5],
    }
    for number, (said, content) in enumerate(contents.items()):
        hub.add(f"me/bad{number}", {**files, WEIGHTS: content})
        assert said in refusal(f"me/bad{number}")


def test_memory_is_not_taken_for_a_large_configuration_with_small_weights(
    hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    large = {"widths": [MAX_WIDTH] * 4, "num_blocks": [8] * 4, "image_blocks": 8}  # as large as is allowed, nearly
    hub.add("me/huge", {**files, CONFIG: json.dumps({**json.loads(files[CONFIG]), **large}).encode()})

    def made(*_: object) -> None:
        raise AssertionError("a network of gigabytes would have been made")

    monkeypatch.setattr(NRKNet, "__init__", made)
    assert f"expected [{MAX_WIDTH}, {MAX_WIDTH}, 3, 3]" in refusal("me/huge")


def test_a_weights_file_that_is_too_large_for_its_network_is_not_fetched(
    hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nrknet.repository.OTHER_BYTES", 1000)
    hub.add("me/padded", {**files, WEIGHTS: files[WEIGHTS] + bytes(10 * len(files[WEIGHTS]))})
    message = refusal("me/padded")
    assert "me/padded" in message and f"{11 * len(files[WEIGHTS])} bytes" in message
    assert not [asked for asked in hub.requests if asked.startswith("GET") and asked.endswith(WEIGHTS)]
