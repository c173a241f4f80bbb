"""Tests of nrknet.imageio; every file is made on the fly."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageOps

from nrknet import imageio, pillow
from nrknet.imageio import ImageError, Photo, is_probably_image, output_suffix, photo_size, read_photo, write_photo

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY_16 = (np.arange(35, dtype=np.uint16) * 1871).reshape(5, 7)
Array = np.ndarray[Any, np.dtype[Any]]


def random_samples(*shape: int, dtype: type = np.uint8, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, int(np.iinfo(dtype).max) + 1, shape).astype(dtype)


def some_exif(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0132] = "Maker", "Model X", "2024:05:06 07:08:09"
    exif[0x0112] = orientation
    exif[0x8769] = {0x9003: "2024:05:06 07:08:09", 0x920A: 35.0, 0x927C: b"maker's note"}
    exif[0x8825] = {1: "N", 2: (47.0, 22.0, 30.5), 3: "E", 4: (8.0, 32.0, 15.0)}
    return exif.tobytes()


def parse_exif(block: bytes | None) -> Image.Exif:
    assert block is not None
    exif = Image.Exif()
    exif.load(block)
    return exif


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_file(width: int, height: int, depth: int, color: int, rows: bytes, *extra: bytes, interlace: int = 0) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace))
    end = png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + end


def reason(path: Path) -> str:
    """Return the message of the refusal: one sentence that names the file."""
    with pytest.raises(ImageError) as caught:
        read_photo(path)
    message = str(caught.value)
    assert message.startswith(f"Cannot read {path}: ") and message.endswith(".") and "\n" not in message
    return message


@pytest.fixture
def store(tmp_path: Path) -> Any:
    def put(content: bytes, name: str = "file.bin") -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return put


# Reading: what the pixels are


def test_importing_it_loads_neither_torch_nor_the_heavy_codecs() -> None:
    code = "import sys, nrknet.imageio; print([m for m in ('torch', 'tifffile', 'imagecodecs') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied_once_and_reset(store: Any, image_format: str, orientation: int) -> None:
    image = Image.fromarray(random_samples(24, 40, 3))
    options = {"lossless": True} if image_format == "WEBP" else {}
    content = encode(image, image_format, exif=some_exif(orientation), **options)
    stored = encode(image, image_format, **options)  # without the tag, which Pillow applies to TIFF by itself
    unturned = np.asarray(Image.open(io.BytesIO(stored)))
    turned = Image.fromarray(unturned)
    turned.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(turned))
    photo = read_photo(store(content))
    assert photo.pixels.shape == ((24, 40, 3) if orientation < 5 else (40, 24, 3))
    assert photo_size(store(content)) == photo.pixels.shape[1::-1]
    assert np.array_equal(photo.pixels, expected)
    assert parse_exif(photo.exif).get(0x0112) == 1


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP", "GIF"])
def test_the_size_comes_from_the_header_alone(store: Any, image_format: str) -> None:
    content = encode(Image.fromarray(random_samples(160, 200, 3)), image_format)
    assert photo_size(store(content[: 2 * len(content) // 3])) == (200, 160)


def test_a_size_that_cannot_be_had_is_one_sentence_with_the_file(store: Any, tmp_path: Path) -> None:
    starts = (b"nothing", b"\x89PNG\r\n\x1a\n", b"II*\0", b"\xff\xd8\xff")
    for path in (*(store(start, f"{number}.png") for number, start in enumerate(starts)), tmp_path / "gone"):
        with pytest.raises(ImageError) as caught:
            photo_size(path)
        message = str(caught.value)
        assert message.startswith(f"Cannot read {path}: ") and message.endswith(".") and "\n" not in message


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("num_channels", [1, 2, 3, 4])
def test_every_layout_is_turned_exactly(store: Any, orientation: int, dtype: type, num_channels: int) -> None:
    samples = random_samples(3, 5, num_channels, dtype=dtype)
    rows = b"".join(b"\0" + row.astype(samples.dtype.newbyteorder(">")).tobytes() for row in samples)
    color, exif = {1: 0, 2: 4, 3: 2, 4: 6}[num_channels], png_chunk(b"eXIf", some_exif(orientation)[6:])
    photo = read_photo(store(png_file(5, 3, 8 * samples.itemsize, color, rows, exif)))
    corners = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    row, column = corners[orientation]  # where the stored first pixel goes
    assert photo.pixels[row, column, 0] == samples[0, 0, 0]
    if photo.alpha is not None:
        assert photo.alpha[row, column] == samples[0, 0, -1]
    assert np.array_equal(np.sort(photo.pixels[..., 0], axis=None), np.sort(samples[..., 0], axis=None))


def test_turning_swaps_the_two_resolutions(store: Any) -> None:
    image = Image.fromarray(random_samples(8, 8, 3))
    photo = read_photo(store(encode(image, "JPEG", exif=some_exif(6), dpi=(300, 150))))
    assert photo.dpi == pytest.approx((150, 300))


def test_a_big_endian_long_orientation_tag_is_understood(store: Any) -> None:
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIII", 8, 1, 0x0112, 4, 1, 3, 0)
    samples = random_samples(8, 8, 3)
    png = png_file(8, 8, 8, 2, b"".join(b"\0" + row.tobytes() for row in samples), png_chunk(b"eXIf", exif[6:]))
    photo = read_photo(store(png))
    assert np.array_equal(photo.pixels, samples[::-1, ::-1])
    assert parse_exif(photo.exif)[0x0112] == 1


def test_the_thumbnail_of_the_old_look_is_unlinked(store: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    block = bytearray(exif.tobytes())
    block[-4:] = struct.pack(">I", len(block) - 6)  # the next directory: the thumbnail's
    block += struct.pack(">HHHIII", 1, 0x0103, 3, 1, 6 << 16, 0)
    assert parse_exif(bytes(block)).get_ifd(ExifTags.IFD.IFD1)
    photo = read_photo(store(encode(Image.new("RGB", (8, 8)), "JPEG", exif=bytes(block))))
    assert not parse_exif(photo.exif).get_ifd(ExifTags.IFD.IFD1)


@pytest.mark.parametrize("junk", [b"Exif\0\0", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0garbage", b"x"])
def test_damaged_exif_does_not_stop_a_photo(store: Any, junk: bytes) -> None:
    samples = random_samples(4, 4, 3)
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    photo = read_photo(store(png_file(4, 4, 8, 2, rows, png_chunk(b"eXIf", junk))))
    assert np.array_equal(photo.pixels, samples) and photo.exif is None


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_lossless_eight_bit_files_read_as_pillow_shows_them(store: Any, image_format: str, mode: str) -> None:
    image = Image.fromarray(random_samples(19, 23, 3)).convert(mode)
    content = encode(image, image_format)
    expected = Image.open(io.BytesIO(content)).convert("RGB")
    photo = read_photo(store(content))
    assert np.array_equal(photo.pixels, np.asarray(expected))
    assert photo.is_gray == (mode in ("1", "L") and (mode, image_format) != ("L", "GIF"))  # GIF's grey is a palette
    assert photo.alpha is None and photo.format == image_format
    assert photo.pixels.flags.writeable and photo.pixels.flags.c_contiguous


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_shallow_grey_pngs_are_spread_over_the_full_range(store: Any, depth: int) -> None:
    rows = b"".join(b"\0" + bytes([0b00011011]) for _ in range(2))
    photo = read_photo(store(png_file(8 // depth, 2, depth, 0, rows)))
    expected = {1: [0, 0, 0, 255, 255, 0, 255, 255], 2: [0, 85, 170, 255], 4: [1 * 17, 11 * 17]}[depth]
    assert photo.is_gray and photo.pixels[0, :, 1].tolist() == expected


@pytest.mark.parametrize("image_format", ["PNG", "GIF"])
def test_a_palette_with_a_transparent_colour_gives_alpha(store: Any, image_format: str) -> None:
    image = Image.fromarray(random_samples(9, 11) % 7, "P")
    image.putpalette([value * 5 for value in range(21)])
    transparency = bytes([255, 0, 128]) if image_format == "PNG" else 1
    content = encode(image, image_format, transparency=transparency)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))
    photo = read_photo(store(content))
    assert photo.alpha is not None
    assert np.array_equal(np.dstack((photo.pixels, photo.alpha)), expected)


def test_a_transparent_colour_in_a_sixteen_bit_png_gives_alpha(store: Any) -> None:
    samples = random_samples(5, 6, 3, dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    key = png_chunk(b"tRNS", samples[0, 0].astype(">u2").tobytes())
    photo = read_photo(store(png_file(6, 5, 16, 2, rows, key)))
    assert photo.alpha is not None and photo.alpha[0, 0] == 0 and photo.alpha[1:].min() == 65535
    assert np.array_equal(photo.pixels, samples)


def test_an_interlaced_sixteen_bit_png_is_read(store: Any) -> None:
    samples = random_samples(13, 11, 3, dtype=np.uint16)
    steps = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]
    passes = [samples[y::dy, x::dx] for y, dy, x, dx in steps]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for part in passes for row in part)
    assert np.array_equal(read_photo(store(png_file(11, 13, 16, 2, rows, interlace=1))).pixels, samples)


def test_a_grey_photo_with_alpha_is_grey(store: Any) -> None:
    samples = random_samples(6, 5, 2)
    for content in (encode(Image.fromarray(samples), "PNG"), encode(Image.fromarray(samples), "TIFF")):
        photo = read_photo(store(content))
        assert photo.is_gray and photo.alpha is not None
        assert np.array_equal(np.dstack((photo.pixels[..., 2], photo.alpha)), samples)


TIFF_LAYOUTS: list[dict[str, Any]] = [
    {},
    {"compression": "lzw", "predictor": True},
    {"compression": "zlib", "predictor": True},
    {"compression": "packbits"},
    {"tile": (16, 16)},
    {"tile": (16, 32), "compression": "zlib"},
    {"planarconfig": "separate"},
    {"planarconfig": "separate", "compression": "lzw", "rowsperstrip": 3},
    {"rowsperstrip": 5},
    {"byteorder": ">"},
    {"byteorder": ">", "compression": "zlib", "predictor": True},
    {"bigtiff": True},
]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("layout", TIFF_LAYOUTS, ids=str)
def test_every_tiff_layout_is_read_exactly(tmp_path: Path, layout: dict[str, Any], dtype: type) -> None:
    samples = random_samples(37, 41, 4, dtype=dtype)
    for num_channels, extra in ((3, None), (4, ["unassalpha"])):
        path = tmp_path / "layout.tif"
        chosen = samples_of(samples, num_channels, layout)
        tifffile.imwrite(path, chosen, photometric="rgb", extrasamples=extra, **layout)
        photo = read_photo(path)
        assert photo_size(path) == (41, 37)
        assert np.array_equal(photo.pixels, samples[..., :3]) and photo.pixels.dtype == np.dtype(dtype)
        assert (photo.alpha is not None) == (num_channels == 4)
        assert photo.alpha is None or np.array_equal(photo.alpha, samples[..., 3])


def samples_of(samples: Array, num_channels: int, layout: dict[str, Any]) -> Array:
    chosen = samples[..., :num_channels]
    return np.moveaxis(chosen, -1, 0) if layout.get("planarconfig") == "separate" else chosen


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_grey_sixteen_bit_tiffs_are_read_exactly(tmp_path: Path, photometric: Any) -> None:
    tifffile.imwrite(tmp_path / "grey.tif", GRAY_16, photometric=photometric, byteorder=">")
    photo = read_photo(tmp_path / "grey.tif")
    expected = GRAY_16 if photometric == "minisblack" else 65535 - GRAY_16
    assert photo.is_gray and photo.pixels.dtype.isnative
    assert all(np.array_equal(photo.pixels[..., channel], expected) for channel in range(3))


@pytest.mark.parametrize("compression", ["jpeg", "tiff_lzw", "tiff_deflate"])
def test_tiffs_from_libtiff_read_as_pillow_shows_them(store: Any, compression: str) -> None:
    image = Image.fromarray(random_samples(33, 41, 3))
    content = encode(image, "TIFF", compression=compression)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert np.abs(read_photo(store(content)).pixels - expected).max() <= (4 if compression == "jpeg" else 0)


def test_colours_multiplied_by_alpha_are_divided_by_it(tmp_path: Path) -> None:
    samples = np.array([[[30000, 15000, 0, 30000], [0, 0, 0, 0], [100, 200, 300, 65535]]], np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extrasamples=["assocalpha"])
    photo = read_photo(tmp_path / "a.tif")
    assert photo.pixels.tolist() == [[[65535, 32768, 0], [0, 0, 0], [100, 200, 300]]]


def test_only_the_first_frame_is_read(store: Any) -> None:
    frames = [Image.fromarray(random_samples(8, 9, 3, seed=seed)) for seed in (1, 2)]
    for image_format in ("TIFF", "GIF", "WEBP", "PNG", "MPO"):
        options = {"lossless": True} if image_format == "WEBP" else {}
        content = encode(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        photo = read_photo(store(content))
        assert np.array_equal(photo.pixels, expected)
        assert photo.format == {"MPO": "JPEG"}.get(image_format, image_format)


def cmyk_profile() -> bytes:
    """Return a profile whose colours differ much from Pillow's own: L* = 100 (1 - C), whatever M, Y and K are."""
    corners = np.array([[0, 128, 128] if corner >= 8 else [255, 128, 128] for corner in range(16)], np.uint8)
    ramp = np.arange(256, dtype=np.uint8).tobytes()
    identity = struct.pack(">9i", *(65536 if index % 4 == 0 else 0 for index in range(9)))
    table = b"mft1" + bytes([0, 0, 0, 0, 4, 3, 2, 0]) + identity + ramp * 4 + corners.tobytes() + ramp * 3
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags, body, position = b"", b"", 132 + 12 * 4
    for name, content in ((b"desc", text), (b"cprt", text), (b"wtpt", white), (b"A2B0", table)):
        tags += struct.pack(">4sII", name, position + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">II", position + len(body), 0) + b"\x02\x10\0\0prtrCMYKLab " + bytes(12) + b"acsp"
    header += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", 4) + tags + body


