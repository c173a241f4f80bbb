"""A network's weights as arrays: the same as the network's own, and without PyTorch until it is asked for."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import child_environment
from networks import one_line, random_network
from skimage import data

from nrknet import Deblurrer, load_model
from nrknet.bundled import bundled_folder, bundled_models
from nrknet.config import PRESETS
from nrknet.parameters import Parameters
from nrknet.weights import save_model

pytestmark = pytest.mark.skipif(not bundled_models(), reason="no network is bundled yet")

CODE = """
import hashlib, sys
import numpy as np
from nrknet import Deblurrer
photo = np.random.default_rng(0).integers(0, 256, (70, 90, 3)).astype(np.uint8)
if {first!r}:
    import torch
deblurrer = Deblurrer(device={device!r}, precision={precision!r})
print(hashlib.sha256(deblurrer(photo, strength=0.9)).hexdigest(), "torch" in sys.modules)
"""


def restored_elsewhere(*, first: bool, device: str = "cpu", precision: str = "auto") -> tuple[str, bool]:
    """The digest of a photo restored in another process, and whether PyTorch was imported there."""
    code = CODE.format(first=first, device=device, precision=precision)
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_environment({}), capture_output=True, text=True, timeout=120, check=True
    )
    digest, imported = done.stdout.split()
    return digest, imported == "True"


@pytest.mark.parametrize("precision", ["auto", "exact"])
def test_a_photo_is_restored_to_the_same_bits_without_pytorch(precision: str) -> None:
    from nrknet.fast.compiler import library

    without, imported = restored_elsewhere(first=False, precision=precision)
    assert imported == (library() is None)  # where PyTorch has to do the kernels' work
    assert restored_elsewhere(first=True, precision=precision) == (without, True)


def test_pytorch_is_not_imported_to_find_that_there_is_no_card() -> None:
    from nrknet import accelerators
    from nrknet.fast.compiler import library

    if accelerators._perhaps_a_card() or library() is None:
        pytest.skip("there may be a card here, or no kernels")
    assert not restored_elsewhere(first=False, device="auto")[1]


def test_the_arrays_are_those_of_the_network() -> None:
    for name in bundled_models():
        stored, loaded = Parameters(bundled_folder(name)), Parameters(load_model(name, device="cpu"))
        assert stored.config == loaded.config
        ours, theirs = stored.arrays(), loaded.arrays()
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert ours[key].dtype == np.float32 and np.array_equal(ours[key], theirs[key])


def test_the_network_can_be_had_and_changed_and_the_next_photo_sees_it() -> None:
    photo = np.ascontiguousarray(data.coffee()[100:180, 100:220])
    deblurrer = Deblurrer(device="cpu")
    before = deblurrer(photo)
    network = deblurrer._network._prepared  # type: ignore[attr-defined]
    with torch.inference_mode():
        model = deblurrer.model
    assert model is deblurrer.model and not model.training and deblurrer.device == torch.device("cpu")
    assert not any(p.is_inference() for p in model.parameters())  # it could be trained
    assert np.array_equal(deblurrer(photo), before)
    assert deblurrer._network._prepared is network  # type: ignore[attr-defined]  # nothing has changed
    with torch.no_grad():
        model.get_parameter("unet.entries.0.weight").mul_(0.5)
    after = deblurrer(photo)
    assert not np.array_equal(after, before)
    assert np.array_equal(after, Deblurrer(model, device="cpu")(photo))


@pytest.mark.parametrize("made", [False, True], ids=["arrays", "network"])
@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_copies_restore_the_same_photo(made: bool, again: Callable[[Deblurrer], Deblurrer]) -> None:
    photo = np.ascontiguousarray(data.coffee()[100:180, 100:220])
    deblurrer = Deblurrer(device="cpu")
    expected = deblurrer(photo)
    if made:
        assert deblurrer.model.config == deblurrer.config
    twin = again(deblurrer)
    assert np.array_equal(twin(photo), expected) and twin.model is not deblurrer.model


def test_a_broken_folder_is_one_sentence(tmp_path: Path) -> None:
    save_model(random_network(PRESETS["lite"]), tmp_path, half=True)
    whole = (tmp_path / "model.safetensors").read_bytes()
    for broken in (b"", whole[:100], whole[:-10]):
        (tmp_path / "model.safetensors").write_bytes(broken)
        with pytest.raises(ValueError, match="is not a safetensors file") as caught:
            Parameters(tmp_path).arrays()
        one_line(caught.value)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        Parameters(tmp_path).arrays()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json"):
        Parameters(tmp_path)
