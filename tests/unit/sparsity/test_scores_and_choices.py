"""Scores of weights, and which of them go."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.datasets import Samples, digits
from fgmf.errors import InvalidInput
from fgmf.sparsity import (
    Pruner,
    PruningSchedule,
    SparsityPattern,
    find_units,
    fine_tune,
    gradient_scores,
    keep_highest,
    keep_n_of_m,
    magnitude_scores,
    prune_units,
    unit_scores,
)
from fgmf.training import NFgsmRecipe, Schedule, StandardRecipe, train

SMALL = ConvNetConfig(image_side=8, widths=(4, 6), hidden=8, norm="batch")
SHORT = Schedule(epochs=1, batch_size=64)


def _few() -> Samples:
    samples = digits("train")
    return Samples(images=samples.images[:192], labels=samples.labels[:192])


def _scores(seed: int, *shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {str(n): torch.rand(shape, generator=generator) for n, shape in enumerate(shapes)}


@settings(max_examples=40, deadline=None)
@given(
    share=st.floats(0, 0.99), seed=st.integers(0, 50), scope=st.sampled_from(["layer", "global"])
)
def test_the_lowest_go_and_just_so_many(share: float, seed: int, scope: str) -> None:
    scores = _scores(seed, (4, 5), (3, 2, 2))
    pattern = keep_highest(scores, share, scope=scope)  # type: ignore[arg-type]
    parts = [scores] if scope == "global" else [{name: score} for name, score in scores.items()]
    for part in parts:
        kept = torch.cat([pattern.kept()[name].reshape(-1) for name in part])
        values = torch.cat([score.reshape(-1) for score in part.values()])
        assert int((~kept).sum()) == int(share * len(kept) + 1e-9)
        if bool(kept.any()) and not bool(kept.all()):
            assert values[~kept].max() <= values[kept].min()


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 3), m=st.integers(2, 5), seed=st.integers(0, 50))
def test_n_of_every_m_neighbours_stay(n: int, m: int, seed: int) -> None:
    scores = _scores(seed, (3, 2, 4), (5, 7))
    if n >= m:
        with pytest.raises(InvalidInput):
            keep_n_of_m(scores, n=n, m=m)
        return
    for name, kept in keep_n_of_m(scores, n=n, m=m).kept().items():
        rows, values = kept.reshape(len(kept), -1), scores[name].reshape(len(kept), -1)
        whole = rows.shape[1] - rows.shape[1] % m
        assert bool(rows[:, whole:].all())
        for row, score in zip(rows, values, strict=True):
            for start in range(0, whole, m):
                group, worth = row[start : start + m], score[start : start + m]
                assert set(worth[group].tolist()) == set(worth.topk(n).values.tolist())


def test_shares_and_scores_that_are_none_are_refused() -> None:
    for share in (1.0, -0.1, float("nan")):
        with pytest.raises(InvalidInput, match="share to remove"):
            keep_highest(_scores(0, (2, 2)), share)
    with pytest.raises(InvalidInput, match="finite scores of a"):
        keep_highest({"a": torch.tensor([1.0, float("nan")])}, 0.5)
    with pytest.raises(InvalidInput, match="at least one tensor"):
        keep_highest({}, 0.5)


def test_the_gradient_score_is_the_first_order_effect() -> None:
    """One batch of one linear layer: |w g| with g in closed form."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False))
    samples = _few()
    recipe = StandardRecipe(schedule=Schedule(epochs=1, batch_size=192))
    scores = gradient_scores(model, samples, recipe, image_count=192)["1.weight"]
    flat, weight = samples.images.flatten(1), model[1].weight.detach()
    missing = torch.softmax(flat @ weight.T, dim=1) - nn.functional.one_hot(samples.labels, 10)
    expected = (weight * (missing.T @ flat) / len(flat)).abs()
    # float32 sums of 192 terms of order 1e-3, in another order.
    torch.testing.assert_close(scores, expected, atol=1e-7, rtol=1e-4)