def test_a_cmyk_jpeg_without_profile_is_converted_as_pillow_does(store: Any) -> None:
    content = encode(Image.fromarray(random_samples(16, 16, 4), "CMYK"), "JPEG", quality=95)
    photo = read_photo(store(content))
    assert np.array_equal(photo.pixels, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    assert not photo.is_gray and photo.alpha is None


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_cmyk_goes_through_its_profile_and_loses_it(store: Any, image_format: str) -> None:
    plates = np.zeros((16, 16, 4), np.uint8)
    plates[:8, :, 0] = 255  # cyan above; below, black ink that the profile says is white
    plates[8:, :, 3] = 255
    content = encode(Image.fromarray(plates, "CMYK"), image_format, icc_profile=cmyk_profile())
    photo = read_photo(store(content))
    assert photo.pixels[:7].max() < 30 and photo.pixels[9:].min() > 225
    assert photo.icc_profile is None


def test_cmyk_with_a_useless_profile_is_still_converted(store: Any) -> None:
    image = Image.fromarray(random_samples(16, 16, 4), "CMYK")
    photo = read_photo(store(encode(image, "JPEG", icc_profile=b"no profile at all")))
    assert photo.icc_profile is None


@pytest.mark.parametrize("size", [(1, 1), (30000, 1), (1, 30000)])
@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "JPEG", "BMP"])
def test_extreme_shapes_are_read(store: Any, image_format: str, size: tuple[int, int]) -> None:
    content = encode(Image.new("RGB", size, (255, 255, 255)), image_format)
    photo = read_photo(store(content))
    assert photo.pixels.shape == (size[1], size[0], 3) and photo.pixels.min() >= 254


