"""What a larger budget buys, what one pass does, and what decisions alone give away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from tiny_models import LinearModel
from torch import nn

from fgmf.gradient_masking.budgets import (
    probe_doubled_ball,
    probe_doubled_steps,
    probe_noise,
    probe_shell,
)
from fgmf.gradient_masking.deciding import Deciding
from fgmf.gradient_masking.insides import probe_insides
from fgmf.gradient_masking.naive import FORTY_STEPS, climb
from fgmf.gradient_masking.naive_runs import attack_again, attack_naively
from fgmf.gradient_masking.sources import mean_around

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.gradient_masking.examined import Examined

    Making = Callable[..., Examined]

RIGHT = torch.ones(32, dtype=torch.float64)


class Deaf(nn.Module):
    """No gradient reaches the image."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(images.detach()) + 0.0 * images.sum()
        return logits


class Cliff(nn.Module):
    """Half-way out along any direction of signs the logits grow a hundredfold at once."""

    def __init__(self, network: nn.Module, known: torch.Tensor, radius: float) -> None:
        super().__init__()
        self.network, self.radius = network, radius
        self.register_buffer("known", known)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        away = torch.cdist(images.flatten(1), self.known.flatten(1)).amin(dim=1)
        factor = torch.where(away > self.radius, 100.0, 1.0)
        logits: torch.Tensor = factor[:, None] * self.network(images)
        return logits


class Cleaning(nn.Module):
    """Takes two steps towards a flatter image before it answers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        point = images
        for _ in range(2):
            with torch.enable_grad():
                leaf = point.detach().requires_grad_()
                (slope,) = torch.autograd.grad(leaf.var(dim=(1, 2, 3)).sum(), leaf)
            point = point - 0.01 * slope
        logits: torch.Tensor = self.network(point)
        return logits


class Labels(nn.Module):
    """One-hot decisions, no scores."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.network(images)
        return nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1]).float()


def test_more_steps_break_what_fewer_had_not_reached(examined: Making) -> None:
    subject = examined(epsilon=0.3)
    with subject.classifier.guard():
        # An attack that has not moved at all has most of its way before it.
        symptom = probe_doubled_steps(subject, subject.images, RIGHT)
    assert symptom.stands
    assert symptom.value is not None
    assert symptom.value > 0.9
    assert symptom.interval is not None
    assert symptom.interval.upper >= symptom.value


def test_more_steps_break_nothing_once_an_attack_has_ended(examined: Making) -> None:
    subject = examined(epsilon=0.05)
    with subject.classifier.guard():
        path = climb(subject, FORTY_STEPS)
        right = subject.right(path.points)
        before = subject.passes
        symptom = probe_doubled_steps(subject, path.points, right)
        spent = subject.passes - before
    assert 0 < right.sum() < 32
    assert (symptom.value, symptom.stands) == (0.0, False)
    assert symptom.passes == spent


@pytest.mark.parametrize(("deaf", "stands"), [(True, True), (False, False)])
def test_a_larger_ball_helps_on_an_honest_model(
    examined: Making, *, deaf: bool, stands: bool
) -> None:
    model = LinearModel(3)
    subject = examined(Deaf(model) if deaf else model, epsilon=0.3)
    with subject.classifier.guard():
        before = subject.passes
        symptom = probe_doubled_ball(subject, RIGHT)
        spent = subject.passes - before
    assert symptom is not None
    assert symptom.stands is stands
    assert symptom.passes == spent


@pytest.mark.parametrize(("epsilon", "stands"), [(0.001, False), (0.5, True)])
def test_random_corners_break_what_is_near(
    examined: Making, *, epsilon: float, stands: bool
) -> None:
    """Far out of a linear model of three classes a corner is wrong two times out of three."""
    subject = examined(epsilon=epsilon)
    with subject.classifier.guard():
        before = subject.passes
        symptom = probe_noise(subject, RIGHT)
        spent = subject.passes - before
    assert symptom.stands is stands
    assert symptom.passes == spent
    none_left = probe_noise(subject, torch.zeros(32, dtype=torch.float64))
    assert (none_left.value, none_left.passes) == (0.0, 0)


def test_a_larger_ball_is_not_asked_about_where_little_is_left(examined: Making) -> None:
    subject = examined()
    assert probe_doubled_ball(subject, torch.zeros(32, dtype=torch.float64)) is None


