"""Deblurrer keeps what must be kept, and does large photos in pieces without a trace."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from networks import tame_coordinates
from PIL import Image, ImageCms
from skimage import data

from nrknet.columns import CONTEXT, MIN_TILE
from nrknet.config import PRESETS, NRKNetConfig
from nrknet.imageio import Photo, read_photo, write_photo
from nrknet.inference import Deblurrer, restore_file
from nrknet.model import NRKNet
from nrknet.weights import bundled_models

Array = np.ndarray[Any, np.dtype[Any]]
READ = MIN_TILE + 2 * CONTEXT["auto"]  # what the network reads for the smallest tile
TINY = {"num_atoms": 3, "widths": (4, 8), "num_blocks": (1, 1)}
RADIUS = {"coefficients": "unit_sum", "head": "radius", "radii": (0, 2, 5), "num_coordinates": 2, "memory_channels": 4}


def tiny(seed: int = 0, **options: Any) -> NRKNet:
    torch.manual_seed(seed)
    return NRKNet(NRKNetConfig(**{**TINY, **options}))


def random_photo(height: int, width: int, dtype: Any = np.uint8, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, int(np.iinfo(dtype).max) + 1, (height, width, 3)).astype(dtype)


def nudged(model: NRKNet, seed: int = 0) -> NRKNet:
    """Random weights in the heads, tamed: the output stays near the photo and differs from it everywhere."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter, spread in ((model.head.residual.weight, 2.0), (model.head.posterior.weight, 0.1),
                                  (model.head.table, 10.0)):  # fmt: skip
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    tame_coordinates(model)
    return model


def psnr(image: Array, truth: Array) -> float:
    error = np.mean((image.astype(np.float64) - truth) ** 2)
    return float(10 * np.log10(np.iinfo(truth.dtype).max ** 2 / max(error, 1e-12)))


@pytest.fixture(scope="module")
def identity() -> Deblurrer:
    return Deblurrer(NRKNet(PRESETS["lite"]), device="cpu", tile=MIN_TILE)


@pytest.fixture(scope="module")
def tiny_identity() -> Deblurrer:
    return Deblurrer(tiny(**RADIUS), device="cpu", tile=MIN_TILE)


@pytest.fixture(scope="module")
def restless() -> Deblurrer:
    return Deblurrer(nudged(tiny(**RADIUS)), device="cpu", tile=MIN_TILE)


# ----------------------------------------------------------------------------------------------------- shapes and types


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(16, 16), (17, 19), (33, 500), (700, 40)])
def test_shape_and_dtype_are_kept_and_the_input_is_not_changed(
    restless: Deblurrer, size: tuple[int, int], dtype: Any
) -> None:
    photo = random_photo(*size, dtype)
    before = photo.copy()
    restored = restless(photo)
    assert restored.shape == photo.shape and restored.dtype == photo.dtype
    assert np.array_equal(photo, before) and not np.shares_memory(restored, photo)


