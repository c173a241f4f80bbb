"""The version, read by setuptools and by `nrknet --version` without importing anything heavy."""

__version__ = "0.1.0"