def test_content_decides_and_not_the_name(store: Any) -> None:
    image = Image.fromarray(random_samples(6, 5, 3))
    names = {"PNG": "a.jpg", "JPEG": "a.png", "TIFF": "a.webp", "GIF": "a", "WEBP": "a.tif", "BMP": "a.txt"}
    for image_format, name in names.items():
        assert read_photo(store(encode(image, image_format), name)).format == image_format


# Reading: what is refused


def test_what_is_no_image_is_refused_in_one_sentence(store: Any, tmp_path: Path) -> None:
    assert "no such file" in reason(tmp_path / "missing.jpg")
    assert "folder" in reason(tmp_path)
    assert "empty" in reason(store(b"", "empty.jpg"))
    assert "not a JPEG" in reason(store(b"Dear diary,\n" * 50, "diary.jpg"))
    assert "damaged" in reason(store(b"BMW is a car maker\n" * 50, "cars.bmp"))
    assert "Cannot read" in str(pytest.raises(ImageError, read_photo, "a\0b.png").value)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    os.mkfifo(tmp_path / "pipe.png")
    assert "regular file" in reason(tmp_path / "pipe.png")


def test_camera_raw_and_heic_files_are_refused_with_advice(store: Any, tmp_path: Path) -> None:
    assert "HEIC" in reason(store(b"\0\0\0\x18ftypheic" + bytes(100)))
    for head in (b"II*\0\x10\0\0\0CR\x02\0", b"FUJIFILMCCD-RAW ", b"IIRO\x08\0\0\0", b"IIU\0\x18\0\0\0"):
        assert "raw" in reason(store(head + bytes(100)))
    pixels = random_samples(16, 16, 3)
    tifffile.imwrite(tmp_path / "a.nef", pixels, photometric="rgb", subfiletype=1)  # a preview comes first
    assert "raw" in reason(tmp_path / "a.nef")
    tifffile.imwrite(tmp_path / "a.dng", pixels, photometric="rgb", extratags=[(50706, 1, 4, b"\x01\x04\0\0", True)])
    assert "raw" in reason(tmp_path / "a.dng")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int16", "uint32"])