def test_views_and_read_only_photos_are_taken(restless: Deblurrer) -> None:
    photo = random_photo(40, 60)
    expected = restless(np.ascontiguousarray(photo[::-1, ::2]))
    photo.flags.writeable = False
    assert np.array_equal(restless(photo[::-1, ::2]), expected)


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (np.zeros((20, 20), np.uint8), r"must be an \(H,W,3\) RGB array, got \(20, 20\)"),
        (np.zeros((20, 20, 4), np.uint8), r"must be an \(H,W,3\) RGB array, got \(20, 20, 4\)"),
        (np.zeros((20, 20, 3), np.float32), "must be uint8 or uint16, got float32"),
        (np.zeros((20, 20, 3), np.int16), "must be uint8 or uint16, got int16"),
        (np.zeros((15, 20, 3), np.uint8), "the photo is 20x15 pixels; at least 16x16 are needed"),
        (torch.zeros(20, 20, 3), r"must be an \(H,W,3\) RGB array"),
        ("photo.jpg", r"must be an \(H,W,3\) RGB array, got str"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(tiny_identity: Deblurrer, photo: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        tiny_identity(photo)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "half"}, "precision must be 'auto' or 'exact', got 'half'"),
        ({"tile": MIN_TILE - 1}, f"at least {MIN_TILE} pixels, got {MIN_TILE - 1}"),
        ({"tile": "big"}, "tile must be 'auto' or a whole number"),
        ({"tile": True}, "tile must be 'auto' or a whole number"),
        ({"device": "abacus"}, "device 'abacus' cannot be used here"),
        ({"model": "no such network"}, "there is no model 'no such network'"),
    ],
)
def test_wrong_options_are_refused_in_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Deblurrer(**{"model": tiny(), **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("terms", [0, -1, 1.0, True, "2"])
def test_terms_that_make_no_sense_are_refused(tiny_identity: Deblurrer, terms: Any) -> None:
    with pytest.raises(ValueError, match="terms must be a whole number from 1"):
        tiny_identity(random_photo(20, 20), terms=terms)


def test_all_terms_are_the_network_as_it_was_trained_and_fewer_are_not(restless: Deblurrer) -> None:
    photo = random_photo(60, 70)
    whole = restless(photo)
    assert restless.num_terms == 3
    assert np.array_equal(restless(photo, terms=3), whole) and np.array_equal(restless(photo, terms=99), whole)
    fewer = [restless(photo, terms=terms) for terms in (1, 2)]
    assert not np.array_equal(fewer[0], fewer[1]) and not np.array_equal(fewer[1], whole)


def test_details_of_a_series_cut_short_are_refused(restless: Deblurrer) -> None:
    photo = random_photo(40, 40)
    with pytest.raises(ValueError, match="details are of the whole series"):
        restless.analyze(photo, terms=1)
    assert np.array_equal(restless.analyze(photo, details=False, terms=1).image, restless(photo, terms=1))


# ---------------------------------------------------------------------------------------------------- kernel at a pixel


@pytest.mark.parametrize(("row", "column"), [(0, 0), (150, 590), (299, 700), (130, 5)])
def test_the_kernel_at_a_pixel_is_that_of_the_whole_photo(row: int, column: int) -> None:
    deblurrer = Deblurrer("lite", device="cpu")
    photo = np.concatenate([data.chelsea(), data.chelsea()[:, ::-1]], axis=1)
    seen = deblurrer.analyze(photo)
    kernel, radius = deblurrer.kernel_at(photo, row, column)
    expected = seen.kernel_at(row, column)
    assert kernel.shape == expected.shape
    assert np.abs(kernel - expected).max() < 0.01 * np.abs(expected).max()
    assert radius == pytest.approx(float(seen.defocus_map[row, column]), abs=0.05)


def test_a_pixel_outside_the_photo_is_refused(tiny_identity: Deblurrer) -> None:
    for row, column in ((-1, 0), (0, 30), (20, 0)):
        with pytest.raises(ValueError, match="the pixel must lie in the photo of 20x30"):
            tiny_identity.kernel_at(random_photo(20, 30), row, column)


# ---------------------------------------------------------------------------------------------------------------- tiles


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("tile", [MIN_TILE, 1024])
def test_an_untrained_lite_network_returns_the_photo(dtype: Any, tile: int) -> None:
    photo = random_photo(390, 370, dtype)
    assert np.array_equal(Deblurrer(NRKNet(PRESETS["lite"]), device="cpu", tile=tile)(photo), photo)


@pytest.mark.parametrize("side", range(READ - 40, READ + 41, 10))
def test_an_untrained_lite_network_returns_photos_about_as_large_as_a_tile(identity: Deblurrer, side: int) -> None:
    for dtype, size in ((np.uint8, (18, side)), (np.uint16, (side, 18))):
        photo = random_photo(*size, dtype)
        assert np.array_equal(identity(photo), photo)


@given(side=st.integers(READ - 40, READ + 140), tall=st.booleans(), deep=st.booleans())
@example(side=READ + 33, tall=True, deep=True)
@settings(max_examples=25, deadline=None)
def test_the_identity_stays_the_identity_at_every_size(
    tiny_identity: Deblurrer, side: int, tall: bool, deep: bool
) -> None:
    photo = random_photo(*((side, 16) if tall else (16, side)), np.uint16 if deep else np.uint8, seed=side)
    assert np.array_equal(tiny_identity(photo), photo)


def test_tiled_and_whole_agree_where_the_network_changes_the_photo() -> None:
    photo = data.coffee()[:, 100:500]
    model = nudged(tiny(**RADIUS))
    whole = Deblurrer(model, device="cpu", tile=1024)(photo)
    assert 20 < psnr(whole, photo) < 50
    assert psnr(Deblurrer(model, device="cpu", tile=MIN_TILE)(photo), whole) > 60


@pytest.mark.skipif(not bundled_models(), reason="no network is bundled yet")
def test_tiled_and_whole_agree_with_the_bundled_weights() -> None:
    photo = data.coffee()[60:310]
    tiled, whole = (Deblurrer(device="cpu", tile=tile) for tile in (MIN_TILE, 1024))
    result = whole(photo)
    assert psnr(tiled(photo), result) > 50
    assert not np.array_equal(result, photo)


@pytest.mark.parametrize(("precision", "least"), [("auto", 60), ("exact", 80)])
def test_columns_agree_with_the_whole(precision: str, least: float) -> None:
    model, photo = nudged(tiny(**RADIUS)), np.ascontiguousarray(np.concatenate([data.coffee()[100:200]] * 3, axis=1))
    whole = Deblurrer(model, device="cpu", tile=2048, precision=precision).analyze(photo, details=False)
    columns = Deblurrer(model, device="cpu", tile=MIN_TILE, precision=precision).analyze(photo, details=False)
    assert psnr(columns.image, whole.image) > least
    assert np.abs(columns.defocus_map - whole.defocus_map).max() < 0.1


def test_the_network_never_sees_more_than_a_tile(restless: Deblurrer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    network = restless._network

    def record(photo: Array, **options: Any) -> Any:
        seen.append(photo.shape)
        return network(photo, **options)

    monkeypatch.setattr(restless, "_network", record)
    for size in ((16, 500), (390, 900), (390, 430)):
        seen.clear()
        restless(random_photo(*size))
        assert max(width for _, width, _ in seen) <= READ
        assert len(seen) > 1


@pytest.mark.skipif(not bundled_models(), reason="no network is bundled yet")
def test_a_photo_is_what_the_network_says_but_for_rounding() -> None:
    # the fast path against NRKNet.forward, on a photo
    photo = np.ascontiguousarray(data.coffee()[100:300, 100:420])
    deblurrer = Deblurrer(device="cpu")
    x = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        image = deblurrer.model(x).image[0].clamp(0, 1).mul(255).permute(1, 2, 0).numpy()
    restored = deblurrer(photo)
    assert np.abs(restored - image).max() < 0.51 and not np.array_equal(restored, photo)


def test_progress_rises_to_one(restless: Deblurrer) -> None:
    for size in ((20, 20), (390, 390)):
        fractions: list[float] = []
        restless(random_photo(*size), progress=fractions.append)
        assert fractions[-1] == 1 and fractions[0] > 0
        assert all(a < b for a, b in zip(fractions, fractions[1:], strict=False))


# --------------------------------------------------------------------------------------------------------- colour order


def test_a_bgr_network_is_the_rgb_one_on_the_photo_with_its_colours_swapped() -> None:
    rgb, bgr = (tiny(shared_atoms=False, channel_order=order) for order in ("rgb", "bgr"))
    bgr.load_state_dict(rgb.state_dict())
    photo = data.coffee()[100:140, 200:264]
    swapped = np.ascontiguousarray(photo[..., ::-1])
    expected, found = Deblurrer(rgb, device="cpu").analyze(swapped), Deblurrer(bgr, device="cpu").analyze(photo)
    assert np.array_equal(found.image, expected.image[..., ::-1])
    assert not np.array_equal(found.image, expected.image)
    assert np.array_equal(found.defocus_map, expected.defocus_map)
    assert np.array_equal(found.atoms, expected.atoms[:, ::-1])
    assert found.terms is not None and expected.terms is not None
    for ours, theirs in zip(found.terms, expected.terms, strict=True):
        assert all(np.array_equal(a, b[..., ::-1]) for a, b in zip(ours, theirs, strict=True))


# ---------------------------------------------------------------------------------------------------------------- files


def test_a_file_keeps_its_depth_alpha_profile_and_exif(tiny_identity: Deblurrer, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = random_photo(20, 30, np.uint16)
    photo = Photo(pixels, alpha=pixels[..., 0], icc_profile=profile, exif=exif.tobytes())
    write_photo(tmp_path / "in.png", photo)
    fractions: list[float] = []
    restore_file(tiny_identity, tmp_path / "in.png", tmp_path / "out.png", progress=fractions.append)
    source, result = read_photo(tmp_path / "in.png"), read_photo(tmp_path / "out.png")
    assert np.array_equal(result.pixels, pixels) and result.pixels.dtype == np.uint16
    assert result.alpha is not None and np.array_equal(result.alpha, pixels[..., 0])
    assert result.icc_profile == profile and result.exif == source.exif and result.exif is not None
    assert fractions == [1.0]
