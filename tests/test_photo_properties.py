"""What holds for photos of every size, depth and channel layout, and for any bytes; the same examples always."""

import functools
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from networks import random_network
from PIL import Image

from benchmarks.reliability.broken_photos import broken_photos
from nrknet import PRESETS, Deblurrer
from nrknet.imageio import ImageError, Photo, output_suffix, photo_size, read_photo, write_photo

Array = np.ndarray[Any, np.dtype[Any]]

# The examples are drawn from the test's own code, not at random: a run that passes today passes tomorrow.
steady = settings(
    derandomize=True, deadline=None, database=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow]
)
sides = st.integers(1, 40) | st.integers(1, 300)
seeds = st.integers(0, 2**32 - 1)


def samples(height: int, width: int, num_channels: int, dtype: type, seed: int) -> Array:
    largest = int(np.iinfo(dtype).max)
    drawn = np.random.default_rng(seed).integers(0, largest + 1, (height, width, num_channels)).astype(dtype)
    drawn[: height // 3] = (0, largest)[seed % 2]  # flat parts, which coders treat in ways of their own
    return drawn


@st.composite
def photos(draw: st.DrawFn) -> Photo:
    """Photos of all that a Photo can be."""
    dtype = draw(st.sampled_from((np.uint8, np.uint16)))
    is_gray, has_alpha = draw(st.booleans()), draw(st.booleans())
    drawn = samples(draw(sides), draw(sides), 4, dtype, draw(seeds))
    pixels = np.repeat(drawn[..., :1], 3, axis=2) if is_gray else np.ascontiguousarray(drawn[..., :3])
    alpha = np.ascontiguousarray(drawn[..., 3]) if has_alpha else None
    dpi = draw(st.none() | st.just((300.0, 300.0)))
    return Photo(pixels, alpha, is_gray, draw(st.none() | st.binary(min_size=1, max_size=200)), None, dpi)


def in_file(content: bytes | None, use: Callable[[Path], Any], suffix: str = ".bin") -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"photo{suffix}"
        if content is not None:
            path.write_bytes(content)
        return use(path)


def check_round_trip(photo: Photo, path: Path, tolerance: float | None) -> None:
    """Writes a photo, and reads it back as it was, or nearly so."""
    write_photo(path, photo)
    back = read_photo(path)
    assert back.pixels.dtype == photo.pixels.dtype and back.pixels.shape == photo.pixels.shape
    assert photo_size(path) == photo.pixels.shape[1::-1]
    if tolerance is None:
        assert np.array_equal(back.pixels, photo.pixels) and back.is_gray == photo.is_gray
        assert (back.alpha is None) == (photo.alpha is None)
        assert photo.alpha is None or np.array_equal(back.alpha, photo.alpha)
        assert back.icc_profile == photo.icc_profile
    else:
        assert np.abs(back.pixels.astype(float) - photo.pixels).mean() <= tolerance


@steady
@given(photo=photos(), suffix=st.sampled_from((".png", ".tif")))
def test_what_loses_nothing_gives_back_every_photo(photo: Photo, suffix: str) -> None:
    in_file(None, lambda path: check_round_trip(photo, path, None), suffix)


@steady
@given(photo=photos(), suffix=st.sampled_from((".jpg", ".webp")))
def test_what_loses_something_gives_back_the_size_and_nearly_the_pixels(photo: Photo, suffix: str) -> None:
    assume(photo.pixels.dtype == np.uint8 and (photo.alpha is None or suffix == ".webp"))
    # WebP halves the colours' resolution, in which noise has nothing to stay
    in_file(None, lambda path: check_round_trip(photo, path, 20 if suffix == ".jpg" else 64), suffix)


@steady
@given(
    mode=st.sampled_from(("1", "L", "LA", "P", "RGB", "RGBA")),
    image_format=st.sampled_from(("PNG", "TIFF", "BMP", "GIF")),
    height=sides, width=sides, seed=seeds,
)  # fmt: skip
def test_pillows_files_are_read_as_pillow_shows_them(
    mode: str, image_format: str, height: int, width: int, seed: int
) -> None:
    assume(not (image_format == "BMP" and mode in ("LA", "RGBA")))
    source = Image.fromarray(samples(height, width, 4, np.uint8, seed), "RGBA")
    image = source.convert("RGB").quantize(32) if mode == "P" else source.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, image_format)
    with Image.open(buffer) as shown:
        expected = np.asarray(shown.convert("RGBA" if shown.has_transparency_data else "RGB"))
    found = in_file(buffer.getvalue(), read_photo)
    assert np.array_equal(found.pixels, expected[..., :3])
    assert found.alpha is None if expected.shape[2] == 3 else np.array_equal(found.alpha, expected[..., 3])


