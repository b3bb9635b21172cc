from __future__ import annotations

import pytest
import torch
from tiny_models import make_images

from fgmf.attacks.foolbox_watch import FiniteWatch
from fgmf.errors import AttackFailed

NAN, INF = float("nan"), float("inf")


def observed(
    logits: torch.Tensor, images: torch.Tensor | None = None, *, count: int = 3
) -> dict[int, str]:
    watch = FiniteWatch(count, torch.device("cpu"))
    watch.enter(make_images(len(logits)) if images is None else images)
    watch.leave(logits)
    return watch.failures()


def answer(watch: FiniteWatch, images: torch.Tensor, factor: torch.Tensor | float) -> torch.Tensor:
    """A pass through a model that multiplies."""
    logits = watch.enter(images).flatten(1) * factor
    watch.leave(logits)
    return logits


def test_finite_answers_are_no_failure() -> None:
    assert observed(torch.zeros(3, 4)) == {}


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_bad_logit_is_a_failure_of_its_image(bad: float) -> None:
    logits = torch.zeros(3, 4)
    logits[1, 2] = bad
    failures = observed(logits)
    assert list(failures) == [1]
    assert "logits" in failures[1]


def test_copies_belong_to_their_images() -> None:
    logits = torch.zeros(6, 4)
    logits[3, 0] = logits[5, 0] = NAN
    assert sorted(observed(logits)) == [0, 2]


def test_points_outside_the_box_are_not_watched() -> None:
    logits = torch.full((3, 4), NAN)
    images = make_images(3)
    images[0, 0, 0, 0], images[1, 0, 0, 0] = -0.1, 1.1
    assert list(observed(logits, images)) == [2]


def test_an_image_that_the_attack_lost_is_watched() -> None:
    images = make_images(3)
    images[0, 0, 0, 0] = NAN
    logits = torch.zeros(3, 4)
    logits[0] = NAN
    assert list(observed(logits, images)) == [0]


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_bad_gradient_is_a_failure_of_its_image(bad: float) -> None:
    images = make_images(3).requires_grad_()
    watch = FiniteWatch(3, torch.device("cpu"))
    weights = torch.ones(3, 1)
    weights[2] = bad
    torch.autograd.grad((answer(watch, images, 1.0) * weights).sum(), images)
    failures = watch.failures()
    assert list(failures) == [2]
    assert "gradient" in failures[2]


def test_a_gradient_that_never_comes_is_a_failure_of_all() -> None:
    watch = FiniteWatch(3, torch.device("cpu"))
    images = make_images(3).requires_grad_()
    logits = answer(watch, images, 1.0)
    # The attack's own distance leads to the images, but not through the model.
    torch.autograd.grad(images.square().sum(), images)
    assert sorted(watch.failures()) == [0, 1, 2]
    assert "no gradient" in watch.failures()[0]
    torch.autograd.grad(logits.sum(), images)
    assert watch.failures() == {}


def test_a_strict_watch_raises_at_once() -> None:
    images = make_images(1).requires_grad_()
    watch = FiniteWatch(1, torch.device("cpu"), strict=True)
    loss = (answer(watch, images, 1.0) * NAN).sum()
    with pytest.raises(AttackFailed, match="gradient"):
        torch.autograd.grad(loss, images)
    with pytest.raises(AttackFailed, match="logits"):
        answer(FiniteWatch(1, torch.device("cpu"), strict=True), images, INF)


def test_passes_add_up_and_logits_come_first() -> None:
    watch = FiniteWatch(2, torch.device("cpu"))
    images = make_images(2).requires_grad_()
    answer(watch, images, 1.0)
    spoiled = answer(watch, images, NAN)
    answer(watch, images, 1.0)
    torch.autograd.grad(spoiled.sum(), images)
    assert set(watch.failures()) == {0, 1}
    assert all("logits" in reason for reason in watch.failures().values())
