"""Batch normalisation over the crops of all processes, so that several train as one does."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _Mean(torch.autograd.Function):
    """The mean over the processes of a tensor; its gradient is the mean of theirs, as each loss is one of `count`."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _mean(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _mean(gradients[0])


def _mean(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total / dist.get_world_size()


class SharedBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d whose mean and variance are those of the crops of all processes, which hold equally many.

    PyTorch's SyncBatchNorm does the same on graphics cards, and refuses to on a CPU.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B,C,H,W) of this process -> the same, normalised by the statistics of all; in training only."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        mean = _Mean.apply(x.mean((0, 2, 3)))
        centred = x - mean[:, None, None]
        variance = _Mean.apply(centred.square().mean((0, 2, 3)))
        self._keep(mean.detach(), variance.detach(), count=dist.get_world_size() * x.numel() // x.shape[1])
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    def _keep(self, mean: Tensor, variance: Tensor, *, count: int) -> None:
        """Follow the statistics as BatchNorm2d does, with the unbiased variance of `count` pixels."""
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)


def share_statistics(model: nn.Module) -> None:
    """Put a SharedBatchNorm in the place of each BatchNorm2d of a model; parameters and statistics stay the same."""
    for name, child in model.named_children():
        if type(child) is nn.BatchNorm2d:
            shared = SharedBatchNorm(child.num_features, child.eps, child.momentum)
            shared.load_state_dict(child.state_dict())
            shared.weight, shared.bias = child.weight, child.bias  # the very ones that the optimiser holds
            setattr(model, name, shared.to(child.weight.device).train(child.training))
        else:
            share_statistics(child)
