"""Photos from and to files: colour, orientation, profile, metadata, transparency, 8 and 16 bits per channel."""

from __future__ import annotations

import dataclasses
import io
import logging
import os
import secrets
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, TiffImagePlugin, WebPImagePlugin

if TYPE_CHECKING:
    import tifffile

Array = np.ndarray[Any, np.dtype[Any]]

_SUFFIXES = {  # format -> its spellings, the usual one first
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
_HOLDS_16_BIT = ("PNG", "TIFF")
_HOLDS_ALPHA = ("PNG", "TIFF", "WEBP")
_LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
IMAGE_SUFFIXES = frozenset({suffix for spellings in _SUFFIXES.values() for suffix in spellings} | {".bmp", ".gif"})

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_RAW_SIGNATURES = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")  # Fujifilm, Olympus, Panasonic
_EXIF_PREFIX = b"Exif\0\0"
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD, _IMAGE_DESCRIPTION = 0x8769, 0x8825, 0xA005, 270
# The TIFF tags that describe the photo; the others say how its pixels lie in the file. 18246 is the rating, 40091-40095
# are the title, comment, author, keywords and subject of Windows.
_DESCRIPTIVE_TAGS = (_IMAGE_DESCRIPTION, 271, 272, 305, 306, 315, 316, 18246, 33432, *range(40091, 40096))
_RAW_HELP = "it is a camera raw file; develop it to TIFF, PNG or JPEG first"
_HEIC_HELP = "it is a HEIC, AVIF or CR3 file; export it as TIFF, PNG or JPEG first"


class ImageError(ValueError):
    """A photo cannot be read or written; the message is one sentence that names the file and the reason."""


class _Refusal(Exception):
    """The reason alone; `read_photo` and `write_photo` add the file's name."""


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
    """A photo the right way up, with what its file said about it.

    Args:
        pixels: (H, W, 3) uint8 or uint16 RGB, not premultiplied by alpha.
        alpha: (H, W) of the dtype of `pixels`, 0 = transparent, or None.
        is_gray: the file had one colour channel: the three in `pixels` are equal, and one is written.
        icc_profile: the profile that `pixels` are in; None means untagged, usually sRGB.
        exif: EXIF block starting with b"Exif\\0\\0"; its orientation says "upright", its thumbnail is unlinked.
        dpi: horizontal and vertical pixels per inch.
        format: what the file is, whatever its name says: "JPEG", "PNG", "TIFF", "WEBP", "BMP" or "GIF".

    Raises:
        ValueError: `pixels` or `alpha` has another shape or dtype.
    """

    pixels: Array
    alpha: Array | None = None
    is_gray: bool = False
    icc_profile: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    format: str = "PNG"

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if len(shape) != 3 or shape[2] != 3 or 0 in shape or dtype not in (np.uint8, np.uint16):
            raise ValueError(f"pixels: got {shape} {dtype}, expected (H, W, 3) uint8 or uint16")
        if self.alpha is not None and (self.alpha.shape != shape[:2] or self.alpha.dtype != dtype):
            raise ValueError(f"alpha: got {self.alpha.shape} {self.alpha.dtype}, expected {shape[:2]} {dtype}")

    def with_pixels(self, pixels: Array) -> Photo:
        """Return this photo with restored pixels, (H, W, 3), of the same shape and dtype; ValueError otherwise."""
        if pixels.shape != self.pixels.shape or pixels.dtype != self.pixels.dtype:
            expected = f"{self.pixels.shape} {self.pixels.dtype}"
            raise ValueError(f"pixels: got {pixels.shape} {pixels.dtype}, expected {expected}")
        return dataclasses.replace(self, pixels=pixels)


@dataclasses.dataclass
class _Decoded:
    """What a decoder hands on: samples as they lie in the file, (H, W, 1..4): grey, grey+alpha, RGB or RGBA."""

    samples: Array
    icc_profile: bytes | None
    exif: bytes | None
    dpi: Any


def is_probably_image(path: str | os.PathLike[str]) -> bool:
    """Return whether the name looks like an image's; hidden files (macOS puts "._photo.jpg" beside photos) do not."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES and not Path(path).name.startswith(".")


def output_suffix(photo_or_format: Photo | str, source_suffix: str) -> str:
    """Return the suffix of the restored file: the source's format if we write it, else PNG; its spelling if it fits."""
    image_format = photo_or_format.format if isinstance(photo_or_format, Photo) else photo_or_format.upper()
    spellings = _SUFFIXES.get(image_format, _SUFFIXES["PNG"])
    return source_suffix if source_suffix.lower() in spellings else spellings[0]


def read_photo(path: str | os.PathLike[str], *, max_pixels: int = 200_000_000) -> Photo:
    """Read a JPEG, PNG, TIFF, WebP, BMP or GIF (its first frame), whatever its name says.

    Args:
        max_pixels: width x height above which a file is refused before anything is decoded.

    Returns:
        The photo, turned upright; 16-bit files stay 16-bit, CMYK becomes sRGB.

    Raises:
        ImageError: the file is missing, no such image, cut short, damaged, too large, or of a kind not handled.
    """
    try:
        source = Path(path)
        if source.exists() and not source.is_file():
            raise _Refusal("it is a folder" if source.is_dir() else "it is not a regular file")
        with source.open("rb") as file:
            image_format = _detect_format(file.read(32))
            file.seek(0)
            decoded = _DECODERS[image_format](file, max_pixels)
        return _assemble(decoded, image_format)
    except Exception as error:  # decoders raise nearly anything on damaged data
        reason = _reason(error, "the file is damaged, incomplete or of an unusual kind")
        raise ImageError(f"Cannot read {path}: {reason}.") from error


def write_photo(path: str | os.PathLike[str], photo: Photo, *, quality: int = 95) -> None:
    """Write a photo in the format of the path's suffix; the target is replaced at once, or not touched at all.

    Args:
        path: ends in .png, .jpg, .jpeg, .tif, .tiff or .webp; a link is followed.
        quality: 1-100, for JPEG (4:4:4) and WebP; PNG and TIFF are lossless.

    Raises:
        ImageError: the format is not written or cannot hold the photo's depth, transparency or size, or the disk fails.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality: got {quality}, expected 1-100")
    try:
        target = Path(os.path.realpath(path))
        image_format = _format_to_write(target.suffix, photo)
        # Made with open(), so that the photo gets the usual permissions, which tempfile's 0600 would not be.
        temporary = target.with_name(f".nrknet-{secrets.token_hex(8)}.tmp")
        file = temporary.open("xb")
        try:
            with file:
                _ENCODERS[image_format](file, photo, quality)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except Exception as error:  # encoders raise several types, and the disk its own
        raise ImageError(f"Cannot write {path}: {_reason(error, 'encoding failed')}.") from error


def _reason(error: Exception, otherwise: str) -> str:
    """Return one line for a person, without a closing full stop."""
    if isinstance(error, _Refusal):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    is_jargon = isinstance(error, (struct.error, LookupError, SyntaxError))  # "index out of range" helps nobody
    detail = "" if is_jargon else " ".join(str(error).split()).rstrip(".")
    return f"{otherwise} ({detail})" if detail else otherwise


def _detect_format(head: bytes) -> str:
    """Return the format that the first 32 bytes of a file show."""
    if not head:
        raise _Refusal("the file is empty")
    if head[4:8] == b"ftyp":
        raise _Refusal(_HEIC_HELP)
    is_tiff = head.startswith(_TIFF_SIGNATURES)
    if head.startswith(_RAW_SIGNATURES) or (is_tiff and head[8:10] == b"CR"):  # Canon's CR2 is a TIFF inside
        raise _Refusal(_RAW_HELP)
    found = {
        "JPEG": head.startswith(b"\xff\xd8\xff"),
        "PNG": head.startswith(_PNG_SIGNATURE),
        "TIFF": is_tiff,
        "WEBP": head.startswith(b"RIFF") and head[8:12] == b"WEBP",
        "BMP": head.startswith(b"BM"),
        "GIF": head.startswith((b"GIF87a", b"GIF89a")),
    }
    for image_format, matches in found.items():
        if matches:
            return image_format
    raise _Refusal("it is not a JPEG, PNG, TIFF, WebP, BMP or GIF image")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise _Refusal(f"{width} x {height} pixels are more than the limit of {max_pixels / 1e6:g} megapixels")


def _assemble(decoded: _Decoded, image_format: str) -> Photo:
    """Turn decoded samples upright and split them into colour and alpha."""
    orientation, exif = _reset_orientation(decoded.exif) if decoded.exif else (1, None)
    samples, dpi = decoded.samples, _valid_dpi(decoded.dpi)
    if orientation > 1:
        samples, dpi = _turn(samples, orientation), dpi[::-1] if dpi and orientation >= 5 else dpi
    num_channels = samples.shape[2]
    is_gray = num_channels <= 2
    pixels = np.repeat(samples[..., :1], 3, axis=2) if is_gray else np.ascontiguousarray(samples[..., :3])
    alpha = np.ascontiguousarray(samples[..., -1]) if num_channels in (2, 4) else None
    return Photo(pixels, alpha, is_gray, decoded.icc_profile or None, exif, dpi, image_format)


def _turn(samples: Array, orientation: int) -> Array:
    """Return stored samples (H, W, C) as they are to be seen, by the EXIF orientation."""
    whole = np.ascontiguousarray(samples).view(f"V{samples.shape[2] * samples.itemsize}")[..., 0]
    if orientation >= 5:
        whole = whole.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        whole = whole[::-1]
    if orientation in (2, 3, 6, 7):
        whole = whole[:, ::-1]
    # Moving pixels as opaque items takes less than half the time of moving each channel.
    return np.ascontiguousarray(whole)[..., None].view(samples.dtype)


def _valid_dpi(dpi: Any) -> tuple[float, float] | None:
    """Return a plausible (x, y) resolution or None; files hold zeros, infinities and 0/0 here."""
    try:
        x, y = float(dpi[0]), float(dpi[1])
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    return (x, y) if 1 <= x < 65535 and 1 <= y < 65535 else None


def _reset_orientation(exif: bytes) -> tuple[int, bytes | None]:
    """Return the orientation (1-8), and the EXIF block with it set to 1 and the thumbnail (the old look) unlinked.

    Edited in place, because maker notes hold offsets that rewriting would break. None for the block if it is damaged.
    """
    while exif.startswith(_EXIF_PREFIX):
        exif = exif[len(_EXIF_PREFIX) :]
    block, orientation = bytearray(exif), 1
    try:
        order = {b"II": "<", b"MM": ">"}[exif[:2]]
        (start,) = struct.unpack_from(order + "I", block, 4)
        (num_entries,) = struct.unpack_from(order + "H", block, start)
        end = start + 2 + 12 * num_entries
        for entry in range(start + 2, end, 12):
            tag, kind = struct.unpack_from(order + "HH", block, entry)
            if tag == 0x0112:
                (value,) = struct.unpack_from(order + ("I" if kind == 4 else "H"), block, entry + 8)
                orientation = value if 1 <= value <= 8 else 1
                struct.pack_into(order + "HIHH", block, entry + 2, 3, 1, 1, 0)
        struct.pack_into(order + "I", block, end, 0)
    except (KeyError, struct.error):
        return orientation, None
    return orientation, _EXIF_PREFIX + bytes(block)


def _decode_png(file: IO[bytes], max_pixels: int) -> _Decoded:
    """Decode any PNG with libpng (Pillow reduces 16-bit colour to 8), and its metadata from the chunks."""
    import imagecodecs

    data = file.read()
    chunks = _png_chunks(data)
    width, height = struct.unpack_from(">II", chunks[b"IHDR"])
    _check_size(width, height, max_pixels)
    samples = imagecodecs.png_decode(data)
    per_meter = struct.unpack(">IIB", chunks[b"pHYs"]) if len(chunks.get(b"pHYs", b"")) == 9 else (0, 0, 0)
    return _Decoded(
        samples.reshape(height, width, -1),
        _png_profile(chunks.get(b"iCCP", b"")),
        chunks.get(b"eXIf"),
        (per_meter[0] * 0.0254, per_meter[1] * 0.0254) if per_meter[2] == 1 else None,
    )


def _png_chunks(data: bytes) -> dict[bytes, bytes]:
    """Return the header and metadata chunks of a PNG, having seen that it goes on to its end marker."""
    chunks: dict[bytes, bytes] = {}
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        name = data[position + 4 : position + 8]
        if name in (b"IHDR", b"iCCP", b"eXIf", b"pHYs"):
            chunks.setdefault(name, data[position + 8 : position + 8 + length])
        if name == b"IEND":
            return chunks
        position += 12 + length
    raise _Refusal("the file is cut short")


def _png_profile(chunk: bytes) -> bytes | None:
    """Return the profile of an iCCP chunk: name, NUL, method 0, deflated profile (64 MB at most: no bombs)."""
    try:
        return zlib.decompressobj().decompress(chunk[chunk.index(b"\0") + 2 :], 1 << 26)
    except (ValueError, zlib.error):
        return None


def _decode_tiff(file: IO[bytes], max_pixels: int) -> _Decoded:
    """Decode the first page of a TIFF; its layout is checked first, because decoders pad what is missing."""
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else its notes on bad files go to the terminal
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        _check_tiff(tiff, page)
        _check_size(page.imagewidth, page.imagelength, max_pixels)
        planes = page.asarray(squeeze=False)[:, 0]  # (separate samples, H, W, interleaved samples)
        samples = planes.transpose(1, 2, 0, 3).reshape(page.imagelength, page.imagewidth, -1)
        has_dpi = 282 in page.tags and 283 in page.tags and page.resolutionunit in (2, 3)
        dpi = page.get_resolution("inch") if has_dpi else None
        orientation = page.tags[274].value if 274 in page.tags else 1
        exif = _tiff_exif(file, orientation)
        profile = page.tags[34675].value if 34675 in page.tags else None
        samples, profile = _tiff_colors(page, samples, profile)
    return _Decoded(samples, profile, exif, dpi)


def _check_tiff(tiff: tifffile.TiffFile, page: Any) -> None:
    """Refuse camera raw files, sample types not handled, and files that end before their last strip or tile."""
    color_filter_array, linear_raw, dng_version = 32803, 34892, 50706
    if page.is_reduced or page.photometric in (color_filter_array, linear_raw) or dng_version in page.tags:
        raise _Refusal(_RAW_HELP)
    if page.sampleformat not in (1, 4) or page.bitspersample not in (1, 2, 4, 8, 16) or page.imagedepth != 1:
        kinds = {2: "signed integer", 3: "floating-point"}
        kind = kinds.get(page.sampleformat, "unsigned integer")
        raise _Refusal(f"its samples are {page.bitspersample}-bit {kind}; save it with 8 or 16 bits per channel")
    size = tiff.filehandle.size
    tiff.filehandle.seek(page.offset)
    num_tags = int.from_bytes(tiff.filehandle.read(tiff.tiff.tagnosize), "little" if tiff.byteorder == "<" else "big")
    # A count of 0 bytes is a strip left out on purpose, which no photo has. Tags whose values lie beyond the end of the
    # file are left out of page.tags.
    if len(page.tags) < num_tags or 0 in page.databytecounts or not page.dataoffsets:
        raise _Refusal("the file is damaged or incomplete")
    if max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))) > size:
        raise _Refusal("the file is cut short")


def _tiff_colors(page: Any, samples: Array, profile: bytes | None) -> tuple[Array, bytes | None]:
    """Return the samples of a TIFF page as grey or RGB, with alpha if it has one, and the profile they are in."""
    photometric, bits, extras = page.photometric, page.bitspersample, page.extrasamples
    num_colors = samples.shape[2] - len(extras)
    colors = samples[..., :num_colors]
    is_handled = (photometric in (0, 1) and num_colors == 1) or (photometric in (2, 6) and num_colors == 3)
    if photometric == 3 and bits <= 8:
        colormap = page.colormap >> (8 if page.colormap.max() > 255 else 0)  # some writers store 8 bits, not 16
        colors = np.moveaxis(colormap, 0, -1).astype(np.uint8)[colors[..., 0]]
    elif photometric == 5 and num_colors == 4 and bits == 8:
        return np.asarray(_cmyk_to_rgb(Image.fromarray(np.ascontiguousarray(colors), "CMYK"), profile)), None
    elif not is_handled:
        raise _Refusal(f"its colour layout ({bits}-bit {photometric.name}) is not handled; save it as RGB")
    elif bits < 8:
        colors = colors.astype(np.uint8) * np.uint8(255 // (2**bits - 1))
    colors = ~colors if photometric == 0 else colors
    for index, kind in enumerate(extras):
        if kind in (1, 2):  # alpha that the colours are, or are not, multiplied by
            alpha = samples[..., num_colors + index, None]
            colors = _unpremultiply(colors, alpha) if kind == 1 else colors
            return np.concatenate((colors, alpha), axis=2), profile
    return colors.astype(colors.dtype.newbyteorder("="), copy=False), profile


def _unpremultiply(colors: Array, alpha: Array) -> Array:
    """Return colors / alpha, where 0 / 0 is 0."""
    full = np.iinfo(colors.dtype).max
    straight = colors * (np.float32(full) / np.maximum(alpha, 1).astype(np.float32))
    return np.minimum(np.rint(straight), full).astype(colors.dtype)


def _tiff_exif(file: IO[bytes], orientation: int) -> bytes:
    """Return what a TIFF file says about the photo as an EXIF block."""
    exif, in_file = Image.Exif(), Image.Exif()
    try:
        file.seek(0)
        in_file.load_from_fp(file)
        exif.update(_descriptive_tags(in_file))
        exif.tobytes()
    except Exception:  # damaged metadata, or BigTIFF's: no reason to refuse the pixels
        exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def _descriptive_tags(exif: Image.Exif) -> dict[int, Any]:
    """Return the tags that describe the photo, those of the EXIF and GPS directories as nested dicts."""
    tags: dict[int, Any] = {tag: exif[tag] for tag in _DESCRIPTIVE_TAGS if tag in exif}
    if str(tags.get(_IMAGE_DESCRIPTION, "")).startswith(("{", "<")):  # a program's note about the file's layout
        del tags[_IMAGE_DESCRIPTION]
    for tag, value in tags.items():
        if isinstance(value, str):  # Pillow reads text as Latin-1 and writes it as ASCII, losing accents
            tags[tag] = value.encode("latin-1", "replace")
    for directory in (_EXIF_IFD, _GPS_IFD):
        nested = dict(exif.get_ifd(directory)) if directory in exif else {}
        nested.pop(_INTEROP_IFD, None)  # an offset into the old file
        if nested:
            tags[directory] = nested
    return tags


def _decode_with_pillow(reader: type[ImageFile.ImageFile]) -> Callable[[IO[bytes], int], _Decoded]:
    """Return a decoder that uses one of Pillow's; not Image.open, whose size limit is global and lower than ours."""

    def decode(file: IO[bytes], max_pixels: int) -> _Decoded:
        data = file.read()
        stream = io.BytesIO(data)
        with reader(stream) as image:
            _check_size(*image.size, max_pixels)
            if image.format == "JPEG" and data.find(b"\xff\xd9", stream.tell()) < 0:  # no end after the scan's start
                raise _Refusal("the file is cut short")
            image.load()
            exif, profile, dpi = (image.info.get(key) for key in ("exif", "icc_profile", "dpi"))
            if image.mode == "CMYK":
                return _Decoded(_to_array(_cmyk_to_rgb(image, profile)), None, exif, dpi)
            mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
            if image.has_transparency_data:
                mode += "A"
            return _Decoded(_to_array(image if image.mode == mode else image.convert(mode)), profile, exif, dpi)

    return decode


def _to_array(image: Image.Image) -> Array:
    """Return an image as a writable (H, W, C) array, by strips: Pillow's own way holds two copies meanwhile."""
    array = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    num_rows = max(1, (1 << 20) // image.width)
    for top in range(0, image.height, num_rows):
        strip = array[top : top + num_rows]
        strip[:] = np.asarray(image.crop((0, top, image.width, top + len(strip)))).reshape(strip.shape)
    return array


def _cmyk_to_rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a CMYK image in sRGB, through its profile if that is usable."""
    if profile:
        from PIL import ImageCms

        try:
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB")
            if converted is not None:
                return converted
        except ImageCms.PyCMSError:
            pass
    return image.convert("RGB")


def _format_to_write(suffix: str, photo: Photo) -> str:
    """Return the format a suffix asks for, if it can hold the photo."""

    def spell(formats: tuple[str, ...]) -> str:
        return " or ".join(_SUFFIXES[name][0] for name in formats)

    image_format = next((name for name, spellings in _SUFFIXES.items() if suffix.lower() in spellings), None)
    if image_format is None:
        raise _Refusal(f"the suffix {suffix!r} is not a format we write; use {spell(tuple(_SUFFIXES))}")
    if photo.pixels.dtype == np.uint16 and image_format not in _HOLDS_16_BIT:
        raise _Refusal(f"{image_format} cannot hold 16 bits per channel; use {spell(_HOLDS_16_BIT)}")
    if photo.alpha is not None and image_format not in _HOLDS_ALPHA:
        raise _Refusal(f"{image_format} cannot hold transparency; use {spell(_HOLDS_ALPHA)}")
    if max(photo.pixels.shape) > _LONGEST_SIDE.get(image_format, 1 << 31):
        raise _Refusal(f"{image_format} cannot be wider or higher than {_LONGEST_SIDE[image_format]} pixels; use .png")
    return image_format


def _samples(photo: Photo) -> Array:
    """Return what is stored per pixel: (H, W, 1..4), the mean of the three channels if the photo is grey."""
    colors = photo.pixels
    if photo.is_gray:
        colors = ((colors.sum(axis=2, keepdims=True, dtype=np.uint32) + 1) // 3).astype(colors.dtype)
    return colors if photo.alpha is None else np.concatenate((colors, photo.alpha[..., None]), axis=2)


def _encode_with_pillow(image_format: str) -> Callable[[IO[bytes], Photo, int], None]:
    """Return an encoder that uses Pillow's: JPEG without chroma subsampling, WebP with colours under transparency."""
    every_option: dict[str, dict[str, Any]] = {"JPEG": {"subsampling": 0}, "WEBP": {"exact": True}}
    options = every_option[image_format]

    def encode(file: IO[bytes], photo: Photo, quality: int) -> None:
        samples = _samples(photo)
        metadata: dict[str, Any] = {"icc_profile": photo.icc_profile, "exif": photo.exif, "dpi": photo.dpi}
        known = {key: value for key, value in metadata.items() if value is not None}
        image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
        image.save(file, image_format, quality=quality, **options, **known)

    return encode


def _encode_png(file: IO[bytes], photo: Photo, _quality: int) -> None:
    """Encode the pixels with libpng and put the metadata chunks behind the header, where the standard wants them."""
    import imagecodecs

    samples = _samples(photo)
    samples = samples.ravel().reshape(samples.shape)  # the codec wants canonical strides, even along sides of 1
    encoded = memoryview(imagecodecs.png_encode(samples))
    header_end = len(_PNG_SIGNATURE) + 12 + 13
    file.write(encoded[:header_end])
    if photo.icc_profile:
        file.write(_png_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(photo.icc_profile)))
    if photo.dpi:
        file.write(_png_chunk(b"pHYs", struct.pack(">IIB", *(round(dpi / 0.0254) for dpi in photo.dpi), 1)))
    if photo.exif:
        file.write(_png_chunk(b"eXIf", photo.exif.removeprefix(_EXIF_PREFIX)))
    file.write(encoded[header_end:])


def _png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _encode_tiff(file: IO[bytes], photo: Photo, _quality: int) -> None:
    """Encode deflated strips of horizontal differences; no library writes both 16-bit colour and EXIF directories."""
    samples = _samples(photo)
    height, width, num_samples = samples.shape
    num_rows = max(1, (1 << 20) // (width * num_samples))
    strips = []
    for top in range(0, height, num_rows):
        strip = samples[top : top + num_rows].astype(samples.dtype.newbyteorder("<"))
        strip[:, 1:] -= strip[:, :-1].copy()
        strips.append(zlib.compress(strip.tobytes(), 4))
    ends = np.cumsum([len(strip) for strip in strips]).tolist()

    directory = TiffImagePlugin.ImageFileDirectory_v2()
    tags = {256: width, 257: height, 258: (8 * samples.itemsize,) * num_samples, 277: num_samples, 278: num_rows}
    tags |= {259: 8, 317: 2, 284: 1, 262: 1 if photo.is_gray else 2, 274: 1}  # deflate, differences, interleaved
    tags |= {273: (0, *ends[:-1]), 279: tuple(len(strip) for strip in strips)}
    tags |= {338: 2} if photo.alpha is not None else {}  # alpha, not multiplied in
    tags |= {282: photo.dpi[0], 283: photo.dpi[1], 296: 2} if photo.dpi else {}
    tags |= {34675: photo.icc_profile} if photo.icc_profile else {}
    for tag, value in (tags | _exif_tags(photo.exif)).items():
        directory[tag] = value
    directory.save(file)  # adds its own length to the strips' offsets
    file.writelines(strips)


def _exif_tags(exif: bytes | None) -> dict[int, Any]:
    """Return the tags of an EXIF block that belong into a TIFF file; none if the block cannot be stored."""
    if not exif:
        return {}
    try:
        parsed = Image.Exif()
        parsed.load(exif)
        tags = _descriptive_tags(parsed)
        trial = Image.Exif()
        trial.update(tags)
        trial.tobytes()
        return tags
    except Exception:  # damaged metadata is no reason to lose the pixels
        return {}


_DECODERS: dict[str, Callable[[IO[bytes], int], _Decoded]] = {
    "JPEG": _decode_with_pillow(JpegImagePlugin.JpegImageFile),
    "PNG": _decode_png,
    "TIFF": _decode_tiff,
    "WEBP": _decode_with_pillow(WebPImagePlugin.WebPImageFile),
    "BMP": _decode_with_pillow(BmpImagePlugin.BmpImageFile),
    "GIF": _decode_with_pillow(GifImagePlugin.GifImageFile),
}
_ENCODERS: dict[str, Callable[[IO[bytes], Photo, int], None]] = {
    "JPEG": _encode_with_pillow("JPEG"),
    "PNG": _encode_png,
    "TIFF": _encode_tiff,
    "WEBP": _encode_with_pillow("WEBP"),
}
