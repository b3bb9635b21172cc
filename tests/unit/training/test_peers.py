"""Two processes reach the weights of one on the same batches."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from unit.training.trainings import SCHEDULE, some, two_processes

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.datasets import Samples
from fgmf.errors import InvalidInput
from fgmf.scorpio import PerturbationStore
from fgmf.training import (
    AmoRecipe,
    Callback,
    Engine,
    Optimization,
    PgdRecipe,
    RampedRecipe,
    SgamRecipe,
    StandardRecipe,
    TrainingPeers,
    TrainingRun,
    TrainingSettings,
    begin,
)

if TYPE_CHECKING:
    from pathlib import Path

# 20 updates: 5 epochs of 4 batches, the last of them smaller.
LONG = replace(SCHEDULE, epochs=5)
RECIPES: dict[str, Any] = {
    "standard": StandardRecipe(schedule=LONG),
    "odd": StandardRecipe(schedule=replace(LONG, batch_size=15)),  # parts of 8 and 7
    "pgd": PgdRecipe(epsilon=0.1, steps=2, schedule=LONG),
    "amo": AmoRecipe(epsilon=0.1, schedule=LONG),
}


def double() -> tuple[nn.Module, Samples]:
    samples = some()
    model = ConvNet(ConvNetConfig(image_side=8, widths=(4,), hidden=8), seed=3).double()
    model.unused = nn.Parameter(torch.ones(2, dtype=torch.float64))  # has no gradient anywhere
    return model, Samples(images=samples.images.double(), labels=samples.labels)


class StopsAfterAnEpoch(Callback):
    def after_epoch(self, run: TrainingRun) -> None:
        assert run.settings.peers is not None
        if run.epoch == 2 and run.settings.peers.rank == 0:
            run.stop("enough")


class StopsAt(Callback):
    def __init__(self, step: int, rank: int) -> None:
        self.step, self.rank = step, rank

    def after_update(self, run: TrainingRun) -> None:
        assert run.settings.peers is not None
        if run.step == self.step and run.settings.peers.rank == self.rank:
            run.stop("enough")


def trained(peers: TrainingPeers | None, name: str, **settings: Any) -> dict[str, Any]:
    model, samples = double()
    if peers is not None and peers.rank == 1:
        with torch.no_grad():
            model.head[1].weight.zero_()  # the first process's weights count
    chosen = TrainingSettings(seed=5, peers=peers, **settings)
    run = TrainingRun(model, samples, RECIPES[name], chosen)
    report = run.finish()
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    return {
        "weights": weights,
        "losses": report.losses,
        "steps": report.steps,
        "stopped": report.stopped,
        "kept": run.objective.state_dict(),
    }


def normed(peers: TrainingPeers) -> dict[str, Any]:
    """State of a network with batch norm, whose statistics are of a part of the images each."""
    config = ConvNetConfig(image_side=8, widths=(4,), hidden=8, norm="batch")
    model = ConvNet(config, seed=3)
    TrainingRun(model, some(), RECIPES["odd"], TrainingSettings(seed=5, peers=peers)).finish()
    return dict(model.state_dict())


def in_two(folder: Path, name: str, **settings: Any) -> list[dict[str, Any]]:
    return two_processes(folder, partial(trained, name=name, **settings))


class TestTwoProcesses:
    @pytest.mark.parametrize("base", [None, "sgd"])
    @pytest.mark.parametrize("mode", ["exact", "secant"])
    def test_curvature_is_that_of_all_images(self, base: Any, mode: Any, tmp_path: Path) -> None:
        """As above; a secant in double precision rounds at 1e-13 over its step of 1e-3."""
        chosen = Optimization(
            name="curvature-aware", base=base, curvature_every=3, curvature_mode=mode
        )
        one = trained(None, "standard", optimization=chosen)
        both = in_two(tmp_path, "standard", optimization=chosen)
        assert torch.equal(both[0]["weights"], both[1]["weights"])
        torch.testing.assert_close(both[0]["weights"], one["weights"], atol=1e-7, rtol=1e-6)
        plain = trained(None, "standard", optimization=replace(chosen, curvature_every=1000))
        assert not torch.allclose(one["weights"], plain["weights"], atol=1e-4)

    def test_estimates_of_curvature_count_by_their_images(self, tmp_path: Path) -> None:
        chosen = Optimization(name="curvature-aware", curvature_every=3)
        one = trained(None, "odd", optimization=chosen)
        both = in_two(tmp_path, "odd", optimization=chosen)
        torch.testing.assert_close(both[0]["weights"], one["weights"], atol=1e-7, rtol=1e-6)

    def test_running_statistics_and_their_averages_are_shared(self, tmp_path: Path) -> None:
        first, second = two_processes(tmp_path, normed)
        assert float(first["features.1.running_mean"].abs().max()) > 0
        for name, value in first.items():
            torch.testing.assert_close(value, second[name], rtol=0, atol=0, msg=name)

    @pytest.mark.parametrize("accumulate", [1, 3])
    def test_standard_is_that_of_one(self, accumulate: int, tmp_path: Path) -> None:
        """Double precision, no batch norm, 20 updates: only sums are in another order (1e-10)."""
        one = trained(None, "standard")
        both = in_two(tmp_path, "standard", engine=Engine(accumulate=accumulate))
        assert torch.equal(both[0]["weights"], both[1]["weights"])
        torch.testing.assert_close(both[0]["weights"], one["weights"], atol=1e-10, rtol=1e-8)
        assert both[0]["losses"] == pytest.approx(one["losses"], abs=1e-10)
        assert both[0]["steps"] == 20

    def test_each_draws_its_own_noise_and_makes_the_same_steps(self, tmp_path: Path) -> None:
        one, both = trained(None, "pgd"), in_two(tmp_path, "pgd")
        assert torch.equal(both[0]["weights"], both[1]["weights"])
        assert not torch.allclose(both[0]["weights"], one["weights"], atol=1e-6)
        assert both[0]["losses"][-1] == pytest.approx(one["losses"][-1], rel=0.05)

    def test_stored_perturbations_are_shared(self, tmp_path: Path) -> None:
        first, second = (each["kept"]["store"] for each in in_two(tmp_path, "amo"))
        assert torch.equal(first["values"], second["values"])
        assert bool(first["seen"].all())
        assert bool((first["values"].abs().flatten(1).amax(dim=1) > 0).all())

    def test_one_that_stops_stops_both(self, tmp_path: Path) -> None:
        both = in_two(tmp_path, "standard", callbacks=(StopsAt(6, rank=1),))
        assert [each["steps"] for each in both] == [6, 6]
        assert [each["stopped"] for each in both] == ["another process stopped", "enough"]

    def test_also_between_two_epochs(self, tmp_path: Path) -> None:
        both = in_two(tmp_path, "standard", callbacks=(StopsAfterAnEpoch(),))
        assert [each["steps"] for each in both] == [8, 8]
        assert [each["stopped"] for each in both] == ["enough", "another process stopped"]


def test_one_order_and_noise_of_its_own_in_every_process() -> None:
    states = []
    for rank in (0, 1, 0):
        model, samples = double()
        settings = TrainingSettings(seed=5, peers=TrainingPeers(rank=rank, count=2))
        states.append(TrainingRun(model, samples, RECIPES["pgd"], settings).state_dict())
    first, second, again = states
    assert torch.equal(first["order_draws"], second["order_draws"])
    assert not torch.equal(first["draws"], second["draws"])
    assert torch.equal(first["draws"], again["draws"])
    assert not torch.equal(first["draws"], first["order_draws"])


def test_a_store_takes_what_others_wrote() -> None:
    """Two stores, one sum: each image is where its writer left it."""
    stores = [PerturbationStore(4, (1, 2, 2)) for _ in range(2)]
    stores[0].write(torch.tensor([0, 2]), torch.full((2, 1, 2, 2), -1.0))
    stores[1].write(torch.tensor([1]), torch.full((1, 1, 2, 2), 0.5))
    owns = (torch.tensor([0, 2]), torch.tensor([1]))
    said: list[list[torch.Tensor]] = []
    for store, own in zip(stores, owns, strict=True):
        calls: list[torch.Tensor] = []
        PerturbationStore.share(store, lambda t, calls=calls: (calls.append(t.clone()), t)[1], own)
        said.append(calls)
    for store, own in zip(stores, owns, strict=True):
        totals = iter([a + b for a, b in zip(*said, strict=True)])
        store.share(lambda _, totals=totals: next(totals), own)
    states = [store.state_dict() for store in stores]
    assert torch.equal(states[0]["values"], states[1]["values"])
    assert states[0]["seen"].tolist() == states[1]["seen"].tolist() == [True, True, True, False]
    assert states[0]["values"][:, 0, 0, 0].tolist() == [-127, 64, -127, 0]


@pytest.mark.parametrize(
    ("recipe", "inner"),
    [
        (SgamRecipe(recipe=RECIPES["amo"]), ("objective",)),
        (RampedRecipe(make=lambda _numbers: RECIPES["amo"], ramps={}), ()),
    ],
    ids=["mask", "ramped"],
)
def test_recipes_around_one_with_a_store_share_it(recipe: Any, inner: tuple[str, ...]) -> None:
    objective = begin(recipe, 3, (1, 2, 2))
    objective.share(torch.ones_like, torch.tensor([0]))  # type: ignore[attr-defined]
    state = objective.state_dict()
    for key in inner:
        state = state[key]
    assert state["store"]["seen"].tolist() == [True] * 3
    assert state["store"]["values"].unique().tolist() == [1]


@pytest.mark.parametrize(
    ("schedule", "settings", "message"),
    [
        (replace(LONG, batch_size=55), {}, "at least 2 images in every batch"),
    ],
)
def test_refusals(schedule: Any, settings: dict[str, Any], message: str) -> None:
    model, samples = double()
    peers = TrainingPeers(rank=0, count=2)
    recipe = StandardRecipe(schedule=schedule)
    with pytest.raises(InvalidInput, match=message):
        TrainingRun(model, samples, recipe, TrainingSettings(peers=peers, **settings))
