"""Work without Python's garbage collection in between."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection(*, keep: bool = False) -> Iterator[None]:
    """Leave cyclic garbage alone for a while: looking for it holds up all threads, again and again.

    Args:
        keep: what is there in the end stays to the end of the process, as imported libraries do; never look at it.
    """
    wanted = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if keep:
            gc.freeze()
        if wanted:
            gc.enable()
