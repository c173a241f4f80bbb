"""GIF files: the first frame, found before a decoder goes through all the blocks there may be before it."""

from __future__ import annotations

from nrknet.photo import damaged

_MOST_BLOCKS = 1 << 17
"""Before the first frame."""
_EXTENSION, _FRAME, _GRAPHIC_CONTROL, _TRAILER = 0x21, 0x2C, 0xF9, b";"


def prepare(data: bytes) -> bytes:
    """Return the file with its first frame alone: comments, other frames and what stands behind them take time."""
    position = _after_palette(data, 10, 13)
    header, control, num_blocks = data[:position], b"", 0
    while num_blocks < _MOST_BLOCKS:
        kind = data[position : position + 1]
        if not kind:
            return data  # no frame; the decoder says so
        if kind[0] == _FRAME:
            end, _ = _after_blocks(data, _after_palette(data, position + 9, position + 10) + 1)
            return data if end is None else header + control + data[position:end] + _TRAILER
        if kind[0] == _EXTENSION:
            end, more = _after_blocks(data, position + 2)
            if end is None:
                return data
            control = data[position:end] if data[position + 1] == _GRAPHIC_CONTROL else control
            position, num_blocks = end, num_blocks + more
        else:
            position, num_blocks = position + 1, num_blocks + 1
    raise damaged()


def _after_palette(data: bytes, flags: int, position: int) -> int:
    """Where it goes on behind the palette that the flags announce."""
    announced = data[flags] if flags < len(data) else 0
    return position + (3 << (announced & 7) + 1 if announced & 0x80 else 0)


def _after_blocks(data: bytes, position: int) -> tuple[int | None, int]:
    """Where it goes on behind blocks that each say how long they are, None if the file ends before; and how many."""
    num_blocks = 0
    while position < len(data):
        length = data[position]
        position, num_blocks = position + 1 + length, num_blocks + 1
        if length == 0:
            return position, num_blocks
    return None, num_blocks
