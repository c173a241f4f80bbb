"""What torchrun has announced to this process, read from the environment: known before anything is imported."""

import os


def announced_count() -> int:
    """How many processes torchrun has started, on all machines; 1 where it has started none."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def announced_index() -> int:
    """The index of this process among all, 0 for one alone."""
    return int(os.environ.get("RANK", "0")) if announced_count() > 1 else 0


def announced_local_index() -> int:
    """The index of this process among those of its machine, 0 for one alone."""
    return int(os.environ.get("LOCAL_RANK", "0")) if announced_count() > 1 else 0
