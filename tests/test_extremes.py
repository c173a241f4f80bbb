"""Photos at the edges of what there is, weights that make numbers run over, and the same bits every time."""

import logging
import math
import os
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from kernels import without_kernels
from networks import one_line, random_network, randomise

from benchmarks.reliability.extremes import constants, everything, patterns
from nrknet.arrays import Pixels
from nrknet.config import PRESETS
from nrknet.fast.compiler import library
from nrknet.folder import WEIGHTS_FILE
from nrknet.inference import Deblurrer
from nrknet.model import NRKNet
from nrknet.numerics import NotFinite, is_finite, largest_activations
from nrknet.tiling import TiledNetwork, _to_tensor
from nrknet.weights import load_model, save_model

ROOT = Path(__file__).parent.parent
DTYPES = (np.uint8, np.uint16)
AGREEMENT = {"exact": 1e-4, "auto": 1e-3}
"""Of the range: how far each precision may be from PyTorch's float32 at any pixel (measured 4e-5 and 5e-4)."""


@pytest.fixture(scope="module")
def lite() -> NRKNet:
    return load_model("lite", device="cpu")


@pytest.fixture(scope="module", params=["lite", "released"])
def model(request: pytest.FixtureRequest, lite: NRKNet) -> NRKNet:
    return lite if request.param == "lite" else random_network(PRESETS["released"])


