"""Controls with known answers: what is installed passes, what is broken fails."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from oracles.linear_minimum import smallest_radius

from fgmf.attacks.foolbox_bridge import FoolboxAttack
from fgmf.attacks.interface import AttackResult
from fgmf.attacks.plans import plan_attacks
from fgmf.selftest import run_controls
from fgmf.selftest.closed_form import linear_problem, smallest_distance

if TYPE_CHECKING:
    from fgmf.attacks.interface import AttackBatch
    from fgmf.attacks.plans import AttackPlan
    from fgmf.types import Norm

NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")


def _plans(*names: str) -> tuple[AttackPlan, ...]:
    return plan_attacks([(name, {}, None) for name in names], restarts=1)


@pytest.mark.parametrize("norm", NORMS)
def test_distances_are_those_of_a_linear_program(norm: Norm) -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        weights = generator.standard_normal((3, 12))
        image = generator.random(12)
        image[generator.random(12) < 0.4] = 0.0
        bias = -weights.sum(axis=1) / 2
        label = int((weights @ image + bias).argmax())
        mine = smallest_distance(weights, bias, image, label, norm, (0.0, 1.0))
        other = smallest_radius(weights, bias, image, label, norm, (0.0, 1.0))
        assert mine == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", np.inf)])
def test_without_a_box_the_distance_is_the_gap_over_the_dual_norm(norm: Norm, dual: float) -> None:
    weights = np.random.default_rng(1).standard_normal((2, 9))
    image, bias = np.zeros(9), np.array([0.7, 0.0])
    expected = 0.7 / np.linalg.norm(weights[1] - weights[0], ord=dual)
    got = smallest_distance(weights, bias, image, 0, norm, (-100.0, 100.0))
    assert got == pytest.approx(expected)
    assert smallest_distance(weights, bias, image, 1, norm, (-100.0, 100.0)) == 0.0


@pytest.mark.parametrize("norm", NORMS)
def test_where_the_box_holds_no_other_class_the_distance_is_infinite(norm: Norm) -> None:
    weights, bias = np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([3.0, 0.0])
    assert smallest_distance(weights, bias, np.ones(2), 0, norm, (0.0, 1.0)) == np.inf


@pytest.mark.parametrize(("norm", "boxed"), list(itertools.product(NORMS, (False, True))))
def test_all_images_of_a_problem_lie_at_one_distance(norm: Norm, boxed: bool) -> None:
    problem = linear_problem(norm, boxed=boxed, count=4)
    assert len(problem.images) == 4
    assert torch.equal(problem.module(problem.images).argmax(dim=1), problem.labels)
    low, high = problem.bounds
    assert float(problem.images.min()) >= low
    assert float(problem.images.max()) <= high
    # The images are rounded to float32.
    assert float(problem.distances.max() / problem.distances.min()) < 1 + 1e-4


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_working_attacks_pass_every_control(norm: Norm) -> None:
    results = list(run_controls({norm: _plans("pgd", "deepfool")}))
    assert len(results) == 5
    assert [result.measured for result in results if not result.passed] == []


def test_an_attack_that_finds_nothing_fails_where_there_is_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def idle(_self: FoolboxAttack, batch: AttackBatch, *, restart: int) -> AttackResult:
        return AttackResult(adversarial=batch.images.cpu())

    monkeypatch.setattr(FoolboxAttack, "run", idle)
    results = list(run_controls({"linf": _plans("pgd")}))
    assert [result.passed for result in results] == [False, True, False, True, True]
    assert results[0].measured == "0 of 8 broken"


def test_an_attack_that_cannot_be_carried_out_passes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even where nothing is to be broken: nobody has looked."""

    def fails(_self: FoolboxAttack, batch: AttackBatch, *, restart: int) -> AttackResult:
        failures = dict.fromkeys(range(len(batch.keys)), "it stumbles")
        return AttackResult(adversarial=batch.images.cpu(), failures=failures)

    monkeypatch.setattr(FoolboxAttack, "run", fails)
    results = list(run_controls({"linf": _plans("pgd")}))
    assert [result.passed for result in results] == [False] * 5
    assert results[1].measured == "0 of 8 broken, attacks failed on 8"


def test_an_engine_that_lets_attacks_out_of_the_ball_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twice the budget, and nobody looks: below the distance images break, certified ones too."""

    def far(self: FoolboxAttack, batch: AttackBatch, *, restart: int) -> AttackResult:
        towards = 1 - batch.images.round() if self._threat.bounds == (0.0, 1.0) else -batch.images
        return AttackResult(adversarial=towards)

    monkeypatch.setattr(FoolboxAttack, "run", far)
    monkeypatch.setattr(
        "fgmf.robustness.measure.inside",
        lambda images, *_: torch.ones(len(images), dtype=torch.bool),
    )
    results = list(run_controls({"linf": _plans("pgd")}))
    assert not results[3].passed
    assert not results[4].passed


def test_other_seeds_are_other_problems() -> None:
    first, second = (linear_problem("linf", boxed=True, count=2, seed=seed) for seed in (0, 1))
    assert not torch.equal(first.images, second.images)
