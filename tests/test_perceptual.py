"""LPIPS: equal to the library's, and never from weights that are not ImageNet's or in silence."""

import functools
import hashlib
import http.server
import importlib.util
import math
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from networks import one_line, random_alexnet
from numpy.typing import NDArray
from safetensors.torch import load_file
from skimage import data
from torch import Tensor

from nrknet import perceptual
from nrknet.imageio import read_photo
from nrknet.perceptual import BACKBONE_VARIABLE, HEADS, Lpips, LpipsUnavailable, load_lpips

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
BACKBONE = SHARED / "lpips" / "alexnet_features.pth"
PHOTOS = SHARED / "dpdd_test_1024"
IMAGE = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def no_backbone_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the environment's, nor the one in PyTorch's cache, nor the internet's."""
    monkeypatch.delenv(BACKBONE_VARIABLE, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(perceptual, "BACKBONE_URL", "http://127.0.0.1:9/alexnet.pth")


@pytest.fixture(scope="module")
def lpips() -> Lpips:
    return Lpips(random_alexnet())


@pytest.fixture(scope="module")
def cat() -> IMAGE:
    return data.chelsea()[:80, :96].copy()


def noisy(image: IMAGE, sigma: float) -> IMAGE:
    noise = np.random.default_rng(0).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).round().astype(np.uint8)


def to_tensor(image: IMAGE) -> Tensor:
    return torch.from_numpy(image.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]


# --- the measure


def test_the_distance_is_zero_for_equal_photos_symmetric_and_grows_with_noise(lpips: Lpips, cat: IMAGE) -> None:
    assert lpips.score(cat, cat) == 0
    distances = [lpips.score(noisy(cat, sigma), cat) for sigma in (2, 8, 32)]
    assert 0 < distances[0] < distances[1] < distances[2]
    assert lpips.score(cat, noisy(cat, 8)) == pytest.approx(distances[1], rel=1e-5)


def test_a_batch_has_the_distances_of_its_photos(lpips: Lpips, cat: IMAGE) -> None:
    others = [noisy(cat, 4), noisy(cat, 16)]
    together = lpips(torch.cat([to_tensor(x) for x in others]), torch.cat([to_tensor(cat)] * 2))
    torch.testing.assert_close(together, torch.tensor([lpips.score(x, cat) for x in others]))


def test_the_other_channel_order_is_that_of_photos_with_red_and_blue_exchanged(lpips: Lpips, cat: IMAGE) -> None:
    other = noisy(cat, 8)
    exchanged = lpips.score(other[..., ::-1].copy(), cat[..., ::-1].copy())
    assert lpips.metrics["lpips_bgr"](other, cat) == exchanged != lpips.metrics["lpips"](other, cat)


def test_photos_too_small_for_the_network_have_no_distance(lpips: Lpips, cat: IMAGE) -> None:
    assert math.isnan(lpips.score(cat[:30], noisy(cat, 8)[:30]))
    assert lpips.score(cat[:31, :31], noisy(cat, 8)[:31, :31]) > 0


def test_other_types_and_unequal_sizes_are_refused(lpips: Lpips, cat: IMAGE) -> None:
    with pytest.raises(ValueError, match="uint8"):
        lpips.score(cat.astype(np.float32), cat)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one size"):
        lpips.score(cat[:-1], cat)


def test_the_heads_are_weights_of_differences_and_never_negative() -> None:
    heads = load_file(HEADS)
    assert [len(heads[f"head{i}"]) for i in range(5)] == [64, 192, 384, 256, 256]
    assert all((head >= 0).all() and head.sum() > 0 for head in heads.values())


