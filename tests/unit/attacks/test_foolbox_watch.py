from __future__ import annotations

import pytest
import torch
from tiny_models import make_images

from fgmf.attacks.foolbox_watch import FiniteWatch

NAN, INF = float("nan"), float("inf")


def observed(
    logits: torch.Tensor, images: torch.Tensor | None = None, *, count: int = 3
) -> dict[int, str]:
    watch = FiniteWatch(count, torch.device("cpu"))
    watch.observe(make_images(len(logits)) if images is None else images, logits)
    return watch.failures()


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
    logits = images.flatten(1)[:, :4] * 1.0
    watch.observe(images, logits)
    assert watch.failures() == {}
    torch.autograd.grad((logits * weights).sum(), images)
    failures = watch.failures()
    assert list(failures) == [2]
    assert "gradient" in failures[2]


def test_passes_add_up_and_logits_come_first() -> None:
    watch = FiniteWatch(2, torch.device("cpu"))
    images = make_images(2).requires_grad_()
    logits = images.flatten(1) * NAN
    watch.observe(images, torch.zeros(2, 3))
    watch.observe(images[:, :], logits)
    watch.observe(images, torch.zeros(2, 3))
    torch.autograd.grad(logits.sum(), images)
    assert set(watch.failures()) == {0, 1}
    assert all("logits" in reason for reason in watch.failures().values())
