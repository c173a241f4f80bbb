"""Photos in tiles: they cover everything, are blended without a trace, and are never larger than they should be."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from networks import random_network
from skimage import data

from nrknet.analysis import ScaleDetails
from nrknet.columns import MIN_TILE, SEAM, Column, rise, spans
from nrknet.config import PRESETS
from nrknet.fast.network import StreamedNetwork
from nrknet.model import NRKNet
from nrknet.parameters import Parameters
from nrknet.tiling import TiledNetwork


@given(
    size=st.integers(16, 6000), tile=st.integers(MIN_TILE, 900), context=st.sampled_from([32, 128, 256]),
    multiple=st.sampled_from([1, 8, 16, 32]),
)  # fmt: skip
@example(size=MIN_TILE + 256 + 1, tile=MIN_TILE, context=128, multiple=16)
@settings(max_examples=500, deadline=None)
def test_spans_cover_every_pixel_and_share_one_seam_with_the_next(
    size: int, tile: int, context: int, multiple: int
) -> None:
    found = spans(size, tile, context, multiple)
    for span in found:
        assert 0 <= span.start <= span.first < span.last <= span.stop <= size
        assert span.stop - span.start <= tile + 2 * context and span.start % multiple == 0
        assert span.first == 0 or span.first == span.start + context
        assert span.last == size or span.last <= span.stop - context
    assert found[0].first == 0 and found[-1].last == size
    for one, following in zip(found, found[1:], strict=False):
        assert one.last == following.first + SEAM
    for one, later in zip(found, found[2:], strict=False):
        assert later.first >= one.last
    padded = {-(-(span.stop - span.start) // multiple) for span in found}
    assert len(padded) == 1  # so that memory serves again


def test_the_weights_of_neighbours_sum_to_one() -> None:
    assert np.allclose(rise() + rise()[::-1], np.ones(SEAM))
    assert 0 < float(rise()[0]) < float(rise()[-1]) < 1


@pytest.mark.parametrize("width", [300, 800, 1203])
def test_columns_put_a_photo_together(width: int) -> None:
    x = np.random.default_rng(0).random((4, 50, width), np.float32)
    whole = np.zeros((4, 50, width), np.float32)
    for column in Column.all((50, width), MIN_TILE, 32, 16):
        for row in (0, 20, 40):
            for plane, channels in ((0, 3), (3, 1)):
                part = x[plane : plane + channels, row : row + 20, column.start : column.stop].copy()
                blended = column.blended(part, row, plane=plane)
                where = slice(column.first, column.first + blended.shape[2])
                whole[plane : plane + channels, row : row + 20, where] += blended
    assert np.allclose(whole, x, atol=1e-6)


def tiled(model: NRKNet, tile: int, seen: list[Any] | None = None) -> TiledNetwork:
    if seen is not None:
        model.register_forward_pre_hook(lambda model, args: seen.append(tuple(args[0].shape)))
    return TiledNetwork(model, tile=tile, context=128, precision=nullcontext, exact=nullcontext)


def put_together(network: TiledNetwork, photo: Any) -> torch.Tensor:
    bands, end = [], 0
    with torch.inference_mode():
        for band in network(photo, radius=True):
            assert band.start == end and band.radius is not None and band.radius.shape[1:] == band.image.shape[1:]
            end = band.stop
            bands.append(torch.from_numpy(np.concatenate([band.image, band.radius])))
    assert end == len(photo)
    return torch.cat(bands, dim=1)


@pytest.mark.parametrize("name", ["lite", "released"])
def test_tiles_agree_with_the_whole_photo(name: str) -> None:
    model = random_network(PRESETS[name])
    photo = np.concatenate([data.coffee()] * 2)[:900, 100:164]
    seen: list[Any] = []
    found = put_together(tiled(model, MIN_TILE, seen), photo)
    assert len(seen) > 3 and max(shape[2] for shape in seen) <= MIN_TILE + 2 * 128
    expected = put_together(tiled(model, 1000), photo)
    assert (found - expected)[:3].abs().max() < 2e-3
    assert (found - expected)[3].abs().mean() < 0.02


@pytest.mark.parametrize("name", ["lite", "released"])
@torch.inference_mode()
def test_a_series_cut_short_is_the_same_in_tiles_and_in_a_stream(name: str) -> None:
    model, photo = random_network(PRESETS[name]), np.ascontiguousarray(data.coffee()[:120, 100:163])
    for highest in (1, 2):
        one, other = (
            np.concatenate([band.image.copy() for band in network(photo, highest=highest)], axis=1)
            for network in (tiled(model, 1000), StreamedNetwork(Parameters(model)))
        )
        assert np.allclose(one, other, atol=1e-5)


def test_details_are_of_the_whole_photo() -> None:
    model, photo = random_network(PRESETS["lite"]), data.coffee()[:, 100:132]
    found: list[list[ScaleDetails]] = []
    for tile in (MIN_TILE, 1000):
        found.append([])
        with torch.inference_mode():
            for _ in tiled(model, tile)(photo[:450], details=found[-1]):
                pass
    for one, other in zip(*found, strict=True):
        assert torch.equal(one.coefficients, other.coefficients)
        assert all(torch.equal(a, b) for a, b in zip(one.terms, other.terms, strict=True))
