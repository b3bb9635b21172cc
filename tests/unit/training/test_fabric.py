"""What a launched Fabric says of its processes becomes peers; one that was not launched, none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import distributed
from unit.training.trainings import SCHEDULE, bits, network, some, two_processes

from fgmf.errors import InvalidInput
from fgmf.training import (
    StandardRecipe,
    TrainingPeers,
    TrainingRun,
    TrainingSettings,
    peers_of,
)

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Launched:
    """The part of `lightning_fabric.Fabric` that is used."""

    global_rank: int
    world_size: int


def by_fabric(joined: TrainingPeers) -> dict[str, Any]:
    peers = peers_of(Launched(joined.rank, joined.count))
    assert peers == joined
    run = TrainingRun(
        network(), some(), StandardRecipe(schedule=SCHEDULE), TrainingSettings(peers=peers)
    )
    run.finish()
    return bits(run.model)


def test_its_processes_train_one_model(tmp_path: Path) -> None:
    one, other = two_processes(tmp_path, by_fabric)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_alone() -> None:
    assert peers_of(Launched(0, 1)) is None


def test_not_launched() -> None:
    with pytest.raises(InvalidInput, match="launch"):
        peers_of(Launched(0, 2))


def test_a_backend_that_knows_no_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(_: torch.Tensor) -> None:
        raise RuntimeError("No backend type associated with device type cpu")

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "get_backend", lambda: "nccl")
    monkeypatch.setattr(distributed, "all_reduce", refuses)
    with pytest.raises(InvalidInput, match=r"got nccl.*cpu:gloo,cuda:nccl"):
        peers_of(Launched(0, 2))
