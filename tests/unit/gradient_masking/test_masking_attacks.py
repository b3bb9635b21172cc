"""Naive attacks against closed forms; estimated and distilled gradients against true ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from tiny_models import CurvedModel, LinearModel

from fgmf.attacks.own import Apgd
from fgmf.gradient_masking.ascending import Ascending
from fgmf.gradient_masking.countering import Assault, Countering
from fgmf.gradient_masking.distilling import distil
from fgmf.gradient_masking.estimating import EstimatedLogits
from fgmf.gradient_masking.naive import FORTY_STEPS, ONE_STEP, climb
from fgmf.gradient_masking.sources import around, opposite

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.gradient_masking.examined import Examined

    Making = Callable[..., Examined]


class Detached(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images.detach())


def entropy_slope(
    model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    leaf = images.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(model(leaf), labels, reduction="sum")
    return torch.autograd.grad(loss, leaf)[0]


def test_one_step_is_the_sign_of_the_gradient(examined: Making) -> None:
    model = CurvedModel(3)
    subject = examined(model, epsilon=0.05)
    path = climb(subject, ONE_STEP)
    slope = entropy_slope(model, subject.images, subject.labels)
    expected = (subject.images + 0.05 * slope.sign()).clamp(0, 1)
    # One float32 rounding of values below 1.
    assert (path.points - expected).abs().max() <= 1.2e-7
    assert not path.still.any()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_forty_steps_stay_inside_and_end_higher(examined: Making, norm: str) -> None:
    epsilon = {"linf": 0.05, "l2": 0.5, "l1": 3.0}[norm]
    subject = examined(CurvedModel(3), epsilon=epsilon, norm=norm)
    path = climb(subject, FORTY_STEPS)
    size = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}[norm]
    moved = torch.linalg.vector_norm(
        (path.points - subject.images).double().flatten(1), size, dim=1
    )
    # The measuring tolerance of fgmf.attacks.projection.
    assert (moved <= epsilon * (1 + 1e-9)).all()
    assert path.points.min() >= 0
    assert path.points.max() <= 1
    assert path.loss.shape == (32, 40)
    assert (path.loss[:, -1] > path.loss[:, 0]).all()


def test_a_gradient_that_cannot_be_had_counts_as_zero(examined: Making) -> None:
    subject = examined(Detached(LinearModel(3)))
    path = climb(subject, ONE_STEP)
    assert path.unavailable.startswith("RuntimeError: ")
    assert torch.equal(path.points, subject.images)
    assert path.still.all()


def test_estimated_gradients_of_a_linear_model_point_the_right_way(examined: Making) -> None:
    """Random weights are the worst case for wide cells; no direction asked would give 0."""
    model = LinearModel(3)
    subject = examined(model)
    estimated = EstimatedLogits(model, threat=subject.threat, pairs=64, seed=0)
    wanted = torch.tensor([1.0, -1.0, 0.0]).expand(32, 3)
    leaf = subject.images.clone().requires_grad_()
    logits = estimated(leaf)
    assert torch.equal(logits, model(subject.images))
    (slope,) = torch.autograd.grad(logits, leaf, wanted)
    true = (wanted @ model.weight.detach()).reshape(slope.shape)
    cosine = torch.nn.functional.cosine_similarity(slope.flatten(1), true.flatten(1), dim=1)
    assert cosine.min() > 0.4


def test_estimates_do_not_depend_on_the_batch(examined: Making) -> None:
    subject = examined()
    estimated = EstimatedLogits(LinearModel(3), threat=subject.threat, pairs=5, seed=0)
    wanted = torch.tensor([1.0, -1.0, 0.0])
    together = estimated.pulled_back(subject.images, wanted.expand(32, 3))
    alone = torch.cat([estimated.pulled_back(i[None], wanted[None]) for i in subject.images])
    assert torch.equal(together, alone)
    other = EstimatedLogits(LinearModel(3), threat=subject.threat, pairs=5, seed=1)
    assert not torch.equal(together, other.pulled_back(subject.images, wanted.expand(32, 3)))


def test_averaging_around_and_turning_round_keep_the_values(examined: Making) -> None:
    model, subject = LinearModel(3), examined()
    for function in (
        around(model, subject.threat, points=4, reach=0.02, seed=0),
        opposite(model),
    ):
        assert torch.equal(function(subject.images), model(subject.images))
    leaf = subject.images.clone().requires_grad_()
    (turned,) = torch.autograd.grad(opposite(model)(leaf)[:, 0].sum(), leaf)
    # The gradient of a linear model is its weight.
    assert torch.allclose(turned.flatten(1), -model.weight[0].detach().expand(32, 64))


def test_a_distilled_copy_gives_what_a_cut_graph_does_not(examined: Making) -> None:
    model = LinearModel(3)
    subject = examined(Detached(model), epsilon=0.1)
    with subject.classifier.guard():
        network = distil(subject, subject.logits, copies=7, updates=300)
        state = Countering(
            examined=subject,
            right=torch.ones(32, dtype=torch.float64),
            attacked=torch.zeros(32, dtype=torch.bool),
        )
        attack = Apgd(loss="margin", steps=20, leave_when_broken=False)
        rows = torch.arange(32)
        broken = state.run(attack, network, rows, Assault(name="copy"), scouting=True)
    # The true gradient breaks 32 of 32 here.
    assert broken >= 16
    assert int((state.right == 0).sum()) == broken
    assert state.records[0].broken == broken


def test_what_an_attack_claims_is_judged_on_the_model(examined: Making) -> None:
    """A function that lies about its values: every image looks broken, none is."""
    subject = examined(epsilon=1e-6)
    state = Countering(
        examined=subject,
        right=torch.ones(32, dtype=torch.float64),
        attacked=torch.zeros(32, dtype=torch.bool),
    )
    with subject.classifier.guard():
        lies = opposite(lambda images: -subject.classifier.logits(images))
        attack = Apgd(loss="margin", steps=3)
        state.run(attack, lies, torch.arange(32), Assault(name="lies"), scouting=True)
    assert (state.right == 1).all()


def test_an_attack_that_raises_is_a_failure_and_no_evidence(examined: Making) -> None:
    subject = examined()

    def raises(images: torch.Tensor) -> torch.Tensor:
        raise ValueError("no such layer")

    state = Countering(
        examined=subject,
        right=torch.ones(32, dtype=torch.float64),
        attacked=torch.zeros(32, dtype=torch.bool),
    )
    state.run(Apgd(steps=1), raises, torch.arange(32), Assault(name="broken"), scouting=True)
    assert state.records[0].failure == "ValueError: no such layer"
    assert state.records[0].broken == 0


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_plain_ascent_reaches_the_worst_corner_of_a_linear_model(
    examined: Making, norm: str
) -> None:
    """Of two classes the gradient is the same everywhere: every step goes the same way."""
    epsilon = {"linf": 0.02, "l2": 0.2, "l1": 1.0}[norm]
    model = LinearModel(2)
    subject = examined(model, epsilon=epsilon, norm=norm)
    with subject.classifier.guard():
        ended = Ascending(steps=40).run(model, subject.task("ascent"), batch_size=7)
    weight = (model.weight[1] - model.weight[0]).detach().double()
    moves = (ended.adversarial - subject.images).double().flatten(1)
    gain = moves @ weight * torch.where(subject.labels == 0, 1.0, -1.0)
    order = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}[norm]
    most = epsilon * float(torch.linalg.vector_norm(weight, order))
    # In L1 a twentieth of the pixels moves, not the best one alone.
    share = {"linf": 0.999, "l2": 0.999, "l1": 0.8}[norm]
    assert (gain > share * most).all()
    assert (gain <= most * (1 + 1e-6)).all()
