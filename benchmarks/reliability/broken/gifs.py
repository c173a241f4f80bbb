"""GIF files: animated, transparent, damaged and lying."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

from benchmarks.reliability.broken.sample import BrokenPhoto, Kind, damaged, encode, picture


def files(rng: np.random.Generator) -> Iterator[BrokenPhoto]:
    """All of them."""
    for photo in damaged(whole(), rng, last_padding=2):
        first_frame_may_be_whole = photo.name.startswith("gif-animated")
        yield dataclasses.replace(photo, outcome="either") if first_frame_may_be_whole else photo
    yield from odd()
    yield from lying()
    yield from bombs()


def whole() -> dict[str, bytes]:
    """Files with nothing wrong."""
    frames = [picture(seed=seed).quantize(64) for seed in (1, 2, 3)]
    return {
        "gif-still.gif": encode(picture().quantize(64), "GIF"),
        "gif-animated.gif": encode(frames[0], "GIF", save_all=True, append_images=frames[1:], loop=0),
    }


def odd() -> Iterator[BrokenPhoto]:
    """Files that hold a photo in an unusual way."""
    still = encode(picture().quantize(64), "GIF")
    contents = {
        "transparent": encode(picture().quantize(64), "GIF", transparency=5),
        "grey": encode(picture("L"), "GIF"),
        "interlaced": encode(picture().quantize(64), "GIF", interlace=True),
        "old-version": still.replace(b"GIF89a", b"GIF87a"),
        "small-frame-on-a-canvas": _on_canvas(still, 80, 70),
        "comments": _with_extensions(still, b"\x21\xfe\x03abc\0" * 200),
        "no-end-marker": still[:-1],
        "30000x16": encode(picture("L", size=(30000, 16)), "GIF"),
        "something-behind": still + bytes(999),
    }
    for name, content in contents.items():
        kind: Kind = "wide" if name.endswith("x16") else "odd"
        yield BrokenPhoto(f"gif-{name}.gif", kind, "restored", content)
    for width, height in ((1, 1), (1, 60), (30000, 1)):
        content = encode(picture("L", size=(width, height)), "GIF")
        yield BrokenPhoto(f"gif-{width}x{height}.gif", "odd", "refused", content)


def lying() -> Iterator[BrokenPhoto]:
    """Headers that say what is not so."""
    still = encode(picture().quantize(64), "GIF")
    frame = still.index(b"\x2c\0\0\0\0")
    contents = {
        "signature-alone": b"GIF89a",
        "no-frame": still[:frame] + b";",
        "65535x65535": _on_canvas(still, 65535, 65535),
        "frame-of-65535x65535": still[: frame + 5] + b"\xff" * 4 + still[frame + 9 :],
        "no-data": still[: frame + 11] + b"\0;",
        "code-size-13": still[: frame + 10] + b"\x0d" + still[frame + 11 :],
        "0x0": _on_canvas(still[: frame + 5] + bytes(4) + still[frame + 9 :], 0, 0),
    }
    for name, content in contents.items():
        yield BrokenPhoto(f"gif-{name}.gif", "lying", "refused", content)
    yield BrokenPhoto("gif-code-size-0.gif", "lying", "either", still[: frame + 10] + b"\0" + still[frame + 11 :])


def bombs() -> Iterator[BrokenPhoto]:
    """Blocks without end before the first frame."""
    still = encode(picture().quantize(64), "GIF")
    contents = {
        "million-comments": _with_extensions(still, b"\x21\xfe\x01a\0" * 1_000_000),
        "one-long-comment": _with_extensions(still, b"\x21\xfe" + (b"\xff" + b"a" * 255) * 40_000 + b"\0"),
        "million-unknown-blocks": _with_extensions(still, b"\x21\x77\0" * 1_000_000),
        "million-stray-bytes": _with_extensions(still, b"\0" * 3_000_000),
    }
    for name, content in contents.items():
        yield BrokenPhoto(f"gif-{name}.gif", "bomb", "either", content)


def _on_canvas(content: bytes, width: int, height: int) -> bytes:
    return content[:6] + struct.pack("<HH", width, height) + content[10:]


def _with_extensions(content: bytes, extensions: bytes) -> bytes:
    """The file with blocks between its palette and its frame."""
    colors = 3 * 2 ** ((content[10] & 7) + 1) if content[10] & 0x80 else 0
    return content[: 13 + colors] + extensions + content[13 + colors :]


def large() -> Iterator[BrokenPhoto]:
    """Legal photos with many pixels."""
    yield BrokenPhoto("gif-199-megapixels.gif", "large", "restored", encode(Image.new("L", (15000, 13266)), "GIF"))
    tiny = encode(picture().quantize(64), "GIF")
    yield BrokenPhoto("gif-199-megapixel-canvas.gif", "large", "restored", _on_canvas(tiny, 15000, 13266))
    frame = tiny.index(b"\x2c\0\0\0\0")
    moved = tiny[: frame + 1] + struct.pack("<HH", 40000, 3000) + tiny[frame + 5 :]
    yield BrokenPhoto("gif-frame-far-outside.gif", "large", "either", moved)
