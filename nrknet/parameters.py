"""A network's weights as arrays, which is all that a photo on a CPU takes: PyTorch is imported when it is needed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from nrknet.arrays import Floats
from nrknet.config import NRKNetConfig
from nrknet.folder import CONFIG_FILE, read_arrays, read_config

if TYPE_CHECKING:
    from nrknet.model import NRKNet

Version = tuple[tuple[int, int], ...] | None
_making = threading.Lock()  # of all, so that parameters can be pickled


class Parameters:
    """What a network is made of.

    Args:
        source: the network, or the folder of one that comes with the package and needs no checks.

    Attributes:
        config: its configuration.

    Raises:
        ValueError: a file in the folder is missing or broken; one sentence.
    """

    def __init__(self, source: NRKNet | Path) -> None:
        self._untouched: Version = None  # of a network that was made here
        self._source = source
        self.config: NRKNetConfig = read_config(source / CONFIG_FILE) if isinstance(source, Path) else source.config

    @property
    def model(self) -> NRKNet:
        """The network; from a folder it is made on the CPU, in evaluation mode, when it is first asked for."""
        with _making:
            if isinstance(self._source, Path):
                import torch

                from nrknet.model import NRKNet

                with torch.inference_mode(False):  # whoever asks may want to train it
                    model = NRKNet.from_folder(self._source)
                self._source, self._untouched = model, _version(model)
            return self._source

    @property
    def version(self) -> Version:
        """Another value once the weights have changed."""
        found = None if isinstance(self._source, Path) else _version(self._source)
        return None if found == self._untouched else found

    def arrays(self) -> dict[str, Floats]:
        """The weights by their names; they may share memory with the network's."""
        if isinstance(self._source, Path):
            return read_arrays(self._source)
        state = self._source.state_dict()
        return {k: v.detach().float().cpu().numpy() for k, v in state.items() if v.is_floating_point()}


def _version(model: NRKNet) -> Version:
    """What changes when weights do."""
    tensors = [*model.parameters(), *model.buffers()]
    return tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors)