def test_tiff_samples_other_than_eight_or_sixteen_bits_are_refused(tmp_path: Path, dtype: str) -> None:
    for value in (0, 0.5, np.nan, np.inf) if dtype.startswith("float") else (0,):
        tifffile.imwrite(tmp_path / "a.tif", np.full((8, 8, 3), value, dtype), photometric="rgb")
        assert "save it with 8 or 16 bits" in reason(tmp_path / "a.tif")


def truncation_cases() -> dict[str, bytes]:
    image, deep = Image.fromarray(random_samples(20, 21, 3)), random_samples(20, 21, 3, dtype=np.uint16)
    cases = {name: encode(image, name) for name in ("PNG", "BMP", "GIF", "WEBP")}
    cases["PNG palette"] = encode(image.quantize(16), "PNG", transparency=3)
    cases["JPEG"] = encode(image, "JPEG", exif=some_exif())
    cases["JPEG progressive"] = encode(image, "JPEG", progressive=True)
    cases["JPEG grey"] = encode(image.convert("L"), "JPEG")
    cases["WEBP lossless"] = encode(image, "WEBP", lossless=True, exif=some_exif())
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        cases[f"TIFF {compression}"] = encode(image, "TIFF", compression=compression, icc_profile=PROFILE)
    for layout in TIFF_LAYOUTS:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, samples_of(deep, 3, layout), photometric="rgb", **layout)
        cases[f"TIFF16 {layout}"] = buffer.getvalue()
    cases["PNG16"] = png_file(21, 20, 16, 2, b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep))
    return cases


