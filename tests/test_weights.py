"""Weights: folders, the Hub's mixin and cache, and the authors' files, read strictly and without running anything."""

import json
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import noise, one_line, random_network
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.released_reference import fill_weights, parameter_shapes, released_output
from nrknet import weights as weights_module
from nrknet.config import PRESETS, NRKNetConfig
from nrknet.model import NRKNet
from nrknet.neumann import pyramid
from nrknet.weights import convert_released, load_model, load_released, pick_device, save_model

VECTORS = Path(__file__).resolve().parents[2] / "shared" / "conformance" / "official_release_vectors.npz"
LITE = replace(PRESETS["lite"], widths=(6, 8, 8), num_atoms=3, num_coordinates=2, radii=(0, 1, 4))


@pytest.fixture(scope="module")
def released_state() -> dict[str, Tensor]:
    return fill_weights(11)


@pytest.fixture()
def saved(tmp_path: Path) -> tuple[NRKNet, Path]:
    model = random_network(LITE)
    save_model(model, tmp_path / "model")
    return model, tmp_path / "model"


def outputs_equal(a: NRKNet, b: NRKNet) -> bool:
    x = noise(1, 3, 33, 40)
    with torch.no_grad():
        return torch.equal(a(x).image, b(x).image)


def refused(call: Callable[[], Any], *named: str) -> None:
    """The call must raise a ValueError of one line that names these."""
    with pytest.raises(ValueError) as caught:
        call()
    message = one_line(caught.value)
    for name in named:
        assert name in message, f"{name!r} is not in {message!r}"


# ------------------------------------------------------------------------------------------ the authors' released code


@pytest.mark.skipif(not VECTORS.is_file(), reason="the authors' conformance vectors are not beside the repository")
def test_a_converted_network_returns_what_the_authors_network_returned(tmp_path: Path) -> None:
    vectors = np.load(VECTORS)
    shapes = json.loads(str(vectors["shapes"]))
    state = fill_weights(int(vectors["seed"]), shapes)
    torch.save(state, tmp_path / "released.pth")
    blurred, expected = torch.from_numpy(vectors["input"]), torch.from_numpy(vectors["output"])
    with torch.no_grad():
        output = load_released(tmp_path / "released.pth")(blurred)
    assert float((output.image - expected).abs().max()) < 1e-4
    # the reference that the other tests compare with is the authors' network too
    assert {name: tuple(shape) for name, shape in shapes.items()} == parameter_shapes()
    assert float((released_output(state, blurred) - expected).abs().max()) < 1e-4


@pytest.mark.skipif(not VECTORS.is_file(), reason="the authors' conformance vectors are not beside the repository")
def test_what_the_authors_loss_compares_is_the_same_too(tmp_path: Path) -> None:
    vectors = np.load(VECTORS)
    torch.save(fill_weights(int(vectors["seed"]), json.loads(str(vectors["shapes"]))), tmp_path / "released.pth")
    blurred = torch.from_numpy(vectors["input"])
    sharps = pyramid(blurred.flip(-1), 3, mode="nearest")
    with torch.no_grad():
        output = load_released(tmp_path / "released.pth")(blurred)
        images = [*(scale.image for scale in output.scales), output.image]
        reblurred = [scale.operator(sharp) for scale, sharp in zip(output.scales, sharps, strict=True)]
    for key, found in (("deblurred", images), ("reblurred", reblurred)):
        for i, image in enumerate(found):
            assert float((image - torch.from_numpy(vectors[f"train_{key}_{i}"])).abs().max()) < 1e-4


@pytest.mark.parametrize(("seed", "size"), [(1, (48, 64)), (2, (32, 80)), (3, (64, 32))])
def test_a_released_network_equals_an_independent_implementation(
    seed: int, size: tuple[int, int], tmp_path: Path
) -> None:
    state = fill_weights(seed)
    torch.save(state, tmp_path / "released.pth")
    blurred = noise(2, 3, *size, seed=seed)
    with torch.no_grad():
        found, expected = load_released(tmp_path / "released.pth")(blurred).image, released_output(state, blurred)
    assert float((expected - blurred).abs().mean()) > 0.05  # it does something
    assert float((found - expected).abs().max()) < 1e-4


