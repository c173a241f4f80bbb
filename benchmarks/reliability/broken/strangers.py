"""Files that are no photos, or photos of kinds that are not read, and good ones under wrong names."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Iterator

import numpy as np

from benchmarks.reliability.broken.sample import BrokenPhoto, deep, encode, picture


def files(rng: np.random.Generator) -> Iterator[BrokenPhoto]:
    """All of them."""
    contents = {
        "empty.jpg": b"",
        "one-byte.png": b"\x89",
        "zeros.tif": bytes(10_000),
        "noise.webp": rng.bytes(10_000),
        "text.jpg": b"Dear diary, today I took no photo.\n" * 9,
        "drawing.png": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "page.jpg": b"<!doctype html><title>404</title>",
        "numbers.png": json.dumps({"pixels": [0] * 99}).encode(),
        "array.tif": _array(),
        "archive.jpg": _archive(),
        "pickle.png": pickle.dumps({"pixels": list(range(99))}),
        "document.jpg": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n",
        "program.png": b"\x7fELF\x02\x01\x01" + bytes(500),
        "script.gif": b"#!/bin/sh\nexit 1\n",
        "heic.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + rng.bytes(500),
        "avif.jpg": encode(picture(), "AVIF") if _pillow_writes("AVIF") else b"\0\0\0\x1cftypavif" + rng.bytes(500),
        "cr3.tif": b"\0\0\0\x18ftypcrx \0\0\0\x01" + rng.bytes(500),
        "cr2.tif": b"II*\0\x10\0\0\0CR\x02\0" + rng.bytes(500),
        "raf.jpg": b"FUJIFILMCCD-RAW 0201" + rng.bytes(500),
        "orf.tif": b"IIRO\x08\0\0\0" + rng.bytes(500),
        "jpeg2000.jpg": encode(picture(), "JPEG2000"),
        "targa.png": encode(picture(), "TGA"),
        "photoshop.tif": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 43, 61, 8, 3) + bytes(500),
        "icon.png": encode(picture(), "ICO"),
        "pixmap.png": encode(picture(), "PPM"),
        "film.gif": b"\0\0\0\x20ftypisom\0\0\x02\0" + rng.bytes(500),
        "music.webp": b"RIFF\x24\0\0\0WAVEfmt " + bytes(40),
    }
    for name, content in contents.items():
        yield BrokenPhoto(f"other-{name}", "not a photo", "refused", content)
    named = {
        "jpeg.png": encode(picture(), "JPEG"),
        "png.jpg": encode(picture(), "PNG"),
        "tiff.jpeg": encode(picture(), "TIFF"),
        "webp.bmp": encode(picture(), "WEBP"),
        "bmp.webp": encode(picture(), "BMP"),
        "gif.tiff": encode(picture().quantize(8), "GIF"),
        "capitals.JPG": encode(picture(), "JPEG"),
    }
    for name, content in named.items():
        yield BrokenPhoto(f"named-{name}", "odd", "restored", content)


def _array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, deep())
    return buffer.getvalue()


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("photo.jpg"), encode(picture(), "JPEG"))
    return buffer.getvalue()


def _pillow_writes(image_format: str) -> bool:
    from PIL import Image, features

    Image.init()
    return image_format in Image.SAVE and bool(features.check("avif"))


def large() -> Iterator[BrokenPhoto]:
    """None."""
    return iter(())
