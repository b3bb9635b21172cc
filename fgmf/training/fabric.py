"""Processes that Lightning Fabric started: on SLURM, LSF, MPI, under torchrun, or by itself.

    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    fabric.launch()
    TrainingSettings(peers=peers_of(fabric), engine=Engine(device=str(fabric.device)))

Fabric finds out who the processes are, joins them, and gives each a device. Its wrappers are not
used: `fabric.setup` puts a model into DistributedDataParallel, and the hooks of that refuse recipes
that take gradients with respect to images or train through gradients (:mod:`fgmf.training.peers`).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import distributed

from fgmf.errors import InvalidInput
from fgmf.training.peers import TrainingPeers


class LaunchedFabric(Protocol):
    """What is asked of a `lightning.fabric.Fabric` that was launched."""

    @property
    def global_rank(self) -> int:
        """Number of this process."""

    @property
    def world_size(self) -> int:
        """How many there are."""


def peers_of(fabric: LaunchedFabric) -> TrainingPeers | None:
    """Return the other processes of a launched Fabric; None where this one is alone.

    Args:
        fabric: After `fabric.launch()`.

    Raises:
        InvalidInput: It was not launched, or its processes cannot sum tensors on the CPU.
    """
    if fabric.world_size == 1:
        return None
    if not distributed.is_initialized() or distributed.get_world_size() != fabric.world_size:
        raise InvalidInput(
            f"expected {fabric.world_size} processes that are joined, got none; call "
            "fabric.launch() first"
        )
    try:
        distributed.all_reduce(torch.zeros(1))
    except (RuntimeError, ValueError) as error:
        raise InvalidInput(
            "expected processes that sum tensors on the CPU, got "
            f"{distributed.get_backend()}; start Fabric with "
            'DDPStrategy(process_group_backend="cpu:gloo,cuda:nccl")'
        ) from error
    return TrainingPeers(rank=fabric.global_rank, count=fabric.world_size)
