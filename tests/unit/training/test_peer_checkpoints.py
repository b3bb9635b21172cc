"""Two processes go on bit by bit after a crash, and learn as well as one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import multiprocessing
from unit.training.trainings import AMO, network, some, two_processes

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.datasets import Samples, digits
from fgmf.errors import StaleEvidence
from fgmf.statistics import binomial_interval
from fgmf.training import (
    AmoRecipe,
    Callback,
    CheckpointWriter,
    NFgsmRecipe,
    Schedule,
    TrainingPeers,
    TrainingRun,
    TrainingSettings,
    read_checkpoint,
    read_shared_checkpoint,
    state_of,
)
from fgmf.training.perturbations import Ascent, climb_loss

if TYPE_CHECKING:
    from pathlib import Path

IDENTITY = {"recipe": "one"}


class Crash(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def before_loss(self, run: TrainingRun) -> None:
        if run.step == self.step:
            raise RuntimeError("cut off")


def amo(peers: TrainingPeers, path: Path, crash: int, *, resume: bool = False) -> dict[str, Any]:
    """Batch norm, dropout, global draws, stored perturbations, a penalty every few updates."""
    writer = CheckpointWriter(path, IDENTITY, updates=3)
    callbacks = (Crash(crash), writer)
    run = TrainingRun(
        network(), some(), AMO, TrainingSettings(seed=5, peers=peers, callbacks=callbacks)
    )
    if resume:
        states = read_shared_checkpoint(path, IDENTITY, 2) if peers.rank == 0 else []
        run.load_state_dict(state_of(peers.handed_out(states)))
        assert 0 < run.step < crash
    run.finish()
    return {"model": run.model.state_dict(), "kept": run.objective.state_dict()}


class TestCheckpointsOfTwo:
    @pytest.mark.parametrize("crash", [4, 7])
    def test_they_go_on_bit_by_bit(self, crash: int, tmp_path: Path) -> None:
        """56 images in batches of 16, two epochs: cut off within the first, and the second."""
        whole = two_processes(tmp_path, partial(amo, path=tmp_path / "whole", crash=99))
        path = tmp_path / "cut"
        with pytest.raises(multiprocessing.ProcessRaisedException, match=r"cut off|ProcessLost"):
            two_processes(tmp_path, partial(amo, path=path, crash=crash))
        again = two_processes(tmp_path, partial(amo, path=path, crash=99, resume=True))
        for one, other in zip(whole, again, strict=True):
            for name, value in one["model"].items():
                assert torch.equal(value, other["model"][name]), name
            assert torch.equal(one["kept"]["store"]["values"], other["kept"]["store"]["values"])
            assert one["kept"]["updates"] == other["kept"]["updates"] == 8

    def test_another_number_of_processes_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "two"
        two_processes(tmp_path, partial(amo, path=path, crash=99))
        assert len(read_shared_checkpoint(path, IDENTITY, 2)) == 2
        with pytest.raises(StaleEvidence, match=r"of 3 process.*got one of 2"):
            read_shared_checkpoint(path, IDENTITY, 3)
        with pytest.raises(StaleEvidence, match=r"of 1 process.*got one of 2"):
            read_checkpoint(path, IDENTITY)
        with pytest.raises(StaleEvidence, match="differs in recipe"):
            read_shared_checkpoint(path, {"recipe": "another"}, 2)

    def test_the_checkpoint_of_one_is_refused_by_two(self, tmp_path: Path) -> None:
        path = tmp_path / "one"
        settings = TrainingSettings(callbacks=[CheckpointWriter(path, IDENTITY)])
        TrainingRun(network(), some(), AMO, settings).finish()
        with pytest.raises(StaleEvidence, match=r"of 2 process.*got one of 1"):
            read_shared_checkpoint(path, IDENTITY, 2)


EPSILON = 0.15
SCHEDULE = Schedule(epochs=6, batch_size=32, peak_learning_rate=6e-3)
RECIPES: dict[str, Any] = {
    "n-fgsm": NFgsmRecipe(epsilon=EPSILON, schedule=SCHEDULE),
    "amo": AmoRecipe(epsilon=EPSILON, schedule=SCHEDULE),
}


def robustly_right(peers: TrainingPeers | None, recipe: str) -> dict[str, Any]:
    """Which of 300 test images the trained model gets right after 10 steps of PGD."""
    train, test = digits("train"), digits("test")
    model = ConvNet(ConvNetConfig(image_side=8, widths=(8, 16), hidden=32), seed=3)
    samples = Samples(images=train.images[:640], labels=train.labels[:640])
    TrainingRun(model, samples, RECIPES[recipe], TrainingSettings(seed=5, peers=peers)).finish()
    images, labels = test.images[:300], test.labels[:300]
    ascent = Ascent(epsilon=EPSILON, steps=10, step=EPSILON / 4, bounds=(0.0, 1.0))
    moved = climb_loss(model, images, labels, ascent, draws=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return {"right": model(moved).argmax(dim=1) == labels}


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_robust_accuracy_is_that_of_one_process(recipe: str, tmp_path: Path) -> None:
    """They draw other noise, so only the accuracy agrees: within its exact 95 % interval.

    A model that learned nothing is right on about 30 of 300, far outside.
    """
    one = robustly_right(None, recipe)["right"]
    both = two_processes(tmp_path, partial(robustly_right, recipe=recipe))
    assert torch.equal(both[0]["right"], both[1]["right"])
    two = both[0]["right"]
    for found, other in ((one, two), (two, one)):
        interval = binomial_interval(int(found.sum()), len(found), confidence=0.95)
        assert interval.lower <= float(other.float().mean()) <= interval.upper
    assert int(one.sum()) > 90
