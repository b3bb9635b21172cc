"""Several processes that train one model: each a part of every batch, all the same update.

for each batch of the common order:
    own part -> gradient of its share of the mean loss
    sum over the processes, in one buffer -> the gradient of the whole batch, on each of them
    the same optimizer makes the same step everywhere

That is what torch's DistributedDataParallel computes. It is not used: recipes take gradients with
respect to images, run the model several times before one backward pass, and train through
gradients, each of which its hooks refuse or miscount.

A checkpoint is one file of the first process: every process has generators, running statistics
and perturbations of its own between two epochs, and the file holds the state of each.
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

    def any(self, said: bool) -> bool:  # noqa: FBT001 - what this process says
        """Return whether any process says so.

        Raises:
            ProcessLost: Another process is gone.
        """
        return bool(self.summed(torch.tensor(float(said))) > 0)

    def mean(self, values: torch.Tensor, weight: float) -> torch.Tensor:
        """Return the mean of a tensor over the processes, each with a weight of its own.

        Raises:
            ProcessLost: Another process is gone.
        """
        total = self.summed(torch.tensor(weight, dtype=torch.float64))
        return self.summed(values * (weight / float(total)))

    def collected(self, data: bytes) -> list[bytes]:
        """Give bytes of every process to the first one, by rank; the others get nothing.

        Raises:
            ProcessLost: Another process is gone.
        """
        lengths = self._lengths(len(data))
        own = _padded(data, max(lengths))
        into = [torch.empty_like(own) for _ in lengths] if self.rank == 0 else None
        self._collect(partial(distributed.gather, own, into, dst=0))
        parts = zip(into or [], lengths, strict=False)
        return [part[:length].numpy().tobytes() for part, length in parts]

    def handed_out(self, data: Sequence[bytes]) -> bytes:
        """Give each process its own of the bytes that the first one has, by rank.

        Args:
            data: One for each process; only what the first process gives counts.

        Raises:
            ProcessLost: Another process is gone.
        """
        given = [len(each) for each in data] if self.rank == 0 else [0] * self.count
        lengths = self.summed(torch.tensor(given)).tolist()
        own = torch.empty(max(lengths), dtype=torch.uint8)
        parts = [_padded(each, max(lengths)) for each in data] if self.rank == 0 else None
        self._collect(partial(distributed.scatter, own, parts, src=0))
        return own[: lengths[self.rank]].numpy().tobytes()

    def _lengths(self, own: int) -> list[int]:
        said = torch.zeros(self.count, dtype=torch.int64)
        said[self.rank] = own
        lengths: list[int] = self.summed(said).tolist()
        return lengths

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


def _padded(data: bytes, length: int) -> torch.Tensor:
    return torch.frombuffer(bytearray(data.ljust(length, b"\0")), dtype=torch.uint8)
