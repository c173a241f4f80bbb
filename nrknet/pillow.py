"""Photos that Pillow decodes: JPEG, WebP, BMP and GIF, each looked over first."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, WebPImagePlugin

from nrknet import bmp, gif, jpeg
from nrknet.exif import reset_orientation
from nrknet.photo import Array, Decoded, check_size, cmyk_to_rgb

# Not Image.open, whose size limit is global and lower than ours.
_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
}
_PREPARED: dict[str, Callable[[bytes], bytes]] = {"JPEG": jpeg.prepare, "BMP": bmp.prepare, "GIF": gif.prepare}


def _keep(data: bytes) -> bytes:
    return data


def decoder(image_format: str) -> Callable[[IO[bytes], int], Decoded]:
    """Return the decoder of a format."""
    prepare, read_header = _PREPARED.get(image_format, _keep), _READERS[image_format]

    def decode(file: IO[bytes], max_pixels: int) -> Decoded:
        data = prepare(file.read())
        with read_header(io.BytesIO(data)) as image:
            check_size(*image.size, max_pixels)
            if image_format == "JPEG":
                jpeg.check_filled(data)
            image.load()
            exif, profile, dpi = (image.info.get(key) for key in ("exif", "icc_profile", "dpi"))
            if image.mode == "CMYK":
                return Decoded(_to_array(cmyk_to_rgb(image, profile)), None, exif, dpi)
            mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
            if image.has_transparency_data:
                mode += "A"
            return Decoded(_to_array(image if image.mode == mode else image.convert(mode)), profile, exif, dpi)

    return decode


def size_reader(image_format: str) -> Callable[[IO[bytes]], tuple[int, int, int]]:
    """Return what reads width, height and EXIF orientation of a format."""
    prepare, read_header = _PREPARED.get(image_format, _keep), _READERS[image_format]

    def size(file: IO[bytes]) -> tuple[int, int, int]:
        with read_header(io.BytesIO(prepare(file.read()))) as image:
            exif = image.info.get("exif")
            return (*image.size, reset_orientation(exif)[0] if exif else 1)

    return size


def _to_array(image: Image.Image) -> Array:
    """Return an image as a writable (H, W, C) array, by strips: Pillow's own way holds two copies meanwhile."""
    array = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    num_rows = max(1, (1 << 20) // image.width)
    for top in range(0, image.height, num_rows):
        strip = array[top : top + num_rows]
        strip[:] = np.asarray(image.crop((0, top, image.width, top + len(strip)))).reshape(strip.shape)
    return array
