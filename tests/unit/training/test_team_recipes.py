"""Recipes for teams: what is minimised, kept, counted, and shared by processes."""

from __future__ import annotations

import copy
import os
import socket
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import multiprocessing
from torch.nn.functional import cross_entropy
from unit.training.trainings import SCHEDULE, bits, same, some

from fgmf.agents import Agent, MessagePassing, Team
from fgmf.backbones import ConvNet, ConvNetConfig, ViT, ViTConfig
from fgmf.datasets import Samples
from fgmf.errors import InvalidInput
from fgmf.processes import joined_processes
from fgmf.sgam import SaliencyTeacher, Sgam, SgamConfig
from fgmf.training import (
    AmoRecipe,
    Callback,
    Engine,
    Schedule,
    StandardRecipe,
    TeamRecipe,
    TrainingPeers,
    TrainingRun,
    TrainingSettings,
    begin,
    gradient_alignment,
)
from tests.tiny_models import LinearModel

if TYPE_CHECKING:
    from pathlib import Path

STANDARD = StandardRecipe(schedule=SCHEDULE)
AMO = AmoRecipe.scor_pio_2(0.1, schedule=SCHEDULE)


def _net(seed: int) -> ConvNet:
    return ConvNet(ConvNetConfig(image_side=8, widths=(4,), hidden=8), seed=seed)


def _team(
    rule: str = "mean-log-probability", *, sgam: bool = False, messages: bool = False
) -> Team:
    models: list[Any] = [
        _net(0),
        _net(1),
        ViT(ViTConfig(image_side=8, patch_side=2, depth=2, width=16)),
    ]
    if sgam:
        models = [Sgam.wrap(m, channels=1, config=SgamConfig(grid_side=4)) for m in models]
    agents = [Agent(f"a{i}", model) for i, model in enumerate(models)]
    return Team(agents, rule=rule, messages=MessagePassing(3, 10) if messages else None)


@cache
def _learnt() -> ConvNet:
    """A network that has learnt the images by heart."""
    net = _net(4)
    schedule = Schedule(epochs=60, batch_size=16, peak_learning_rate=1e-2)
    recipe = StandardRecipe(schedule=schedule)
    TrainingRun(net, some(), recipe, TrainingSettings(seed=1)).finish()
    return net


def _loss(recipe: Any, team: Any, **options: Any) -> torch.Tensor:
    samples = some()
    draws = torch.Generator().manual_seed(3)
    objective = begin(recipe, len(samples), tuple(samples.images.shape[1:]))
    return objective.loss(
        team, samples.images, samples.labels, torch.arange(56), progress=0.5, draws=draws, **options
    )


def test_independent_is_the_mean_of_the_agents_losses() -> None:
    team, samples = _team(), some()
    losses = [cross_entropy(agent(samples.images), samples.labels) for agent in team.members]
    torch.testing.assert_close(_loss(TeamRecipe(recipe=STANDARD), team), sum(losses) / 3)


def test_joint_is_the_loss_of_the_decision() -> None:
    team, samples = _team("learned", messages=True), some()
    expected = cross_entropy(team(samples.images), samples.labels)
    loss = _loss(TeamRecipe(recipe=STANDARD, way="joint"), team)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert team.messages is not None
    assert float(team.messages.decode.grad.abs().sum()) > 0
    assert float(team.rule.offsets.grad.abs().sum()) > 0  # type: ignore[union-attr, operator]


def test_independent_leaves_rule_and_messages_alone() -> None:
    team = _team("learned", messages=True)
    _loss(TeamRecipe(recipe=STANDARD), team).backward()
    assert team.rule.offsets.grad is None
    assert team.messages is not None
    assert team.messages.decode.grad is None


def _sure(agent: Agent, samples: Samples) -> float:
    """How much an agent has learnt: its confidence in the right class, from 0 at chance to 1."""
    agent.eval()
    rows = agent(samples.images).softmax(1).detach()
    agent.train()
    right = rows[torch.arange(len(rows)), samples.labels].mean()
    return max(0.0, (float(right) - 0.1) / 0.9)


def test_diverse_adds_the_alignment_of_agents_that_have_learnt() -> None:
    team, samples = _team(), some()
    for agent in team.members[:2]:
        agent.model.load_state_dict(_learnt().state_dict())  # type: ignore[union-attr, operator]
    part = Samples(images=samples.images[:28], labels=samples.labels[:28])
    learnt = [_sure(agent, part) for agent in team.members]
    assert learnt[0] > 0.3
    rows = []
    for agent in team.members:
        at = part.images.clone().requires_grad_()
        agent.eval()
        cross_entropy(agent(at), part.labels, reduction="sum").backward()
        agent.train()
        rows.append(torch.nn.functional.normalize(at.grad.flatten(1), dim=1))
    pairs = ((0, 1), (0, 2), (1, 2))
    weighed = [learnt[i] * learnt[j] * ((rows[i] * rows[j]).sum(1).exp() - 1) for i, j in pairs]
    expected = _loss(TeamRecipe(recipe=STANDARD), team) + 0.7 * (1 + sum(weighed) / 3).log().mean()
    recipe = TeamRecipe(recipe=STANDARD, way="diverse", weight=0.7, share=0.5)
    torch.testing.assert_close(_loss(recipe, team), expected, atol=1e-5, rtol=1e-5)  # float32