def test_scores_leave_the_model_as_it_was() -> None:
    model = ConvNet(SMALL).train()
    model.head[1].weight.requires_grad_(requires_grad=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scores = gradient_scores(model, _few(), NFgsmRecipe(epsilon=0.1, schedule=SHORT), seed=3)
    assert model.training
    assert model.features[1].training
    assert not model.head[1].weight.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again = gradient_scores(model, _few(), NFgsmRecipe(epsilon=0.1, schedule=SHORT), seed=3)
    assert all(torch.equal(scores[name], again[name]) for name in scores)


def test_adversarial_scores_are_others_than_clean_ones() -> None:
    model = ConvNet(SMALL)
    clean = gradient_scores(model, _few(), StandardRecipe(schedule=SHORT))
    robust = gradient_scores(model, _few(), NFgsmRecipe(epsilon=0.3, schedule=SHORT))
    assert not torch.allclose(clean["features.0.weight"], robust["features.0.weight"])


def test_the_weakest_units_go_and_one_always_stays() -> None:
    model = ConvNet(SMALL, seed=2)
    found = find_units(model, torch.rand(2, 1, 8, 8))
    scores = magnitude_scores(model)
    pattern = prune_units(model, found, scores, 0.5)
    worth = unit_scores(found.groups["features.0"], scores)
    kept = pattern.kept()["features.0.weight"].flatten(1).any(dim=1)
    assert worth[~kept].max() <= worth[kept].min()
    assert int(kept.sum()) == 2
    assert torch.equal(pattern.kept()["features.1.bias"], kept)
    for scope in ("layer", "global"):
        most = prune_units(model, found, scores, 0.99, scope=scope)  # type: ignore[arg-type]
        for name in ("features.0.weight", "features.4.weight", "head.1.weight"):
            assert int(most.kept()[name].flatten(1).any(dim=1).sum()) >= 1


def test_a_schedule_rises_to_its_share() -> None:
    for shape in ("one-shot", "linear", "cubic"):
        schedule = PruningSchedule(final_share=0.8, begin=0.1, end=0.6, shape=shape)  # type: ignore[arg-type]
        shares = [schedule.share(at / 100) for at in range(101)]
        assert shares == sorted(shares)
        assert shares[9] == 0.0
        assert shares[60] == shares[100] == 0.8
    with pytest.raises(InvalidInput, match="begin <= end"):
        PruningSchedule(final_share=0.5, begin=0.7, end=0.6)


def test_what_is_gone_stays_gone_while_the_rest_learns() -> None:
    model, samples = ConvNet(SMALL, seed=1), _few()
    pattern = keep_highest(magnitude_scores(model), 0.6)
    before = model.head[3].weight.detach().clone()
    fine_tune(model, samples, StandardRecipe(schedule=SHORT), pattern)
    assert pattern.violations(model) == {}
    assert not torch.equal(model.head[3].weight, before)
    assert all(not parameter._backward_hooks for parameter in model.parameters())


def test_a_pruner_prunes_by_its_schedule_in_any_loop() -> None:
    model, samples = ConvNet(SMALL, seed=1), _few()

    def choose(model: nn.Module, share: float) -> SparsityPattern:
        return keep_highest(magnitude_scores(model), share)

    pruner = Pruner(model, choose, PruningSchedule(final_share=0.7, end=0.5, rounds=3))
    recipe = StandardRecipe(schedule=Schedule(epochs=2, batch_size=32))
    with pruner.holding():
        assert pruner.pattern.removed_count == 0
        train(model, samples, recipe, on_progress=pruner)
    assert pruner.pattern.violations(model) == {}
    weights = sum(score.numel() for score in magnitude_scores(model).values())
    # What is zero has the lowest score, so that each round takes the earlier ones again.
    assert pruner.pattern.removed_count == int(0.7 * weights + 1e-9)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_dead_units_go_before_others_without_a_score(scope: str) -> None:
    """A share that grows during a training takes what is gone along, and nothing in its place."""
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))
    found = find_units(model, torch.rand(2, 3))
    with torch.no_grad():
        for tensor in (model[0].weight, model[0].bias):
            tensor[3:5] = 0
    scores = {"0.weight": torch.zeros(6, 3)}
    scores["0.weight"][5] = 1.0
    pattern = prune_units(model, found, scores, 1 / 3, scope=scope)
    assert pattern.kept()["0.bias"].tolist() == [True, True, True, False, False, True]
