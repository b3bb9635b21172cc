"""Pixels at which a gradient is lost: seen per pixel, and given back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import LinearModel
from torch import nn

from fgmf.gradient_masking.edges import gradient_inside, probe_edges

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.gradient_masking.examined import Examined

    Making = Callable[..., Examined]


class Front(nn.Module):
    """A linear model behind a function of the pixels."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.network, self.function = LinearModel(4), function

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(self.function(images))
        return logits


def gamma(images: torch.Tensor) -> torch.Tensor:
    """The identity, with a slope of infinity times zero at black."""
    return images.pow(0.4).pow(2.5)


def half_black(images: torch.Tensor) -> torch.Tensor:
    ends = images.clone().flatten(1)
    ends[:, ::2] = 0.0
    return ends.reshape(images.shape)


@pytest.mark.parametrize(
    ("function", "stands"),
    [
        (gamma, True),
        (lambda images: images.abs(), True),  # torch says that the slope at 0 is 0
        (lambda images: images, False),
        (lambda images: images.clamp(0.0, 1.0), False),
        # Honestly flat at black, over small steps too.
        (lambda images: (images - 0.2).relu(), False),
    ],
    ids=["gamma", "absolute", "identity", "clamp", "dead"],
)
def test_pixels_without_a_gradient_count_where_they_matter(
    examined: Making, function: Any, *, stands: bool
) -> None:
    subject = examined(Front(function))
    with subject.classifier.guard():
        before = subject.passes
        (symptom,) = probe_edges(subject, subject.classifier, half_black(subject.images))
        spent = subject.passes - before
    assert symptom.stands is stands
    assert symptom.passes == spent
    assert symptom.interval is not None
    if stands:
        assert symptom.value is not None
        # Half of the pixels, all of equal weight.
        assert 0.2 < symptom.value < 0.8


def test_where_no_pixel_has_a_gradient_other_symptoms_speak(examined: Making) -> None:
    subject = examined(Front(lambda images: images.detach() + 0.0 * images))
    with subject.classifier.guard():
        (symptom,) = probe_edges(subject, subject.classifier, subject.images)
    assert not symptom.stands


def test_a_gradient_is_taken_just_inside_of_the_bounds(examined: Making) -> None:
    subject, model = examined(), Front(gamma)
    black = half_black(subject.images)

    def slope(logits: Any) -> torch.Tensor:
        leaf = black.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(logits(leaf)[:, 0].sum(), leaf)
        return gradient

    assert bool(slope(model).isnan().any())
    repaired = gradient_inside(model, subject.threat)
    # x^.4^2.5 = x: the slope is that of the linear model, up to float32's powers.
    torch.testing.assert_close(
        slope(repaired),
        model.network.weight[0].reshape(1, 1, 8, 8).expand_as(black),
        rtol=1e-3,
        atol=1e-3,
    )
    assert torch.equal(repaired(black), model(black))
