"""The processes that work together on one task: one alone, or those that torchrun starts, joined by accelerate."""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nrknet.launch import announced_count, announced_local_index
from nrknet.shared_norm import share_statistics
from nrknet.weights import pick_device

PATIENCE = timedelta(hours=2)
"""How long processes wait for one that checks a large set of files; one that fails ends the others at once."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class AgreedError(ValueError):
    """What went wrong in one process or in several: all have been told, and raise it with one message."""


class Processes:
    """One process alone: there is nobody to agree with.

    What is said of all processes they must all do, in the same order.

    Attributes:
        device: where this process works.
        index: of this process; 0 is the main one, which validates, logs, saves and exports.
        count: how many there are.
        is_first_here: whether it is the first of its machine, which looks at files for the others there.
    """

    index, count, is_first_here = 0, 1, True

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def is_main(self) -> bool:
        """Whether this is the process that validates, logs, saves and exports."""
        return self.index == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The network that starts from the main process's weights and learns from the crops of all alike."""
        return model

    def agree(self, seconds: float, stop: bool) -> tuple[float, bool]:
        """The main process's time, and whether anyone is told to stop: the same answer everywhere."""
        return seconds, stop

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes of each value."""
        return values

    def share(self, value: Result, *, source: int = 0) -> Result:
        """What process `source` holds; what the others hold is ignored."""
        return value

    def spread(self, values: Tensor, *, source: int = 0) -> Tensor:
        """The tensor, overwritten in all processes by that of process `source`; of one shape and type."""
        return values

    def gather(self, value: Result) -> list[Result]:
        """What each process holds, by index; the same list everywhere."""
        return [value]

    def together(self, work: Callable[[], Result]) -> Result:
        """What the work gives in this process, once it has gone well in all.

        Raises:
            AgreedError: it has gone wrong somewhere; raised by all. One process alone raises what the work raises.
        """
        return work()

    def in_turns(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """The function's results for all items, in their order, in every process; each item is one process's work.

        Args:
            function: its results can be pickled.
            items: the same ones in all processes; process i takes every `count`-th from the i-th on, none twice.

        Raises:
            AgreedError: as `together`, after the round of items in which it happened.
        """
        return map(function, items)

    def check_same(self, facts: Mapping[str, object]) -> None:
        """Make sure that all processes were given the same.

        Args:
            facts: by the names that a message may use.

        Raises:
            AgreedError: a process differs from the main one; names it and what differs.
        """

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
        count = announced_count()
        try:
            from accelerate import Accelerator
            from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
        except ImportError as error:
            raise ValueError(f"{count} processes need accelerate: pip install 'nrknet[train]'") from error
        if device.type not in ("cpu", "cuda") or device.index is not None:
            raise ValueError(f"{count} processes work on the cpu, or each on a cuda device of its own, got {device}")
        # running statistics are those of all crops already, and need not be sent around at every step
        handlers = [InitProcessGroupKwargs(timeout=PATIENCE), DistributedDataParallelKwargs(broadcast_buffers=False)]
        # precision is the training step's business, here as on one process
        self._accelerator: Any = Accelerator(cpu=device.type == "cpu", mixed_precision="no", kwargs_handlers=handlers)
        super().__init__(device if device.type == "cpu" else self._accelerator.device)  # which calls it cpu:0
        self.index, self.count = self._accelerator.process_index, self._accelerator.num_processes
        self.is_first_here = self._accelerator.is_local_main_process
        if self.count != count:
            raise ValueError(f"{count} processes were announced, and accelerate has joined {self.count}")

    def wrap(self, model: nn.Module) -> nn.Module:
        share_statistics(model)
        return self._accelerator.prepare_model(model, device_placement=False)

    def agree(self, seconds: float, stop: bool) -> tuple[float, bool]:
        said = torch.tensor([seconds if self.is_main else 0.0, float(stop)], dtype=torch.float64, device=self.device)
        total = self._accelerator.reduce(said, reduction="sum").tolist()
        return total[0], total[1] > 0

    def mean(self, values: Tensor) -> Tensor:
        return self._accelerator.reduce(values, reduction="mean")

    def share(self, value: Result, *, source: int = 0) -> Result:
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value if self.index == source else None], from_process=source)[0]

    def spread(self, values: Tensor, *, source: int = 0) -> Tensor:
        from accelerate.utils import broadcast

        sent = broadcast(values.contiguous(), from_process=source)
        return values if self.index == source else values.copy_(sent)

    def gather(self, value: Result) -> list[Result]:
        from accelerate.utils import gather_object

        return gather_object([value])

    def together(self, work: Callable[[], Result]) -> Result:
        problem: Exception | None = None
        try:
            result = work()
        except AgreedError:  # the work has agreed on it by itself
            raise
        except Exception as error:
            problem = error
        said = self.gather(None if problem is None else _told(problem))
        wrong = {index: text for index, text in enumerate(said) if text is not None}
        if wrong:
            first = min(wrong)
            everywhere = len(wrong) == self.count and len(set(wrong.values())) == 1
            text = wrong[first] if everywhere else f"process {first} of {self.count}: {wrong[first]}"
            raise AgreedError(text) from problem
        return result

    def in_turns(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        for start in range(0, len(items), self.count):
            round_ = items[start : start + self.count]
            mine = round_[self.index : self.index + 1]  # none where the last round is short
            found = self.together(lambda mine=mine: [function(item) for item in mine])  # type: ignore[misc]
            for results in self.gather(found):
                yield from results

    def check_same(self, facts: Mapping[str, object]) -> None:
        told = self.gather((platform.node(), {name: str(value) for name, value in facts.items()}))
        place, expected = told[0]
        for index, (node, found) in enumerate(told):
            if different := [name for name in expected if found.get(name) != expected[name]]:
                raise AgreedError(
                    f"process {index} (on {node}) was given another {' and another '.join(different)} than process 0 "
                    f"(on {place}); expected the same in all {self.count} processes"
                )

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()

    def close(self) -> None:
        self._accelerator.end_training()


def join_processes(device: str) -> Processes:
    """This process, joined with the others where torchrun has started several.

    Args:
        device: "auto", "cpu", "cuda" or "mps"; with several processes on "cuda" each takes the one of its local index.

    Raises:
        ValueError: the device is not there, or several processes cannot be joined here.
    """
    if announced_count() == 1:
        return Processes(pick_device(device))
    if device != "cpu" and torch.cuda.is_available():
        local, cards = announced_local_index(), torch.cuda.device_count()
        if local >= cards:
            raise ValueError(
                f"process {local + 1} on {platform.node()} has no graphics card of its own: {cards} there; "
                f"expected --nproc_per_node of at most {cards}, or --device cpu"
            )
        torch.cuda.set_device(local)  # else looking for a device would take memory of the first one
    return TorchrunProcesses(pick_device(device))


def _told(error: Exception) -> str:
    """An error in words for the other processes."""
    text = " ".join(str(error).split())
    return text if isinstance(error, (ValueError, OSError)) and text else f"unexpected {type(error).__name__}: {text}"