def test_converting_gives_a_bgr_folder_that_loads_to_the_same_network(
    released_state: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(released_state, tmp_path / "theirs.pth")
    convert_released(tmp_path / "theirs.pth", tmp_path / "ours")
    converted = load_model(tmp_path / "ours", device="cpu")
    assert converted.config == PRESETS["released"] and converted.config.channel_order == "bgr"
    assert not converted.training
    assert outputs_equal(converted, load_model(tmp_path / "theirs.pth", device="cpu"))
    assert "theirs.pth" in (tmp_path / "ours" / "training.json").read_text()


@pytest.mark.parametrize("zipped", [True, False])
def test_ordered_dicts_and_the_old_file_format_load(
    released_state: dict[str, Tensor], tmp_path: Path, zipped: bool
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(OrderedDict(released_state), path, _use_new_zipfile_serialization=zipped)
    loaded = load_released(path).state_dict()
    assert torch.equal(loaded["unet.entries.0.weight"], released_state["feat_extract.0.main.0.weight"])


@pytest.mark.parametrize(
    "name", ["GCM.kernels", "APU.conv.main.1.running_var", "Decoder.1.layers.0.main.1.main.0.weight"]
)
def test_a_missing_extra_or_misshapen_parameter_is_named(
    released_state: dict[str, Tensor], tmp_path: Path, name: str
) -> None:
    path = tmp_path / "weights.pth"
    torch.save({k: v for k, v in released_state.items() if k != name}, path)
    refused(lambda: load_released(path), "missing", name, str(path))
    torch.save({**released_state, "module.extra": torch.zeros(1)}, path)
    refused(lambda: load_released(path), "unexpected", "module.extra")
    torch.save({**released_state, name: torch.zeros(2, 7)}, path)
    refused(lambda: load_released(path), name, "[2, 7]", str(list(released_state[name].shape)))


def test_a_different_networks_weights_are_one_sentence_however_much_differs(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({f"layer.{i}": torch.zeros(1) for i in range(200)}, path)
    refused(lambda: load_released(path), "missing", "unexpected", "more")


class Runs:
    """Unpickling it runs a shell command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


CULPRITS: dict[str, tuple[Callable[[dict[str, Tensor], str], Any], str]] = {
    "a function": (lambda state, _: {**state, "f": os.path.join}, "path.join"),
    "a numpy array": (lambda state, _: {**state, "n": np.zeros(3)}, "numpy"),
    "a numpy number": (lambda state, _: {**state, "n": np.float64(1)}, "numpy"),
    "a module": (lambda state, _: torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    "a shell command": (lambda state, command: {**state, "c": Runs(command)}, ".system"),
    "a tuple": (lambda state, _: (state,), "tuple"),
    "a list": (lambda state, _: [1, 2], "list"),
    "nothing": (lambda state, _: None, "NoneType"),
    "a nested dictionary": (lambda state, _: {"state_dict": state}, "'state_dict' is a dict"),
    "a number among tensors": (lambda state, _: {**state, "epoch": 3}, "'epoch' is a int"),
    "a number as a name": (lambda state, _: {**state, 5: torch.zeros(1)}, "5"),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("what", CULPRITS)
def test_a_file_with_more_than_tensors_is_refused_by_name_and_nothing_runs(
    what: str, zipped: bool, tmp_path: Path
) -> None:
    build, culprit = CULPRITS[what]
    path, marker = tmp_path / "weights.pth", tmp_path / "marker"
    torch.save(build({"a": torch.zeros(2)}, f"echo > '{marker}'"), path, _use_new_zipfile_serialization=zipped)
    refused(lambda: load_model(path, device="cpu"), str(path), culprit)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_pickle_of_any_protocol_is_refused_and_nothing_runs(protocol: int, tmp_path: Path) -> None:
    path, marker = tmp_path / "weights.pth", tmp_path / "marker"
    path.write_bytes(pickle.dumps(Runs(f"echo > '{marker}'"), protocol=protocol))
    refused(lambda: load_released(path), str(path))
    assert not marker.exists()
    pickle.loads(path.read_bytes())  # the trap is a working one
    assert marker.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"hello world\n", b"<!DOCTYPE html><html></html>", b"PK\x03\x04" + bytes(40), bytes(range(256))],
    ids=["empty", "newline", "text", "html", "zip", "bytes"],
)
def test_a_file_that_is_no_weights_file_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    refused(lambda: load_model(path, device="cpu"), str(path), "not a PyTorch weights file")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_download_that_broke_off_is_one_sentence(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(1000)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for kept in (1, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:kept])
        refused(lambda: load_released(path), str(path), "damaged")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
def test_random_and_damaged_bytes_are_one_sentence(
    tmp_path: Path, random: bytes, changes: list[tuple[int, int]]
) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(5)}, path, _use_new_zipfile_serialization=False)
    damaged = bytearray(path.read_bytes())
    for position, value in changes:
        damaged[position % len(damaged)] = value
    for content in (random, bytes(damaged)):
        path.write_bytes(content)
        refused(lambda: load_released(path), str(path))


# ------------------------------------------------------------------------------------------------------------ folders


def test_half_precision_folders_load_as_32_bit_and_close(tmp_path: Path) -> None:
    model = random_network(LITE)
    save_model(model, tmp_path / "half", half=True, training={"steps": 3})
    save_model(model, tmp_path / "full")
    assert json.loads((tmp_path / "half" / "training.json").read_text()) == {"steps": 3}
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.75 * sizes[1]
    loaded = load_model(tmp_path / "half", device="cpu")
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    x = noise(1, 3, 33, 40)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x).image, model(x).image, atol=0.02, rtol=0.02)


def test_saving_leaves_no_partial_files_and_replaces_what_was_there(saved: tuple[NRKNet, Path]) -> None:
    _, folder = saved
    other = random_network(LITE, seed=9)
    save_model(other, folder)
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert outputs_equal(load_model(folder, device="cpu"), other)


def test_a_path_may_be_a_string_or_a_path(saved: tuple[NRKNet, Path]) -> None:
    model, folder = saved
    assert outputs_equal(load_model(str(folder), device="cpu"), model)
    assert outputs_equal(load_model(folder, device=torch.device("cpu")), model)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_one_of_its_files_is_one_sentence(saved: tuple[NRKNet, Path], missing: str) -> None:
    _, folder = saved
    (folder / missing).unlink()
    refused(lambda: load_model(folder, device="cpu"), str(folder), missing)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[]", b"3", b'"atoms"', b"null"], ids=repr)
def test_a_broken_configuration_is_one_sentence(saved: tuple[NRKNet, Path], content: bytes) -> None:
    _, folder = saved
    (folder / "config.json").write_bytes(content)
    refused(lambda: load_model(folder, device="cpu"), str(folder), "config.json")


@pytest.mark.parametrize("content", [b"", b"text", bytes(100)], ids=repr)
def test_a_broken_weights_file_is_one_sentence(saved: tuple[NRKNet, Path], content: bytes) -> None:
    _, folder = saved
    (folder / "model.safetensors").write_bytes(content)
    refused(lambda: load_model(folder, device="cpu"), str(folder), "model.safetensors")


def test_a_configuration_with_unknown_keys_or_bad_values_is_refused_with_its_place(
    saved: tuple[NRKNet, Path],
) -> None:
    _, folder = saved
    (folder / "config.json").write_text(json.dumps({**LITE.to_dict(), "dropout": 0.1}))
    refused(lambda: load_model(folder, device="cpu"), str(folder), "dropout")
    (folder / "config.json").write_text(json.dumps({**LITE.to_dict(), "stem": 7}))
    refused(lambda: load_model(folder, device="cpu"), str(folder), "stem", "7")


def test_weights_that_do_not_fit_their_configuration_are_refused_by_name(saved: tuple[NRKNet, Path]) -> None:
    _, folder = saved
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if k != "head.table"}, folder / "model.safetensors")
    refused(lambda: load_model(folder, device="cpu"), str(folder), "missing head.table")
    save_file({**tensors, "head.more": torch.zeros(1)}, folder / "model.safetensors")
    refused(lambda: load_model(folder, device="cpu"), "unexpected head.more")
    save_file({**tensors, "head.table": torch.zeros(1, 2)}, folder / "model.safetensors")
    refused(lambda: load_model(folder, device="cpu"), "head.table is [1, 2], expected [3, 2, 2]")
    save_file({k: v for k, v in tensors.items() if k != "head.basis"}, folder / "model.safetensors")
    refused(lambda: load_model(folder, device="cpu"), "missing head.basis")


# -------------------------------------------------------------------------------------------------- names and devices


def test_an_unknown_name_lists_the_bundled_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "bundled_models", lambda: ("default", "lite"))
    refused(lambda: load_model("huge", device="cpu"), "'huge'", "default, lite", "owner/repo")
    monkeypatch.setattr(weights_module, "bundled_models", lambda: ())
    refused(lambda: load_model("lite", device="cpu"), "'lite'", "none")


@pytest.mark.parametrize(
    "source", ["", " ", "a/b/c", "../nowhere/model", "weights.pth", "./weights.pth", "a/weights.pth", "~", "a@b", "é"]
)
def test_a_source_that_is_nowhere_is_one_sentence(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    refused(lambda: load_model(source, device="cpu"))


@pytest.mark.parametrize("name", weights_module.bundled_models())
def test_a_folder_that_is_named_like_a_bundled_network_does_not_hide_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = load_model(name, device="cpu").config
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_model(name, device="cpu").config == bundled


@pytest.mark.parametrize("name", weights_module.bundled_models())
def test_every_bundled_network_loads_and_sharpens_without_going_wrong(name: str) -> None:
    model = load_model(name, device="cpu")
    with torch.no_grad():
        image = model(noise(1, 3, 33, 40)).image
    assert not model.training and bool(image.isfinite().all())


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_saved_weights_can_be_read_by_whom_the_configuration_can(tmp_path: Path) -> None:
    save_model(NRKNet(LITE), tmp_path)
    modes = {name: (tmp_path / name).stat().st_mode for name in ("config.json", "model.safetensors")}
    assert modes["model.safetensors"] == modes["config.json"]


def test_a_device_that_is_not_there_is_one_sentence() -> None:
    assert pick_device("cpu") == torch.device("cpu") and pick_device(torch.device("cpu")).type == "cpu"
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    refused(lambda: pick_device("abacus"), "abacus")
    if not torch.cuda.is_available():
        refused(lambda: pick_device("cuda"), "cuda")


# ------------------------------------------------------------------------------------------------------------ the Hub


@pytest.fixture()
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network, and an empty Hub cache in a folder that is returned."""
    cache = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return cache


def put_in_cache(cache: Path, repo: str, model: NRKNet, *, revision: str = "main") -> None:
    """Lay a model out as the Hub's cache keeps it."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    root = cache / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / revision).write_text(commit)
    save_model(model, root / "snapshots" / commit)


def test_the_mixin_saves_and_loads_an_equal_network(offline: Path, tmp_path: Path) -> None:
    model = random_network(LITE)
    model.save_pretrained(tmp_path / "pretrained")
    loaded = NRKNet.from_pretrained(tmp_path / "pretrained")
    assert type(loaded.config) is NRKNetConfig and loaded.config == model.config
    assert not loaded.training and outputs_equal(loaded, model)


def test_the_mixin_and_save_model_write_the_same_folder(
    offline: Path, saved: tuple[NRKNet, Path], tmp_path: Path
) -> None:
    model, folder = saved
    model.save_pretrained(tmp_path / "pretrained")
    assert (tmp_path / "pretrained" / "README.md").is_file()  # the model card
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "pretrained" / name).read_bytes() == (folder / name).read_bytes()
    assert outputs_equal(load_model(tmp_path / "pretrained", device="cpu"), model)
    assert outputs_equal(NRKNet.from_pretrained(str(folder)), model)


def test_a_loaded_network_saves_again_the_same(offline: Path, saved: tuple[NRKNet, Path], tmp_path: Path) -> None:
    _, folder = saved
    NRKNet.from_pretrained(folder).save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "config.json").read_bytes() == (folder / "config.json").read_bytes()


def test_the_mixin_loads_strictly(offline: Path, saved: tuple[NRKNet, Path]) -> None:
    _, folder = saved
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if k != "head.table"}, folder / "model.safetensors")
    refused(lambda: NRKNet.from_pretrained(folder), "missing head.table")
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**LITE.to_dict(), "dropout": 0.1}))
    refused(lambda: NRKNet.from_pretrained(folder), "dropout")
    (folder / "config.json").unlink()
    refused(lambda: NRKNet.from_pretrained(folder), "config.json")


def test_the_mixin_does_not_swap_a_folders_configuration(offline: Path, saved: tuple[NRKNet, Path]) -> None:
    _, folder = saved
    refused(lambda: NRKNet.from_pretrained(folder, config=PRESETS["paper"]), "config.json", str(folder))


def test_a_repository_in_the_cache_loads_without_a_network(offline: Path) -> None:
    model = random_network(LITE)
    put_in_cache(offline, "someone/deblur", model)
    put_in_cache(offline, "someone/deblur", model, revision="v1")
    assert outputs_equal(load_model("someone/deblur", device="cpu"), model)
    assert outputs_equal(load_model("someone/deblur@v1", device="cpu"), model)
    assert outputs_equal(NRKNet.from_pretrained("someone/deblur"), model)


@pytest.mark.parametrize("source", ["someone/else", "someone/deblur@v2"])
def test_a_repository_that_cannot_be_reached_is_one_sentence(offline: Path, source: str) -> None:
    put_in_cache(offline, "someone/deblur", random_network(LITE))
    refused(lambda: load_model(source, device="cpu"), source, "Hub")


@pytest.mark.parametrize("source", ["some--one/x", "someone/x.git", "someone/-x", "a" * 100 + "/x"])
def test_a_name_that_no_repository_can_have_is_one_sentence(offline: Path, source: str) -> None:
    refused(lambda: load_model(source, device="cpu"), source)