def test_who_has_learnt_nothing_is_not_kept_apart() -> None:
    """However large the weight: its gradient would only have to point nowhere."""
    team = _team()
    for agent in team.members:
        for parameter in agent.parameters():
            parameter.data.mul_(0.0 if parameter.ndim == 1 else 1e-2)  # at chance, not flat
    one = _loss(TeamRecipe(recipe=STANDARD, way="diverse", weight=1e3), team)
    torch.testing.assert_close(one, _loss(TeamRecipe(recipe=STANDARD), team), atol=1e-3, rtol=1e-4)


def test_alignment_by_its_definition() -> None:
    """Linear models: the gradient of cross-entropy is W' (p - onehot)."""
    samples = some(5)
    images, labels = samples.images.double(), samples.labels % 4
    models = [LinearModel(seed=i, scale=0.1).double() for i in range(3)]
    team = Team([Agent(f"a{i}", model) for i, model in enumerate(models)])
    rows = []
    for model in models:
        errors = model(images).softmax(1) - torch.nn.functional.one_hot(labels, 4)
        gradient = errors @ model.weight
        rows.append(gradient / gradient.norm(dim=1, keepdim=True))
    pairs = [(rows[i] * rows[j]).sum(1) for i, j in ((0, 1), (0, 2), (1, 2))]
    expected = torch.stack([pair.exp() for pair in pairs]).sum(0).log()
    torch.testing.assert_close(gradient_alignment(team, images, labels), expected)


def test_alike_and_alone() -> None:
    samples = some(5)
    twins = Team([Agent("a", _net(0)), Agent("b", _net(0))])
    ones = torch.ones(5)
    # float32 norms
    torch.testing.assert_close(
        gradient_alignment(twins, samples.images, samples.labels), ones, rtol=1e-5, atol=1e-5
    )
    with pytest.raises(InvalidInput, match="two or more"):
        gradient_alignment(Team([Agent("a", _net(0))]), samples.images, samples.labels)


def _kept_apart(weight: float) -> tuple[float, float]:
    """Accuracy of the agent that has learnt least, and the alignment, after a training."""
    vit = ViT(ViTConfig(image_side=8, patch_side=2, depth=1, width=16))
    team, samples = Team([Agent("cnn", _net(0)), Agent("vit", vit)]), some(400)
    schedule = Schedule(epochs=8, batch_size=16, peak_learning_rate=5e-3)
    recipe = TeamRecipe(recipe=StandardRecipe(schedule=schedule), way="diverse", weight=weight)
    TrainingRun(team, samples, recipe, TrainingSettings(seed=1)).finish()
    team.eval()
    right = (team.agent_logits(samples.images).argmax(dim=2) == samples.labels).double().mean(dim=1)
    aligned = gradient_alignment(team, samples.images, samples.labels).detach()
    return float(right.min()), float(aligned.mean())


def test_agents_are_kept_apart_and_learn() -> None:
    """Measured: 0.81 and 0.81, 0.083 and 0.011; with s_i = 1, a weight of 1 leaves them 0.14."""
    (learnt, free), (too, apart) = _kept_apart(1e-6), _kept_apart(3.0)
    assert min(learnt, too) > 0.7
    assert apart < free - 0.03


def test_every_agent_keeps_its_own_perturbations() -> None:
    team, samples = _team(), some()
    run = TrainingRun(team, samples, TeamRecipe(recipe=AMO), TrainingSettings(seed=1))
    run.finish()
    kept = run.objective.state_dict()
    assert sorted(kept["inner"]) == ["a0", "a1", "a2"]
    values = [kept["inner"][name]["store"]["values"] for name in ("a0", "a1")]
    assert not torch.equal(*values)
    assert kept["updates"] == run.steps


@pytest.mark.parametrize("way", ["independent", "joint", "diverse"])
def test_state_goes_on_as_if_nothing_had_happened(way: Any) -> None:
    teacher = SaliencyTeacher(every=2)
    recipe = TeamRecipe(recipe=AMO, way=way, teacher=teacher)
    one, other = _team(sgam=True), _team(sgam=True)
    TrainingRun(one, some(), recipe, TrainingSettings(seed=1)).finish()
    states: list[Any] = []

    class Keeps(Callback):
        def after_update(self, run: TrainingRun) -> None:
            if run.step == 3:
                states.append(copy.deepcopy(run.state_dict()))

    settings = TrainingSettings(seed=1, callbacks=(Keeps(),))
    TrainingRun(other, some(), recipe, settings).finish()
    assert same(bits(one), bits(other))
    fresh = _team(sgam=True)
    again = TrainingRun(fresh, some(), recipe, TrainingSettings(seed=1, callbacks=(Keeps(),)))
    again.load_state_dict(states[0])
    again.finish()
    assert same(bits(one), bits(fresh))


