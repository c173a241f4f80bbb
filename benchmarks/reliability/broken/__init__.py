"""Broken and odd photo files, one module per format; ../broken_photos.py puts them together."""