@pytest.mark.parametrize("name", truncation_cases())
def test_a_file_cut_short_anywhere_is_refused(store: Any, name: str) -> None:
    content = truncation_cases()[name]
    read_photo(store(content))
    last = len(content) - {"BMP": 2, "GIF": 2}.get(name, 0)  # row padding, end marker: every pixel is there without
    for length in {*range(0, last, max(1, last // 60)), *range(last - 12, last)}:
        reason(store(content[:length]))


@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF data")
@pytest.mark.parametrize("name", truncation_cases())
def test_damaged_bytes_never_raise_anything_but_image_errors(store: Any, name: str) -> None:
    content, rng = truncation_cases()[name], np.random.default_rng(0)
    for _ in range(25):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            damaged[position] = rng.integers(256)
        try:
            read_photo(store(bytes(damaged)), max_pixels=10**6)
        except ImageError:
            pass


def test_a_header_that_claims_too_many_pixels_is_refused_before_decoding(store: Any) -> None:
    assert "60000 x 60000" in reason(store(png_file(60000, 60000, 16, 2, b"")))
    bmp = bytearray(encode(Image.new("RGB", (4, 4)), "BMP"))
    bmp[18:26] = struct.pack("<ii", 60000, 60000)
    assert "60000 x 60000" in reason(store(bytes(bmp)))
    gif = bytearray(encode(Image.new("P", (4, 4)), "GIF"))
    gif[6:10] = struct.pack("<HH", 60000, 60000)
    assert "60000 x 60000" in reason(store(bytes(gif)))
    jpeg = bytearray(encode(Image.new("RGB", (16, 16)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 60000, 60000)
    assert "60000 x 60000" in reason(store(bytes(jpeg)))
    tiff = bytearray(encode(Image.new("RGB", (16, 16)), "TIFF"))
    for tag in (256, 257):
        position = tiff.index(struct.pack("<HHI", tag, 4, 1))
        tiff[position + 8 : position + 12] = struct.pack("<I", 60000)
    assert "60000 x 60000" in reason(store(bytes(tiff)))


def test_the_size_limit_is_the_callers_and_not_pillows(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2_000_000)
    path = store(encode(Image.new("RGB", (3000, 2000)), "JPEG"))
    assert read_photo(path, max_pixels=6_000_000).pixels.shape == (2000, 3000, 3)
    with pytest.raises(ImageError, match="3000 x 2000 pixels are more than the limit of 5.9 megapixels"):
        read_photo(path, max_pixels=5_900_000)


def test_running_out_of_memory_is_an_image_error(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(pillow, "_to_array", fail)
    assert "not enough memory" in reason(store(encode(Image.new("RGB", (8, 8)), "JPEG")))


# Writing


def open_elsewhere(path: Path) -> tuple[Image.Image, Image.Exif]:
    image = Image.open(path)
    image.load()
    return image, image.getexif()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("deep", [False, True])
def test_profile_exif_and_resolution_survive(tmp_path: Path, suffix: str, deep: bool) -> None:
    if deep and suffix in (".jpg", ".webp"):
        pytest.skip("8 bits only")
    pixels = random_samples(20, 30, 3, dtype=np.uint16 if deep else np.uint8)
    photo = Photo(pixels, icc_profile=PROFILE, exif=some_exif(), dpi=(300.0, 240.0))
    path, again = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    write_photo(path, photo)
    write_photo(again, read_photo(path))  # twice: nothing wears off
    for file in (path, again):
        image, exif = open_elsewhere(file)
        assert image.info["icc_profile"] == PROFILE
        assert (exif[0x010F], exif[0x0110], exif[0x0132]) == ("Maker", "Model X", "2024:05:06 07:08:09")
        assert exif.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09" and exif.get_ifd(0x8769)[0x920A] == 35
        assert exif.get_ifd(0x8769)[0x927C] == b"maker's note"
        assert exif.get_ifd(0x8825)[2] == (47, 22, 30.5) and exif.get(0x0112, 1) == 1
        back = read_photo(file)
        assert back.icc_profile == PROFILE and back.pixels.dtype == pixels.dtype
        assert parse_exif(back.exif).get_ifd(0x8825)[4] == (8, 32, 15)
        if suffix != ".webp":
            assert image.info["dpi"] == pytest.approx((300, 240), abs=0.1)
            assert back.dpi == pytest.approx((300, 240), abs=0.1)


def test_accents_in_the_metadata_survive_a_tiff(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[315] = "J\u00fcrgen".encode()
    tiff, again = tmp_path / "a.tif", tmp_path / "b.tif"
    write_photo(tiff, Photo(random_samples(4, 4, 3), exif=exif.tobytes()))
    write_photo(again, read_photo(tiff))
    with tifffile.TiffFile(again) as file:
        assert file.pages.first.tags[315].value == "J\u00fcrgen"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_and_notes_about_the_old_layout_stay_out_of_a_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_photo(path, Photo(random_samples(4, 4, 3), exif=b"Exif\0\0II*\0nonsense"))
    assert read_photo(path).pixels.shape == (4, 4, 3)
    note = '{"shape": [4, 4, 3]}'
    tifffile.imwrite(path, random_samples(4, 4, 3), photometric="rgb", description=note, metadata=None)
    assert 270 not in parse_exif(read_photo(path).exif)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_another_reader_sees_the_same_sixteen_bits(tmp_path: Path, suffix: str) -> None:
    from skimage import io as skimage_io

    for num_channels in (3, 4):
        samples = random_samples(31, 17, num_channels, dtype=np.uint16)
        alpha = samples[..., 3] if num_channels == 4 else None
        path = tmp_path / f"a{suffix}"
        write_photo(path, Photo(samples[..., :3], alpha, icc_profile=PROFILE, exif=some_exif()))
        seen = tifffile.imread(path) if suffix == ".tif" else None
        if seen is None:
            assert struct.unpack_from(">B", path.read_bytes(), 24) == (16,)
            seen8 = skimage_io.imread(path)  # Pillow underneath: the upper 8 bits
            assert np.array_equal(seen8, (samples >> 8).astype(np.uint8))
        else:
            assert np.array_equal(seen, samples)


def test_pillow_reads_our_eight_bit_and_grey_sixteen_bit_files(tmp_path: Path) -> None:
    for suffix in (".png", ".tif"):
        path = tmp_path / f"a{suffix}"
        pixels = random_samples(300, 1500, 3)  # several strips
        write_photo(path, Photo(pixels))
        assert np.array_equal(np.asarray(Image.open(path)), pixels)
        write_photo(path, Photo(np.dstack([GRAY_16] * 3), is_gray=True))
        image = Image.open(path)
        assert image.mode in ("I;16", "I") and np.array_equal(np.asarray(image), GRAY_16)


@st.composite
def photos(draw: st.DrawFn) -> Photo:
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    samples = random_samples(height, width, 4, dtype=dtype, seed=draw(st.integers(0, 999)))
    is_gray = draw(st.booleans())
    pixels = np.repeat(samples[..., :1], 3, axis=2) if is_gray else samples[..., :3]
    return Photo(pixels, samples[..., 3] if draw(st.booleans()) else None, is_gray)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(photo=photos(), suffix=st.sampled_from([".png", ".tif"]))
def test_png_and_tiff_give_back_what_was_written(tmp_path: Path, photo: Photo, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    write_photo(path, photo)
    back = read_photo(path)
    assert back.pixels.dtype == photo.pixels.dtype and np.array_equal(back.pixels, photo.pixels)
    assert back.is_gray == photo.is_gray and (back.alpha is None) == (photo.alpha is None)
    assert photo.alpha is None or np.array_equal(back.alpha, photo.alpha)  # type: ignore[arg-type]


def test_a_grey_photo_is_written_with_one_channel_even_if_restoring_tinted_it(tmp_path: Path) -> None:
    photo = Photo(np.full((8, 8, 3), (100, 101, 103), np.uint8), is_gray=True)
    for suffix in (".png", ".jpg", ".tif"):
        write_photo(tmp_path / f"a{suffix}", photo)
        image = Image.open(tmp_path / f"a{suffix}")
        assert image.mode == "L" and image.getpixel((3, 3)) == 101


def test_jpegs_keep_full_colour_resolution_and_high_quality(tmp_path: Path) -> None:
    from PIL import JpegImagePlugin

    write_photo(tmp_path / "a.jpg", Photo(random_samples(32, 32, 3)))
    image = Image.open(tmp_path / "a.jpg")
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    assert JpegImagePlugin.get_sampling(image) == 0
    reference = Image.open(io.BytesIO(encode(image, "JPEG", quality=95)))
    assert image.quantization == reference.quantization  # type: ignore[attr-defined]


def test_webp_keeps_alpha(tmp_path: Path) -> None:
    alpha = random_samples(16, 16)
    write_photo(tmp_path / "a.webp", Photo(random_samples(16, 16, 3), alpha))
    assert np.array_equal(read_photo(tmp_path / "a.webp").alpha, alpha)  # type: ignore[arg-type]


def test_a_format_that_cannot_hold_the_photo_names_those_that_can(tmp_path: Path) -> None:
    deep = Photo(random_samples(4, 4, 3, dtype=np.uint16))
    clear = Photo(random_samples(4, 4, 3), random_samples(4, 4))
    wide = Photo(np.zeros((1, 70000, 3), np.uint8))
    cases = [("a.jpg", deep, "16 bits .*use .png or .tif"), ("a.webp", deep, "use .png or .tif")]
    cases += [("a.jpg", clear, "transparency; use .png or .tif or .webp"), ("a.jpg", wide, "65500 pixels; use .png")]
    cases += [("a.bmp", clear, "use .jpg or .png or .tif or .webp"), ("a", clear, "suffix ''")]
    for name, photo, message in cases:
        with pytest.raises(ImageError, match=message) as caught:
            write_photo(tmp_path / name, photo)
        assert str(caught.value).startswith(f"Cannot write {tmp_path / name}: ")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="quality: got 0"):
        write_photo(tmp_path / "a.jpg", wide, quality=0)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failed_write_leaves_the_target_untouched_and_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, error: BaseException
) -> None:
    target = tmp_path / f"photo{suffix}"
    target.write_bytes(b"the old photo")

    def fail(file: Any, *_arguments: Any) -> None:
        file.write(b"half")
        raise error

    image_format = next(name for name, spellings in imageio._SUFFIXES.items() if suffix in spellings)
    monkeypatch.setitem(imageio._ENCODERS, image_format, fail)
    with pytest.raises(ImageError if isinstance(error, Exception) else KeyboardInterrupt):
        write_photo(target, Photo(random_samples(4, 4, 3)))
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    assert target.read_bytes() == b"the old photo"


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of a process")
@pytest.mark.parametrize("missing", [1, 100, 3000])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_a_disk_that_fills_up_anywhere_leaves_no_half_written_photo(tmp_path: Path, suffix: str, missing: int) -> None:
    import resource

    photo, target = Photo(random_samples(64, 64, 3)), tmp_path / f"photo{suffix}"
    write_photo(target, photo)
    size = target.stat().st_size
    target.unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - missing, before[1]))  # cuts a write short as a full disk does
    try:
        with pytest.raises(ImageError, match="Cannot write .*: file too large"):
            write_photo(target, photo)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_is_an_image_error(tmp_path: Path) -> None:
    photo = Photo(random_samples(4, 4, 3))
    with pytest.raises(ImageError, match="no such file or directory"):
        write_photo(tmp_path / "missing" / "a.png", photo)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match="directory"):
        write_photo(tmp_path / "folder.png", photo)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]
    if os.name == "posix" and os.geteuid() != 0:
        (tmp_path / "folder.png").chmod(0o500)
        with pytest.raises(ImageError, match="permission denied"):
            write_photo(tmp_path / "folder.png" / "a.png", photo)


@pytest.mark.skipif(os.name != "posix", reason="links and permissions of POSIX systems")
def test_a_link_is_followed_and_permissions_are_the_usual(tmp_path: Path) -> None:
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    write_photo(tmp_path / "link.png", Photo(random_samples(4, 4, 3)))
    assert (tmp_path / "link.png").is_symlink() and read_photo(tmp_path / "real.png").format == "PNG"
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "real.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


# Photo and names


def test_restored_pixels_must_have_the_same_shape_and_dtype() -> None:
    photo = Photo(random_samples(4, 5, 3), random_samples(4, 5), dpi=(72.0, 72.0), format="WEBP")
    restored = photo.with_pixels(255 - photo.pixels)
    assert restored.pixels[0, 0, 0] == 255 - photo.pixels[0, 0, 0]
    assert restored.alpha is photo.alpha and restored.dpi == photo.dpi and restored.format == "WEBP"
    for wrong in (photo.pixels[1:], photo.pixels.astype(np.uint16), photo.pixels[..., 0]):
        with pytest.raises(ValueError, match="got .* expected"):
            photo.with_pixels(wrong)


def test_a_photo_of_another_shape_or_dtype_cannot_be_made() -> None:
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(ValueError, match="pixels: got"):
            Photo(wrong)
    with pytest.raises(ValueError, match="alpha: got"):
        Photo(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint16))


def test_the_output_keeps_format_and_spelling_where_it_can() -> None:
    cases = {("JPEG", ".png"): ".jpg", ("JPEG", ".JPG"): ".JPG", ("JPEG", ".jpeg"): ".jpeg", ("PNG", ".jpg"): ".png"}
    cases |= {("TIFF", ".tiff"): ".tiff", ("TIFF", ".x"): ".tif", ("WEBP", ".webp"): ".webp", ("GIF", ".gif"): ".png"}
    cases |= {("BMP", ".bmp"): ".png", ("PNG", ".PNG"): ".PNG", ("png", ""): ".png"}
    for (image_format, source), expected in cases.items():
        assert output_suffix(image_format, source) == expected
    assert output_suffix(Photo(np.zeros((1, 1, 3), np.uint8), format="TIFF"), ".jpg") == ".tif"


def test_image_names_are_known_by_suffix_and_hidden_files_are_not_images() -> None:
    assert is_probably_image("a/b.JPG") and is_probably_image(Path("c.tiff")) and is_probably_image("d.bmp")
    assert not is_probably_image("notes.txt") and not is_probably_image("jpg") and not is_probably_image("a/._b.jpg")
