"""Garbage collection is left off for a while, and comes back."""

import gc

import pytest

from nrknet.collection import no_collection


def test_it_is_off_inside_and_on_again_after_an_error_too() -> None:
    assert gc.isenabled()
    with pytest.raises(KeyError), no_collection():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()


def test_whoever_had_it_off_keeps_it_off() -> None:
    gc.disable()
    try:
        with no_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_is_kept_is_not_looked_at_again() -> None:
    before = gc.get_freeze_count()
    try:
        with no_collection(keep=True):
            made = [[] for _ in range(100)]
        assert gc.get_freeze_count() >= before + len(made)
    finally:
        gc.unfreeze()