def test_updates_are_counted_and_not_their_parts() -> None:
    team, lessons = _team(sgam=True), []
    for agent in team.members:
        agent.model.register_saliency_mask_hook(  # type: ignore[union-attr, operator]
            lambda record: lessons.append(len(record.inputs)) if record.purpose == "teaching" else 0
        )
    recipe = TeamRecipe(recipe=AMO, teacher=SaliencyTeacher(every=2))
    settings = TrainingSettings(engine=Engine(accumulate=2))
    run = TrainingRun(team, some(), recipe, settings)
    run.finish()
    assert sum(lessons) == len(team.members) * sum([16, 16] * 2)  # updates 1 and 3 of both epochs
    kept = run.objective.state_dict()
    assert {kept["updates"], *(each["updates"] for each in kept["inner"].values())} == {run.steps}


def test_every_mask_is_taught() -> None:
    team = _team(sgam=True)
    before = [agent.model.layer.predictor.read_out.weight.clone() for agent in team.members]  # type: ignore[union-attr, operator]
    teacher = SaliencyTeacher(every=1, weight=1.0)
    recipe = TeamRecipe(recipe=STANDARD, teacher=teacher)
    _loss(recipe, team).backward()
    for agent, weight in zip(team.members, before, strict=True):
        gradient = agent.model.layer.predictor.read_out.weight.grad  # type: ignore[union-attr]
        assert weight.shape == gradient.shape
        assert float(gradient.abs().sum()) > 0
    with pytest.raises(InvalidInput, match=r"agent a0 wrapped by Sgam\.wrap"):
        _loss(recipe, _team())


def test_passes_of_the_team() -> None:
    counted = {"forward": 0}
    team = _team()
    for agent in team.members:
        agent.register_forward_hook(
            lambda _m, inputs, _o: counted.update(forward=counted["forward"] + len(inputs[0]))
        )
    recipe = TeamRecipe(recipe=STANDARD, way="diverse", share=0.25, every=1)
    _loss(recipe, team)
    assert counted["forward"] / (3 * 56) == recipe.passes[0] == 1.25
    assert recipe.passes[1] == 1.75
    assert TeamRecipe(recipe=STANDARD, way="joint").passes == (1, 1)
    assert TeamRecipe(recipe=STANDARD, teacher=SaliencyTeacher(every=4)).passes == (1.25, 1.25)


def test_what_cannot_be_trained() -> None:
    with pytest.raises(InvalidInput, match=r"expected a fgmf\.agents\.Team, got ConvNet"):
        _loss(TeamRecipe(recipe=STANDARD), _net(0))
    with pytest.raises(InvalidInput, match="a rule with a gradient for joint training"):
        _loss(TeamRecipe(recipe=STANDARD, way="joint"), _team("majority"))
    assert float(_loss(TeamRecipe(recipe=STANDARD), _team("majority")).detach()) > 0


@pytest.mark.parametrize(
    "options", [{"way": "apart"}, {"weight": 0.0}, {"share": 1.5}, {"every": 0}, {"share": 0.0}]
)
def test_recipes_that_are_none(options: Any) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        TeamRecipe(recipe=STANDARD, **options)


LONG = replace(SCHEDULE, epochs=3)
WAYS: dict[str, Any] = {
    "independent": TeamRecipe(recipe=StandardRecipe(schedule=LONG)),
    "joint": TeamRecipe(recipe=StandardRecipe(schedule=LONG), way="joint"),
    "diverse": TeamRecipe(recipe=AmoRecipe(epsilon=0.1, schedule=LONG), way="diverse"),
}


def _trained(peers: TrainingPeers | None, way: str) -> dict[str, Any]:
    samples = some()
    team = Team([Agent("a", _net(0)), Agent("b", _net(1))]).double()
    doubled = Samples(images=samples.images.double(), labels=samples.labels)
    run = TrainingRun(team, doubled, WAYS[way], TrainingSettings(seed=5, peers=peers))
    report = run.finish()
    weights = torch.cat([p.detach().flatten() for p in team.parameters()])
    return {"weights": weights, "losses": report.losses, "kept": run.objective.state_dict()}


def _work(rank: int, port: int, folder: str, way: str) -> None:
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
        torch.save(_trained(peers, way), f"{folder}/{rank}.pt")


def _in_two(folder: Path, way: str) -> list[dict[str, Any]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.start_processes(_work, (port, str(folder), way), nprocs=2, start_method="fork")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("way", ["independent", "joint"])
def test_two_processes_train_the_team_of_one(tmp_path: Path, way: str) -> None:
    """Each has a part of every batch. Double precision: only sums are in another order (1e-10)."""
    one, both = _trained(None, way), _in_two(tmp_path, way)
    assert torch.equal(both[0]["weights"], both[1]["weights"])
    torch.testing.assert_close(both[0]["weights"], one["weights"], atol=1e-10, rtol=1e-8)


def test_two_processes_keep_agents_apart_together(tmp_path: Path) -> None:
    both = _in_two(tmp_path, "diverse")
    assert torch.equal(both[0]["weights"], both[1]["weights"])
    stores = [each["kept"]["inner"]["a"]["store"] for each in both]
    assert torch.equal(stores[0]["values"], stores[1]["values"])
    assert bool(stores[0]["seen"].all())
