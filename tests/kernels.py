"""What the tests of the compiled kernels share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from torch import Tensor

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


def difference(work: Callable[[], Tensor]) -> float:
    """By how much the kernels' result differs from PyTorch's, relative to the largest number."""
    assert compiler.library() is not None
    ours = work()
    with without_kernels():
        theirs = work()
    assert ours.shape == theirs.shape and ours.isfinite().all()
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-6))
