"""What the tests of the compiled kernels share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from nrknet.arrays import Map
from nrknet.fast import compiler

needs_kernels = pytest.mark.skipif(
    compiler.library() is None, reason="no C++ compiler here, or the kernels are switched off"
)


@contextmanager
def without_kernels() -> Iterator[None]:
    """PyTorch does all the work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "_library", lambda: None)
        yield


def difference(work: Callable[[], Map]) -> float:
    """By how much the kernels' result differs from PyTorch's, relative to the largest number."""
    assert compiler.library() is not None
    ours = work()
    with without_kernels():
        theirs = work()
    assert ours.shape == theirs.shape and np.isfinite(ours).all()
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-6))
