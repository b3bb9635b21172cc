"""Small trainings for the tests of this folder."""

from __future__ import annotations

import os
import random
import socket
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import multiprocessing, nn

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.datasets import Samples, digits
from fgmf.processes import joined_processes
from fgmf.sgam import Sgam, SgamConfig
from fgmf.training import AmoRecipe, Schedule, TrainingPeers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCHEDULE = Schedule(epochs=2, batch_size=16, peak_learning_rate=3e-3)
AMO = AmoRecipe.scor_pio_2(0.1, schedule=SCHEDULE)


def small(**changes: Any) -> ConvNet:
    return ConvNet(ConvNetConfig(image_side=8, hidden=64, **changes), seed=1)


def masked(net: nn.Module | None = None) -> Sgam:
    return Sgam.wrap(net or small(), channels=1, config=SgamConfig(grid_side=4), seed=2)


def first_digits(count: int) -> Samples:
    samples = digits("train")
    return Samples(images=samples.images[:count], labels=samples.labels[:count])


class Noisy(nn.Module):
    """Draws from every global generator in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            images = images + 0.01 * (random.random() + np.random.rand())  # noqa: NPY002
        return self.dropout(images)


def network() -> nn.Module:
    config = ConvNetConfig(image_side=8, widths=(4,), hidden=8, norm="batch")
    return nn.Sequential(Noisy(), ConvNet(config, seed=3))


def some(count: int = 56) -> Samples:
    found = digits("train")
    return Samples(images=found.images[:count], labels=found.labels[:count])


def bits(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one) and one.keys() == other.keys()


def _work(
    rank: int, port: int, folder: str, task: Callable[[TrainingPeers], dict[str, Any]]
) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    with joined_processes() as processes:
        assert processes is not None
        peers = TrainingPeers(rank=processes.rank, count=processes.count)
        torch.save(task(peers), f"{folder}/{rank}.pt")


def two_processes(
    folder: Path, task: Callable[[TrainingPeers], dict[str, Any]]
) -> list[dict[str, Any]]:
    """What a task returns in each of two gloo processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (port, str(folder), task)
    multiprocessing.start_processes(_work, arguments, nprocs=2, start_method="fork")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
