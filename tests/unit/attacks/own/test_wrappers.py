from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from fgmf.attacks.own import Apgd, ExpectedLogits, SubstituteBackward
from fgmf.attacks.own_bridge import averaging
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.attacks.own.task import AttackTask


class Jittering:
    """A linear model with noise of its own in every call."""

    def __init__(self, linear: Any, noise: float) -> None:
        self.linear, self.noise, self.calls = linear, noise, 0
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        draw = torch.randn(images.shape, generator=self.generator, dtype=images.dtype)
        return self.linear(images + self.noise * draw)


def test_the_mean_of_many_draws_is_the_quiet_model(linear: Any, box_images: torch.Tensor) -> None:
    noisy = Jittering(linear, 0.5)
    many = ExpectedLogits(noisy, draws=400)
    quiet = linear(box_images)
    assert float((many(box_images) - quiet).abs().max()) < 0.5
    assert float((noisy(box_images) - quiet).abs().max()) > 1.0
    assert noisy.calls == 401


def test_the_gradient_is_the_mean_of_the_gradients(linear: Any, box_images: torch.Tensor) -> None:
    images = box_images.double().requires_grad_()
    noise = iter([0.1, -0.3, 0.4])
    wrapped = ExpectedLogits(lambda x: linear(x * (1 + next(noise))), draws=3)
    (gradient,) = torch.autograd.grad(wrapped(images)[:, 0].sum(), images)
    expected = linear.weights[0].reshape(1, 3, 4) * (1 + 0.2 / 3)
    assert torch.allclose(gradient, expected.expand_as(gradient))


def test_mean_probabilities(linear: Any, box_images: torch.Tensor) -> None:
    wrapped = ExpectedLogits(linear, draws=3, average="probabilities")
    expected = torch.log_softmax(linear(box_images), dim=1)
    assert torch.allclose(wrapped(box_images), expected, atol=1e-5)


class Lucky:
    """Says that every image is broken; asked to confirm, it says what it is told to."""

    passes_per_call = 2
    passes_to_confirm = 8

    def __init__(self, linear: Any, labels: torch.Tensor, *, confirms: bool) -> None:
        self.linear, self.confirms = linear, confirms
        self.classes = int(linear.weights.shape[0])
        self.broken = torch.nn.functional.one_hot((labels + 1) % self.classes, self.classes)
        self.whole = torch.nn.functional.one_hot(labels, self.classes)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return 1e-3 * self.linear(images) + 9.0 * self.broken[: len(images)]

    def confirm(self, images: torch.Tensor) -> torch.Tensor:
        return (self.broken if self.confirms else self.whole)[: len(images)].double()


@pytest.mark.parametrize(("confirms", "questions"), [(True, 1), (False, 5)])
def test_what_looks_broken_leaves_when_other_draws_confirm_it(
    linear: Any,
    box_images: torch.Tensor,
    make_task: Callable[..., AttackTask],
    confirms: bool,
    questions: int,
) -> None:
    labels = torch.zeros(len(box_images), dtype=torch.int64)
    lucky = Lucky(linear, labels, confirms=confirms)
    task = replace(make_task(box_images, labels, epsilon=0.1), clean_logits=lucky.whole.double())
    outcome = Apgd(steps=5, random_start=False).run(lucky, task)
    assert bool(outcome.broken.all()) is confirms
    asked = outcome.forward_passes
    assert asked.tolist() == [questions * (2 + 8)] * len(labels) or not confirms
    assert bool((asked >= questions * (2 + 8)).all())


def test_draws_that_confirm_are_counted_and_are_others(
    linear: Any, box_images: torch.Tensor
) -> None:
    noisy = Jittering(linear, 0.5)
    wrapped = ExpectedLogits(noisy, draws=2, confirming=7)
    assert (wrapped.passes_per_call, wrapped.passes_to_confirm) == (2, 7)
    wrapped.confirm(box_images)
    assert noisy.calls == 7
    nested = ExpectedLogits(wrapped, draws=3, confirming=2)
    assert nested.passes_to_confirm == 4


