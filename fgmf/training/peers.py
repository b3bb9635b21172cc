"""Several processes that train one model: each a part of every batch, all the same update.

for each batch of the common order:
    own part -> gradient of its share of the mean loss
    sum over the processes, in one buffer -> the gradient of the whole batch, on each of them
    the same optimizer makes the same step everywhere

That is what torch's DistributedDataParallel computes. It is not used: recipes take gradients with
respect to images, run the model several times before one backward pass, and train through
gradients, each of which its hooks refuse or miscount.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import distributed

from fgmf.errors import ProcessLost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn


@dataclass(frozen=True, kw_only=True)
class TrainingPeers:
    """One of the processes of a torch.distributed group that is there already.

    Attributes:
        rank: Number of this process, from 0.
        count: How many there are.
    """

    rank: int
    count: int

    def part(self, batch: torch.Tensor) -> torch.Tensor:
        """Return this process's part of a batch (n,), which is nearly n / count long."""
        return batch.tensor_split(self.count)[self.rank]

    def begin(self, model: nn.Module) -> None:
        """Give all processes the first process's weights and buffers.

        Raises:
            ProcessLost: Another process is gone.
        """
        for value in model.state_dict().values():
            self._collect(partial(distributed.broadcast, value, src=0))

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its sum over the processes.

        A parameter that has a gradient in no process has none afterwards.

        Raises:
            ProcessLost: Another process is gone.

        Cost: one collective call, over as many numbers as there are parameters.
        """
        trained = [p for p in parameters if p.requires_grad]
        if not trained:
            return
        pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        has = torch.tensor([float(p.grad is not None) for p in trained]).to(trained[0])
        flat = self.summed(torch.cat([*(piece.flatten() for piece in pieces), has]))
        *found, has = flat.split([*(p.numel() for p in trained), len(trained)])
        for parameter, piece, known in zip(trained, found, has.tolist(), strict=True):
            parameter.grad = piece.view_as(parameter).clone() if known else None

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over the processes, which must have the same shape there.

        Raises:
            ProcessLost: Another process is gone.
        """
        total = values.detach().cpu().clone()
        self._collect(partial(distributed.all_reduce, total))
        return total.to(values.device)

    def average_buffers(self, model: nn.Module) -> None:
        """Replace floating-point buffers, such as running statistics, by their means."""
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.copy_(self.summed(buffer) / self.count)

    def _collect(self, call: Callable[[], object]) -> None:
        try:
            call()
        except (RuntimeError, ValueError) as error:
            message = f"expected an answer of all {self.count} processes, got: {error}"
            raise ProcessLost(message) from error
