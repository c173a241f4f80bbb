"""TIFF files, 8 and 16 bits per channel: tifffile for reading, strips and tags by hand for writing."""

from __future__ import annotations

import logging
import zlib
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image, TiffImagePlugin

from nrknet import jpeg
from nrknet.exif import exif_of_tiff, tags_for_tiff, values_fit
from nrknet.photo import Array, Decoded, Photo, Refusal, check_size, cmyk_to_rgb, damaged, stored_samples

if TYPE_CHECKING:
    import tifffile

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG = (6, 7)
_COMPRESSIONS = (1, 2, 3, 4, 5, *_JPEG, 8, 32773, 32946, 34925, 50000)
"""None, fax, LZW, JPEG, deflate, PackBits, LZMA, Zstandard. Others hold images in images, of any size."""
_MOST_PIECES = 50_000
_LARGE_TILE = 1 << 24
"""Pixels; larger ones than these must be no larger than the photo."""
RAW_HELP = "it is a camera raw file; develop it to TIFF, PNG or JPEG first"


def decode(file: IO[bytes], max_pixels: int) -> Decoded:
    """Decode the first page of a TIFF; its layout is checked first, because decoders pad what is missing."""
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else its notes on bad files go to the terminal
    _check_directory(file)
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        _check_layout(tiff, page)
        check_size(page.imagewidth, page.imagelength, max_pixels)
        _check_pieces(tiff, page)
        planes = page.asarray(squeeze=False)[:, 0]  # (separate samples, H, W, interleaved samples)
        samples = planes.transpose(1, 2, 0, 3).reshape(page.imagelength, page.imagewidth, -1)
        has_dpi = 282 in page.tags and 283 in page.tags and page.resolutionunit in (2, 3)
        dpi = page.get_resolution("inch") if has_dpi else None
        orientation = page.tags[274].value if 274 in page.tags else 1
        exif = exif_of_tiff(file, orientation)
        profile = page.tags[34675].value if 34675 in page.tags else None
        samples, profile = _colors(page, samples, profile)
    return Decoded(samples, profile, exif, dpi)


def size(file: IO[bytes]) -> tuple[int, int, int]:
    """Return width, height and EXIF orientation of a TIFF's first page, from its directory alone."""
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # as in decode
    _check_directory(file)
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        if not all(isinstance(side, int) and side > 0 for side in (page.imagewidth, page.imagelength)):
            raise damaged()
        orientation = page.tags[274].value if 274 in page.tags else 1
        return page.imagewidth, page.imagelength, orientation if orientation in range(1, 9) else 1


def _check_directory(file: IO[bytes]) -> None:
    """Refuse tags that claim more than the file holds; the file is at its start again."""
    if not values_fit(file):
        raise damaged()
    file.seek(0)


def _check_layout(tiff: tifffile.TiffFile, page: Any) -> None:
    """Refuse camera raw files, sample types not handled, and files that end before their last strip or tile."""
    color_filter_array, linear_raw, dng_version = 32803, 34892, 50706
    if page.is_reduced or page.photometric in (color_filter_array, linear_raw) or dng_version in page.tags:
        raise Refusal(RAW_HELP)
    if page.sampleformat not in (1, 4) or page.bitspersample not in (1, 2, 4, 8, 16) or page.imagedepth != 1:
        kinds = {2: "signed integer", 3: "floating-point"}
        kind = kinds.get(page.sampleformat, "unsigned integer")
        raise Refusal(f"its samples are {page.bitspersample}-bit {kind}; save it with 8 or 16 bits per channel")
    size = tiff.filehandle.size
    tiff.filehandle.seek(page.offset)
    num_tags = int.from_bytes(tiff.filehandle.read(tiff.tiff.tagnosize), "little" if tiff.byteorder == "<" else "big")
    # A count of 0 bytes is a strip left out on purpose, which no photo has. Tags whose values lie beyond the end of the
    # file are left out of page.tags.
    if len(page.tags) < num_tags or 0 in page.databytecounts or not page.dataoffsets or not page.samplesperpixel:
        raise Refusal("the file is damaged or incomplete")
    if max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))) > size:
        raise Refusal("the file is cut short")


def _check_pieces(tiff: tifffile.TiffFile, page: Any) -> None:
    """Refuse strips and tiles that take much longer to decode than their pixels would, or more memory."""
    if page.compression not in _COMPRESSIONS:
        name = getattr(page.compression, "name", page.compression)
        raise Refusal(f"its compression ({name}) is not handled; save it with LZW or deflate, or as PNG")
    num_pieces, num_pixels = len(page.databytecounts), page.imagewidth * page.imagelength
    if num_pieces > _MOST_PIECES and num_pixels < 256 * num_pieces:
        raise Refusal(f"it is in {num_pieces} strips or tiles, too many for its size")
    if page.is_tiled and page.tilewidth * page.tilelength * page.tiledepth > max(_LARGE_TILE, 2 * num_pixels):
        raise damaged()
    if page.compression in _JPEG:
        for offset, num_bytes in zip(page.dataoffsets, page.databytecounts, strict=True):
            tiff.filehandle.seek(offset)
            jpeg.check_piece(tiff.filehandle.read(num_bytes), max(_LARGE_TILE, 2 * num_pixels))


def _colors(page: Any, samples: Array, profile: bytes | None) -> tuple[Array, bytes | None]:
    """Return the samples of a TIFF page as grey or RGB, with alpha if it has one, and the profile they are in."""
    photometric, bits, extras = page.photometric, page.bitspersample, page.extrasamples
    num_colors = samples.shape[2] - len(extras)
    colors = samples[..., :num_colors]
    is_handled = (photometric in (0, 1) and num_colors == 1) or (photometric in (2, 6) and num_colors == 3)
    if photometric == 3 and bits <= 8:
        colormap = page.colormap >> (8 if page.colormap.max() > 255 else 0)  # some writers store 8 bits, not 16
        colors = np.moveaxis(colormap, 0, -1).astype(np.uint8)[colors[..., 0]]
    elif photometric == 5 and num_colors == 4 and bits == 8:
        return np.asarray(cmyk_to_rgb(Image.fromarray(np.ascontiguousarray(colors), "CMYK"), profile)), None
    elif not is_handled:
        raise Refusal(f"its colour layout ({bits}-bit {photometric.name}) is not handled; save it as RGB")
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


def encode(file: IO[bytes], photo: Photo, _quality: int) -> None:
    """Encode deflated strips of horizontal differences; no library writes both 16-bit colour and EXIF directories."""
    samples = stored_samples(photo)
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
    for tag, value in (tags | tags_for_tiff(photo.exif)).items():
        directory[tag] = value
    directory.save(file)  # adds its own length to the strips' offsets
    file.writelines(strips)