def reference(model: NRKNet, photo: Pixels) -> np.ndarray:
    """What the network gives in PyTorch's float32, clipped, as levels of the photo's depth, not rounded."""
    swap = model.config.channel_order == "bgr"
    blurred = _to_tensor(photo)
    with torch.no_grad():
        image = model(blurred.flip(1) if swap else blurred).image[0]
    assert bool(image.isfinite().all())
    levels = (image.flip(0) if swap else image).clamp(0, 1) * float(np.iinfo(photo.dtype).max)
    return levels.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("precision", ["auto", "exact"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_photos_come_back_as_the_reference_computes_them(
    model: NRKNet, dtype: type[np.unsignedinteger], precision: str
) -> None:
    deblurrer, top = Deblurrer(model, precision=precision), np.iinfo(dtype).max
    for name, photo in everything(dtype):
        error = np.abs(deblurrer(photo).astype(np.float64) - reference(model, photo)).max()
        assert error <= 0.5 + AGREEMENT[precision] * top, name


def test_extreme_photos_through_products_of_integers() -> None:
    # wide maps alone are multiplied so; measured 1.6e-3, and 1.0e-3 with products of floats
    model = randomise(NRKNet(PRESETS["released"])).eval()
    deblurrer = Deblurrer(model, device="cpu")
    for name, photo in everything(np.uint8):
        error = np.abs(deblurrer(photo).astype(np.float64) - reference(model, photo)).max()
        assert error <= 0.5 + 4e-3 * 255, name


@pytest.mark.parametrize("size", [(16, 16), (16, 200), (130, 17)])
def test_so_do_photos_of_the_smallest_sizes(model: NRKNet, size: tuple[int, int]) -> None:
    deblurrer = Deblurrer(model)
    for name, photo in patterns(np.uint16, height=size[0], width=size[1]):
        error = np.abs(deblurrer(photo).astype(np.float64) - reference(model, photo)).max()
        assert error <= 0.5 + AGREEMENT["auto"] * 65535, name


def test_tiles_give_what_the_whole_gives_on_extreme_photos(lite: NRKNet) -> None:
    whole, tiled = Deblurrer(lite, precision="auto"), Deblurrer(lite, precision="auto", tile=160)
    for name, photo in patterns(np.uint8, height=24, width=600):
        difference = np.abs(whole(photo).astype(int) - tiled(photo).astype(int))
        assert difference.max() <= 8, name  # what lies more than 128 pixels away has a say too; measured 5


@pytest.mark.parametrize("dtype", DTYPES)
def test_flat_photos_stay_flat_to_half_a_percent_and_black_stays_black(
    lite: NRKNet, dtype: type[np.unsignedinteger]
) -> None:
    # the series keeps constants, for its coefficients sum to 1; the image head may add a little
    deblurrer, top = Deblurrer(lite), np.iinfo(dtype).max
    for name, photo in constants(dtype):
        change = np.abs(deblurrer(photo).astype(int) - photo.astype(int)).max()
        assert change <= 0.005 * top, name
        series = np.abs(deblurrer(photo, terms=1).astype(int) - photo.astype(int)).max()
        assert series <= 1 + 1e-4 * top, name
    black = np.zeros((32, 32, 3), dtype)
    assert deblurrer(black).max() <= 0.002 * top  # not one level of 8 bits


def test_8_and_16_bits_give_the_same_picture(model: NRKNet) -> None:
    deblurrer = Deblurrer(model)
    for name, photo in everything(np.uint8):
        eight, sixteen = deblurrer(photo), deblurrer(photo.astype(np.uint16) * 257)
        assert np.abs(eight * 257.0 - sixteen).max() <= 129 + AGREEMENT["auto"] * 65535, name


def test_analysis_of_extreme_photos_is_finite(lite: NRKNet) -> None:
    for name, photo in everything(np.uint8):
        seen = Deblurrer(lite).analyze(photo)
        assert np.isfinite(seen.defocus_map).all() and (seen.defocus_map >= 0).all(), name
        assert seen.coefficients is not None and all(np.isfinite(c).all() for c in seen.coefficients), name


# -------------------------------------------------------------------------------------------------- numbers run over


def scaled(model: NRKNet, factor: float, *names: str) -> NRKNet:
    """A copy with larger weights in the layers of these names."""
    copy = NRKNet(model.config)
    copy.load_state_dict(model.state_dict())
    with torch.no_grad():
        for name, value in copy.named_parameters():
            if name in names:
                value.mul_(factor)
    return copy.eval()


def half() -> AbstractContextManager[None]:
    return torch.autocast("cpu", torch.float16)


def tiled(model: NRKNet, precision: object = half) -> TiledNetwork:
    return TiledNetwork(model, tile=160, context=128, precision=precision, exact=nullcontext)  # type: ignore[arg-type]


PHOTO = dict(patterns(np.uint8))["noise of black and white"]


@torch.no_grad()
def test_a_tile_that_runs_over_in_16_bits_is_computed_again_in_32(
    lite: NRKNet, caplog: pytest.LogCaptureFixture
) -> None:
    # features of the image head beyond 65504, which its last layer brings back: ReLUs let factors pass
    large = scaled(scaled(lite, 1e7, "image_head.entry.weight"), 1e-7, "image_head.exit.weight")
    with half():
        assert not bool(large(_to_tensor(PHOTO)).image.isfinite().all())  # it does run over
    with caplog.at_level(logging.WARNING):
        (band,) = tiled(large)(PHOTO)
    assert np.allclose(band.image, lite(_to_tensor(PHOTO)).image[0], atol=1e-4)
    assert "numbers ran over in rows 0 to 40" in caplog.text


def test_a_photo_whose_maps_run_over_in_16_bits_is_restored_again_in_32(
    lite: NRKNet, caplog: pytest.LogCaptureFixture
) -> None:
    # what passes from the first to the second convolution of a block, as above
    large = scaled(scaled(lite, 1e8, "image_head.blocks.0.first.weight"), 1e-8, "image_head.blocks.0.second.weight")
    exact = Deblurrer(large, precision="exact")
    with caplog.at_level(logging.WARNING):
        expected = exact.analyze(PHOTO)
        assert caplog.text == ""
        seen = Deblurrer(large).analyze(PHOTO)
        again = not caplog.text == ""
    assert np.array_equal(seen.image, expected.image) and np.array_equal(seen.defocus_map, expected.defocus_map)
    assert seen.coefficients is not None and len(seen.coefficients) == large.config.num_scales
    kernels = library()
    assert again == (kernels is not None and bool(kernels.nrknet_halves()))


@torch.no_grad()
def test_a_photo_that_does_not_run_over_is_computed_once(lite: NRKNet, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        (band,) = tiled(lite)(PHOTO)
    expected = lite(_to_tensor(PHOTO)).image[0]
    assert 1e-6 < np.abs(band.image - expected.numpy()).max() < 0.05  # 16 bits it was
    assert caplog.text == ""


@pytest.mark.parametrize("which", ["streamed", "tiled"])
def test_a_network_that_runs_over_as_32_bit_floats_is_one_sentence_and_no_photo(lite: NRKNet, which: str) -> None:
    names = "unet.entries.0.weight", "unet.encoders.0.0.first.weight", "unet.bottleneck_entry.weight"
    useless = scaled(lite, 1e30, *names)
    with pytest.raises(NotFinite) as caught:
        if which == "streamed":
            Deblurrer(useless)(PHOTO)
        else:
            list(tiled(useless)(PHOTO))
    assert "run over in rows 0 to" in one_line(caught.value)


def test_what_was_kept_in_float32_is_not_restored_twice(lite: NRKNet, caplog: pytest.LogCaptureFixture) -> None:
    names = "unet.entries.0.weight", "unet.encoders.0.0.first.weight", "unet.bottleneck_entry.weight"
    useless = scaled(lite, 1e30, *names)
    with caplog.at_level(logging.WARNING):
        for precision in ("exact", "auto"):
            with nullcontext() if precision == "exact" else without_kernels(), pytest.raises(NotFinite):
                Deblurrer(useless, precision=precision)(PHOTO)
    assert caplog.text == ""


def test_a_photo_that_ran_over_leaves_nothing_behind(lite: NRKNet) -> None:
    deblurrer = Deblurrer(scaled(lite, 1.0))
    before = deblurrer(PHOTO)
    weight = deblurrer.model.get_parameter("unet.entries.0.weight")
    with torch.no_grad():
        kept = weight.clone()
        for bad in (math.inf, math.nan):
            weight.fill_(bad)
            with pytest.raises(NotFinite):
                deblurrer(PHOTO)
        weight.copy_(kept)
    assert np.array_equal(deblurrer(PHOTO), before)


def test_large_logits_and_gates_saturate(lite: NRKNet) -> None:
    # exponentials of the compiled kernels against PyTorch's
    steep = scaled(lite, 1e5, "head.posterior.weight", "memory.gates.weight")
    for name, photo in patterns(np.uint16):
        error = np.abs(Deblurrer(steep, precision="exact")(photo).astype(np.float64) - reference(steep, photo)).max()
        assert np.isfinite(error) and error <= 0.5 + 0.01 * 65535, name


def test_activations_of_the_bundled_network_fit_16_bit_floats_many_times_over(lite: NRKNet) -> None:
    def run() -> None:
        with torch.no_grad():
            for _, photo in patterns(np.uint8):
                lite(_to_tensor(photo))

    found = largest_activations(lite, run)
    assert {"unet.entries.0", "memory.gates", "head.posterior", "image_head.exit"} <= found.keys()
    assert 1 < max(found.values()) < torch.finfo(torch.float16).max / 100


def test_a_sum_tells_whether_all_is_finite() -> None:
    x = np.random.default_rng(0).random((3, 50, 70), np.float32)
    assert is_finite(x) and is_finite(x[:, ::2, 3:]) and is_finite(x[:0])
    for bad in (math.nan, math.inf, -math.inf):
        worse = x.copy()
        worse[1, 7, 9] = bad
        assert not is_finite(worse)
    both = x.copy()
    both[0, 0, 0], both[0, 0, 1] = math.inf, -math.inf
    assert not is_finite(both)


def test_weights_beyond_16_bits_are_stored_in_32(lite: NRKNet, tmp_path: Path) -> None:
    large = scaled(lite, 1e6, "unet.entries.0.weight")
    save_model(large, tmp_path, half=True)
    assert (tmp_path / WEIGHTS_FILE).stat().st_size < 0.6 * sum(4 * p.numel() for p in large.parameters())
    stored = load_model(tmp_path, device="cpu").get_parameter("unet.entries.0.weight")
    assert torch.equal(stored, large.get_parameter("unet.entries.0.weight"))


# ------------------------------------------------------------------------------------------- the same bits every time

HASHES = """
import hashlib, sys
import numpy as np
import torch
from nrknet import Deblurrer

torch.set_num_threads(int(sys.argv[1]))
photo = np.random.default_rng(0).integers(0, 65536, (150, 170, 3)).astype(np.uint16)
for precision in ("auto", "exact"):
    deblurrer = Deblurrer("lite", device="cpu", precision=precision)
    print(hashlib.sha256(deblurrer(photo).tobytes()).hexdigest())
"""


@pytest.mark.parametrize("precision", ["auto", "exact"])
def test_a_photo_gives_the_same_bits_whatever_came_before_it(lite: NRKNet, precision: str) -> None:
    random = np.random.default_rng(0)
    photo, other = (random.integers(0, 65536, (150, 170, 3)).astype(np.uint16) for _ in range(2))
    deblurrer = Deblurrer(lite, precision=precision)
    first = deblurrer(photo)
    assert np.array_equal(deblurrer(photo), first)
    deblurrer(other)
    assert np.array_equal(deblurrer(photo), first)
    deblurrer(other[:60])
    assert np.array_equal(deblurrer(photo), first)
    assert np.array_equal(Deblurrer(lite, precision=precision)(photo), first)


@pytest.mark.slow
def test_the_compiled_kernels_give_the_same_bits_with_any_number_of_threads() -> None:
    from nrknet.fast.compiler import library

    if library() is None:
        pytest.skip("without the compiled kernels PyTorch's convolutions round as their threads divide the work")
    said = set()
    for threads in ("1", "2"):
        command = [sys.executable, "-c", HASHES, threads]
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        said.add(subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(said) == 1  # of both precisions
