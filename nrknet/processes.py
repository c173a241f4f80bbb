"""The processes that train one network together: one alone, or those that torchrun starts, joined by accelerate."""

import hashlib
import os
from datetime import timedelta
from typing import Any

import torch
from torch import nn

from nrknet.weights import pick_device

PATIENCE = timedelta(hours=2)
"""How long processes wait for one that checks a large set of files; one that fails ends the others at once."""


class Processes:
    """One process alone: there is nobody to agree with.

    Attributes:
        device: where this process trains.
        index: of this process; 0 is the main one, which validates, logs, saves and exports.
        count: how many there are.
    """

    index, count = 0, 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def is_main(self) -> bool:
        """Whether this is the process that validates, logs, saves and exports."""
        return self.index == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The network that starts from the main process's weights and averages the gradients of all."""
        return model

    def agree(self, seconds: float, stop: bool) -> tuple[float, bool]:
        """The main process's time, and whether anyone is told to stop: the same answer everywhere."""
        return seconds, stop

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the main one's buffers: running statistics are of its crops alone."""

    def fingerprints(self, model: nn.Module) -> list[str]:
        """A short hash of each process's weights."""
        return [_fingerprint(model)]

    def wait(self) -> None:
        """Wait until all have come here."""

    def close(self) -> None:
        """Part from the others in good order."""


class TorchrunProcesses(Processes):
    """One of several processes, started by torchrun (or `accelerate launch`, which starts them alike).

    Raises:
        ValueError: accelerate is not installed, or the device is one that processes cannot share.
    """

    def __init__(self, device: torch.device) -> None:
        count = _announced_count()
        try:
            from accelerate import Accelerator
            from accelerate.utils import InitProcessGroupKwargs
        except ImportError as error:
            raise ValueError(f"training in {count} processes needs accelerate: pip install 'nrknet[train]'") from error
        if device.type not in ("cpu", "cuda") or device.index is not None:
            raise ValueError(f"{count} processes train on the cpu, or each on a cuda device of its own, got {device}")
        patience = InitProcessGroupKwargs(timeout=PATIENCE)
        # precision is the training step's business, here as on one process
        self._accelerator: Any = Accelerator(cpu=device.type == "cpu", mixed_precision="no", kwargs_handlers=[patience])
        super().__init__(self._accelerator.device)
        self.index, self.count = self._accelerator.process_index, self._accelerator.num_processes
        if self.count != count:
            raise ValueError(f"{count} processes were announced, and accelerate has joined {self.count}")

    def wrap(self, model: nn.Module) -> nn.Module:
        return self._accelerator.prepare_model(model, device_placement=False)

    def agree(self, seconds: float, stop: bool) -> tuple[float, bool]:
        said = torch.tensor([seconds if self.is_main else 0.0, float(stop)], dtype=torch.float64, device=self.device)
        total = self._accelerator.reduce(said, reduction="sum").tolist()
        return total[0], total[1] > 0

    def share_buffers(self, model: nn.Module) -> None:
        from accelerate.utils import broadcast

        for buffer in model.buffers():
            broadcast(buffer, from_process=0)

    def fingerprints(self, model: nn.Module) -> list[str]:
        from accelerate.utils import gather_object

        return gather_object([_fingerprint(model)])

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()

    def close(self) -> None:
        self._accelerator.end_training()


def join_processes(device: str) -> Processes:
    """This process, joined with the others where torchrun has started several.

    Args:
        device: "auto", "cpu", "cuda" or "mps"; with several processes on "cuda" each takes its own.

    Raises:
        ValueError: the device is not there, or several processes cannot be joined here.
    """
    chosen = pick_device(device)
    return TorchrunProcesses(chosen) if _announced_count() > 1 else Processes(chosen)


def announced_index() -> int:
    """The index that torchrun announces to this process, 0 for one alone; known before processes are joined."""
    return int(os.environ.get("RANK", "0")) if _announced_count() > 1 else 0


def _announced_count() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _fingerprint(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
