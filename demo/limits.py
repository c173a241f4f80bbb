"""How large a photo may be that a visitor of one of the apps brings."""

LARGEST_PHOTO = 50_000_000
"""Pixels; checked before any is decoded."""
LARGEST_FILE = 100 << 20
"""Bytes; checked while they come in."""