@pytest.mark.parametrize(("draws", "confirming"), [(2, 8), (4, 16), (20, 20), (50, 50)])
def test_four_times_as_many_draws_confirm(linear: Any, draws: int, confirming: int) -> None:
    assert averaging(linear, draws).passes_to_confirm == confirming


def test_every_draw_is_counted(
    linear: Any, box_images: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    labels = linear(box_images).argmax(dim=1)
    linear.rows = 0
    wrapped = ExpectedLogits(ExpectedLogits(linear, draws=2), draws=3)
    outcome = Apgd(steps=4).run(wrapped, make_task(box_images, labels, epsilon=1e-6))
    assert wrapped.passes_per_call == 6
    assert outcome.forward_passes.tolist() == [6 * 6] * 40
    assert outcome.backward_passes.tolist() == [4 * 6] * 40
    assert int(outcome.forward_passes.sum()) == linear.rows


def test_eot_breaks_more_of_a_noisy_model(
    linear: Any, box_images: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    labels = linear(box_images).argmax(dim=1)

    def broken(draws: int) -> int:
        model = ExpectedLogits(Jittering(lambda x: linear(x) - 0 * x.sum(), 2.0), draws=draws)
        attack = Apgd(loss="margin", steps=20, leave_when_broken=False)
        outcome = attack.run(model, make_task(box_images, labels, epsilon=0.1))
        return int((linear(outcome.adversarial).argmax(dim=1) != labels).sum())

    assert broken(16) > broken(1)


def test_bpda_attacks_through_rounding(
    linear: Any, box_images: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    labels = linear(torch.round(box_images * 8) / 8).argmax(dim=1)
    rounding = SubstituteBackward(lambda x: torch.round(x * 8) / 8)

    def plain(images: torch.Tensor) -> torch.Tensor:
        return linear(torch.round(images * 8) / 8)

    def opened(images: torch.Tensor) -> torch.Tensor:
        return linear(rounding(images))

    task = make_task(box_images, labels, epsilon=0.2)
    blind = Apgd(steps=20, random_start=False).run(plain, task)
    seeing = Apgd(steps=20, random_start=False).run(opened, task)
    assert bool(blind.vanished.all())
    assert not bool(blind.broken.any())
    assert int(seeing.broken.sum()) > 10
    assert torch.equal(plain(seeing.adversarial).argmax(dim=1) != labels, seeing.broken)


def test_values_are_exactly_those_of_the_forward(box_images: torch.Tensor) -> None:
    images = box_images.clone().requires_grad_()
    wrapped = SubstituteBackward(lambda x: x.sign() * 1e-9, lambda x: 3 * x)
    value = wrapped(images)
    assert torch.equal(value, box_images.sign() * 1e-9)
    (gradient,) = torch.autograd.grad(value.sum(), images)
    assert bool((gradient == 3).all())


def test_a_whole_model_can_be_substituted(
    linear: Any, make_linear: Any, box_images: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    labels = linear(box_images).argmax(dim=1)
    model = SubstituteBackward(lambda x: linear(x).detach(), linear)
    direct = Apgd(steps=10).run(linear, make_task(box_images, labels))
    through = Apgd(steps=10).run(model, make_task(box_images, labels))
    assert torch.equal(direct.adversarial, through.adversarial)


def test_what_does_not_fit_is_refused(linear: Any, box_images: torch.Tensor) -> None:
    with pytest.raises(InvalidInput, match="draws"):
        ExpectedLogits(linear, draws=0)
    with pytest.raises(InvalidInput, match=r"shape \(40, 4\), got \(40, 1, 3, 4\)"):
        SubstituteBackward(linear)(box_images)


def test_reprs_say_what_was_asked() -> None:
    assert "draws=3" in repr(ExpectedLogits(torch.nn.Identity(), draws=3))
    assert "Identity" in repr(SubstituteBackward(torch.nn.Identity()))