@steady
@given(
    dtype=st.sampled_from((np.uint8, np.uint16)), num_channels=st.sampled_from((1, 3, 4)),
    compression=st.sampled_from((None, "lzw", "zlib", "packbits", "zstd")), byteorder=st.sampled_from("<>"),
    tile=st.sampled_from((None, (16, 16), (32, 64))), bigtiff=st.booleans(), predictor=st.booleans(),
    height=sides, width=sides, seed=seeds,
)  # fmt: skip
def test_tiff_files_are_read_as_tifffile_reads_them(
    dtype: type, num_channels: int, compression: str | None, byteorder: str, tile: tuple[int, int] | None,
    bigtiff: bool, predictor: bool, height: int, width: int, seed: int,
) -> None:  # fmt: skip
    drawn = samples(height, width, num_channels, dtype, seed)
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, drawn if num_channels > 1 else drawn[..., 0], compression=compression, byteorder=byteorder, tile=tile,
        bigtiff=bigtiff, predictor=predictor and compression in ("lzw", "zlib", "zstd"),
        photometric="minisblack" if num_channels == 1 else "rgb",
        extrasamples=["unassalpha"] if num_channels == 4 else None,
    )  # fmt: skip
    found = in_file(buffer.getvalue(), read_photo)
    assert np.array_equal(found.pixels, drawn[..., :3] if num_channels > 1 else np.repeat(drawn, 3, axis=2))
    assert found.alpha is None if num_channels < 4 else np.array_equal(found.alpha, drawn[..., 3])


# --- bytes of any kind

SIGNATURES = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0",
    b"RIFF\xff\0\0\0WEBPVP8 ", b"RIFF\xff\0\0\0WEBPVP8X", b"BM", b"GIF89a", b"",
)  # fmt: skip


def read_or_refuse(path: Path) -> None:
    """A file is read, its size told and it can be written, or a sentence says what is wrong."""
    try:
        photo = read_photo(path, max_pixels=10**6)
    except ImageError as error:
        assert str(error).startswith(f"Cannot read {path}: ") and str(error).endswith(".") and "\n" not in str(error)
    else:
        assert photo_size(path) == photo.pixels.shape[1::-1]
        write_photo(path.with_name("result" + output_suffix(photo, path.suffix)), photo)
    try:
        photo_size(path)
    except ImageError as error:
        assert str(error).startswith(f"Cannot read {path}: ") and "\n" not in str(error)


@settings(steady, max_examples=200)
@given(signature=st.sampled_from(SIGNATURES), rest=st.binary(max_size=300))
def test_any_bytes_behind_a_signature_are_read_or_refused(signature: bytes, rest: bytes) -> None:
    in_file(signature + rest, read_or_refuse)


@functools.cache
def small_files() -> list[bytes]:
    return [broken.content for broken in broken_photos() if 0 < len(broken.content) < 20_000]


@pytest.mark.filterwarnings("ignore")
@settings(steady, max_examples=120)
@given(data=st.data())
def test_files_with_bytes_replaced_and_moved_are_read_or_refused(data: st.DataObject) -> None:
    content = data.draw(st.sampled_from(small_files()))
    at = st.integers(0, len(content) - 1)
    changed = bytearray(content)
    for position, value in data.draw(st.lists(st.tuples(at, st.integers(0, 255)), max_size=6)):
        changed[position] = value
    start, end = sorted((data.draw(at), data.draw(at)))
    if data.draw(st.booleans()):
        changed[start:end] = changed[start:end] * data.draw(st.sampled_from((0, 2)))
    in_file(bytes(changed), read_or_refuse)


# --- the deblurrer


@functools.cache
def deblurrer() -> Deblurrer:
    return Deblurrer(random_network(PRESETS["lite"]), device="cpu")


@settings(steady, max_examples=12)
@given(
    height=st.integers(16, 90), width=st.integers(16, 90), dtype=st.sampled_from((np.uint8, np.uint16)), seed=seeds,
    strength=st.floats(0, 1),
)  # fmt: skip
def test_a_photo_of_any_size_and_depth_comes_back_in_its_size_and_depth(
    height: int, width: int, dtype: type, seed: int, strength: float
) -> None:
    pixels = samples(height, width, 3, dtype, seed)
    kept = pixels.copy()
    restored = deblurrer()(pixels, strength=strength)
    assert restored.shape == pixels.shape and restored.dtype == pixels.dtype
    assert np.array_equal(pixels, kept)
    assert np.array_equal(deblurrer()(pixels, strength=strength), restored)
    assert np.array_equal(deblurrer()(pixels, strength=0.0), pixels)
    found = deblurrer().analyze(pixels, details=False)
    assert found.defocus_map.shape == (height, width) and np.isfinite(found.defocus_map).all()
    assert (found.defocus_map >= 0).all()