# --- the library


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package lpips; where torchvision is missing or does not fit PyTorch, with the one function it takes from it.

    That function gives the layers of AlexNet, which the test fills with its own weights anyway.
    """
    if importlib.util.find_spec("lpips") is None:
        pytest.skip("the package lpips is not installed")
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # RuntimeError: built for another PyTorch
        fake: Any = ModuleType("torchvision")
        fake.models = SimpleNamespace(
            alexnet=lambda pretrained: SimpleNamespace(features=Lpips(random_alexnet()).features)
        )
        monkeypatch.setitem(sys.modules, "torchvision", fake)
    import lpips

    return lpips


@pytest.mark.filterwarnings("ignore")  # the library's own, about PyTorch's and torchvision's interfaces
def test_the_distance_is_that_of_the_library(library: Any, cat: IMAGE) -> None:
    backbone = random_alexnet(seed=3)
    theirs = library.LPIPS(net="alex", pnet_rand=True, verbose=False)
    layers = {name: x for part in theirs.net.children() for name, x in part.named_children() if hasattr(x, "weight")}
    assert len(layers) == 5
    for name, layer in layers.items():
        layer.load_state_dict({part: backbone[f"features.{name}.{part}"] for part in ("weight", "bias")})
    ours = Lpips(backbone)
    for other in (noisy(cat, 8), cat[::-1].copy(), data.chelsea()[100:180, 100:196].copy()):
        expected = theirs(to_tensor(other), to_tensor(cat)).item()
        assert expected > 1e-3 and ours.score(other, cat) == pytest.approx(expected, rel=1e-5)


@pytest.mark.skipif(not BACKBONE.is_file(), reason="AlexNet's weights are not beside the repository")
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the DPDD photos are not beside the repository")
@pytest.mark.parametrize(("name", "expected"), [("1P0A0917", 0.3670806), ("1P0A0960", 0.2092536)])
def test_real_photos_have_the_distance_that_the_library_gave_them(name: str, expected: float) -> None:
    """Expected: lpips 0.1.4 with torch 2.15.0 and torchvision 0.29.2."""
    names = sorted(p.stem for p in (PHOTOS / "source").iterdir())
    sharp = sorted((PHOTOS / "target").iterdir())[names.index(name)]
    (blurred,) = (PHOTOS / "source").glob(f"{name}.*")
    photos = [read_photo(path).pixels for path in (blurred, sharp)]
    assert load_lpips(BACKBONE).score(*photos) == pytest.approx(expected, abs=1e-5)


# --- where the weights come from


def test_a_backbone_must_be_complete(tmp_path: Path) -> None:
    whole = random_alexnet()
    for missing in whole:
        with pytest.raises(ValueError, match=missing.removeprefix("features.")):
            Lpips({name: tensor for name, tensor in whole.items() if name != missing})
    with pytest.raises(ValueError, match="size mismatch"):
        Lpips({**whole, "features.0.weight": whole["features.0.weight"][:, :, 1:, 1:]})


def test_a_file_may_hold_the_whole_classifier_and_be_named_by_the_environment(
    tmp_path: Path, cat: IMAGE, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (1, 2):
        torch.save({**random_alexnet(seed), "classifier.1.weight": torch.zeros(2, 2)}, tmp_path / f"{seed}.pth")
    expected = {seed: Lpips(random_alexnet(seed)).score(noisy(cat, 8), cat) for seed in (1, 2)}
    assert expected[1] != expected[2]
    monkeypatch.setenv(BACKBONE_VARIABLE, str(tmp_path / "1.pth"))
    assert load_lpips().score(noisy(cat, 8), cat) == expected[1]
    assert load_lpips(tmp_path / "2.pth").score(noisy(cat, 8), cat) == expected[2]


@pytest.mark.parametrize("content", [b"", b"not weights", [1, 2], {"weight": torch.zeros(1)}, random_alexnet])
def test_a_file_with_something_else_is_named_in_one_line(content: Any, tmp_path: Path) -> None:
    file = tmp_path / "alexnet.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(ValueError, match=r"alexnet\.pth does not hold torchvision's AlexNet") as error:
        load_lpips(file)
    one_line(error.value)


def test_a_missing_file_is_named_and_nothing_else_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"gone\.pth: No such file"):
        load_lpips(tmp_path / "gone.pth")
    monkeypatch.setenv(BACKBONE_VARIABLE, str(tmp_path / "lost.pth"))
    with pytest.raises(ValueError, match=r"lost\.pth: No such file"):
        load_lpips()


def test_without_a_connection_one_line_says_what_to_do() -> None:
    with pytest.raises(LpipsUnavailable, match="cannot be downloaded .*--lpips-backbone") as error:
        load_lpips()
    one_line(error.value)


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "PATIENCE", 0.2)
    before = socket.getdefaulttimeout()
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(perceptual, "BACKBONE_URL", f"http://127.0.0.1:{server.getsockname()[1]}/alexnet.pth")
        started = time.monotonic()
        with pytest.raises(LpipsUnavailable, match="timed out"):
            load_lpips()
        assert time.monotonic() - started < 60  # by far less than a server may take to say nothing
    assert socket.getdefaulttimeout() == before


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing: the log would stand between the test results."""


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that the download gets, with its right hash."""
    file = tmp_path / "served" / "alexnet.pth"
    file.parent.mkdir()
    torch.save(random_alexnet(5), file)
    handler = functools.partial(QuietHandler, directory=str(file.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(perceptual, "BACKBONE_URL", f"http://127.0.0.1:{server.server_port}/alexnet.pth")
        monkeypatch.setattr(perceptual, "BACKBONE_HASH", hashlib.sha256(file.read_bytes()).hexdigest()[:8])
        yield file
        server.shutdown()


def test_what_was_downloaded_once_is_used_again(served: Path, cat: IMAGE, capfd: pytest.CaptureFixture[str]) -> None:
    expected = Lpips(random_alexnet(5)).score(noisy(cat, 8), cat)
    assert load_lpips().score(noisy(cat, 8), cat) == expected
    served.unlink()
    assert load_lpips().score(noisy(cat, 8), cat) == expected
    assert capfd.readouterr().err == ""


def test_a_download_with_another_hash_is_refused_and_not_kept(served: Path, tmp_path: Path) -> None:
    served.write_bytes(served.read_bytes()[:-1] + b"?")
    for _ in range(2):
        with pytest.raises(LpipsUnavailable, match="hash"):
            load_lpips()
    assert not list((tmp_path / "torch").rglob("*.pth"))