def test_the_edge_of_a_shell_is_seen_and_a_straight_line_is_none(examined: Making) -> None:
    honest = examined(epsilon=0.1)
    with honest.classifier.guard():
        before = honest.passes
        straight = probe_shell(honest)
        spent = honest.passes - before
    assert not straight.stands
    # Sixteen equal steps; pixels that reach the bounds make some of them shorter.
    assert straight.value is not None
    assert 1 / 16 <= straight.value < 0.15
    assert straight.passes == spent
    # 64 pixels that move by 0.2 in all; the cliff is half-way.
    cliff = Cliff(LinearModel(3), honest.images, radius=0.5 * 0.2 * 8 * 0.9)
    shelled = examined(cliff, epsilon=0.1)
    with shelled.classifier.guard():
        found = probe_shell(shelled)
    assert found.stands
    assert found.mechanisms == ("shattered",)
    assert found.interval is not None
    assert found.value is not None
    assert found.interval.lower <= found.value <= found.interval.upper


def test_an_inner_optimisation_is_seen_and_the_hooks_come_off(examined: Making) -> None:
    model = LinearModel(3)
    honest, cleaning = examined(model), examined(Cleaning(model))
    with honest.classifier.guard():
        assert not probe_insides(honest).stands
    with cleaning.classifier.guard():
        symptom = probe_insides(cleaning)
    assert symptom.stands
    assert symptom.value == 1
    assert "up to 2 times" in symptom.note
    # Four passes of four: above (.05 / 2)^(1/4).
    assert symptom.interval is not None
    assert abs(symptom.interval.lower - 0.025**0.25) < 1e-6
    assert symptom.mechanisms == ("inner-optimisation",)
    assert all(not module._forward_pre_hooks for module in model.modules())


def test_a_pass_that_raises_is_no_symptom_and_leaves_no_hooks(examined: Making) -> None:
    class Raising(LinearModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if torch.is_grad_enabled():
                raise ValueError("no gradients here")
            return super().forward(images)

    subject = examined(Raising(3))
    with subject.classifier.guard():
        symptom = probe_insides(subject)
    assert not symptom.stands
    assert "ValueError" in symptom.note


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_decisions_alone_come_near_to_the_edge_of_a_linear_model(
    examined: Making, norm: str
) -> None:
    """The nearest point of a linear model is known; decisions reach 1.5 times its distance."""
    linear = LinearModel(2)
    weight = (linear.weight[1] - linear.weight[0]).detach()
    dual = float(weight.abs().sum() if norm == "linf" else weight.norm())
    model = Labels(linear)
    probe = examined(model, count=32)
    with torch.no_grad():
        logits = linear(probe.images)
    distance = (logits[:, 1] - logits[:, 0]).abs() / dual
    epsilon = 1.5 * float(distance.median())
    subject = examined(model, epsilon=epsilon, norm=norm)
    with subject.classifier.guard():
        before = subject.passes
        ended = Deciding(queries=600).run(subject.logits, subject.task("rays"), batch_size=7)
        asked = subject.passes - before
        broken = subject.right(ended.adversarial) == 0
    assert asked <= 600 * 32
    near, far = 1.5 * distance < epsilon, distance > epsilon
    assert int(near.sum()) >= 8
    # A sign of each of 64 pixels is learnt one by one: nearly all of the near ones are reached.
    assert float(broken[near].double().mean()) > 0.8
    assert not bool(broken[far].any())


def test_decisions_do_not_depend_on_the_batch(examined: Making) -> None:
    subject = examined(Labels(LinearModel(3)), epsilon=0.1)
    with subject.classifier.guard():
        task = subject.task("rays")
        whole = Deciding(queries=60).run(subject.logits, task, batch_size=32)
        parts = Deciding(queries=60).run(subject.logits, task, batch_size=5)
    assert torch.equal(whole.adversarial, parts.adversarial)


def test_a_smoothed_copy_is_another_model_with_its_own_passes(examined: Making) -> None:
    subject = examined()
    images = subject.images.clamp(0.1, 0.9)  # so that no move is cut
    ground = LinearModel(3)
    smooth = mean_around(ground, subject.threat, points=64, reach=0.05, seed=0)
    assert smooth.passes_per_call == 64  # type: ignore[attr-defined] # functions may say so
    # A linear model at the mean of the moves: 64 uniform draws of at most 0.05 average to 0.0036
    # per pixel, and 64 pixels to 0.029 |w|; five deviations.
    gap = (smooth(images) - ground(images)).detach().abs().amax()
    assert 0 < float(gap) < 5 * 0.0036 * float(ground.weight.detach().norm(dim=1).amax())


def test_another_start_only_lowers_and_says_how_many(examined: Making) -> None:
    subject = examined(epsilon=0.05)
    live = torch.arange(32)
    with subject.classifier.guard():
        first, _ = attack_naively(subject, live, FORTY_STEPS, name="PGD-40")
        second = attack_again(subject, live, first, restart=1)
        third = attack_again(subject, live, second, restart=2)
    assert (second.name, third.name) == ("PGD-40 (2 starts)", "PGD-40 (3 starts)")
    assert bool((third.right <= second.right).all() and (second.right <= first.right).all())
    assert third.passes > second.passes > first.passes
