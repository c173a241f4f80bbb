"""Types of arrays that everything else speaks of."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""(H,W,3) RGB."""
Floats = NDArray[np.float32]
Map = NDArray[Any]
"""A map of a network, float32 or float16: (rows, columns, channels), or planar (channels, rows, columns)."""
