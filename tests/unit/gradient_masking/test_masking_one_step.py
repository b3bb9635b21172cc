"""The one-step attack: turned away, gone too far, or merely weak."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from tiny_models import LinearModel, make_images

from fgmf.gradient_masking.naive import ONE_STEP, climb
from fgmf.gradient_masking.one_step import probe_ray, probe_turning, step_along, walk_ray
from fgmf.gradient_masking.slopes import measure_slopes, probe_curvature

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.gradient_masking.examined import Examined

    Making = Callable[..., Examined]

EPSILON = 0.01
PIXELS = 64


class Waves(torch.nn.Module):
    """Two classes by the sign of a cosine: a full step goes round once, half a step across."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        phase = 2 * math.pi * images.flatten(1).sum(dim=1) / (EPSILON * PIXELS)
        return torch.stack([phase.cos(), -phase.cos()], dim=1)


class HalfWaves(Waves):
    """Likewise, at half the frequency: where the step ends, the gradient is the opposite."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        phase = math.pi * images.flatten(1).sum(dim=1) / (EPSILON * PIXELS)
        return torch.stack([phase.cos(), -phase.cos()], dim=1)


def test_what_shorter_steps_break_is_found(examined: Making) -> None:
    subject = examined(Waves(), epsilon=EPSILON)
    ends = climb(subject, ONE_STEP).points
    full = subject.right(ends)
    lowest = walk_ray(subject, ends, full)
    # Back at the same phase, up to rounding of a sum of 64 pixels.
    assert full.mean() > 0.9
    assert lowest.mean() == 0
    symptom = probe_ray(full, lowest)
    assert symptom.stands
    assert symptom.mechanisms == ("label-leak",)


def test_a_linear_model_leaks_nothing_and_turns_nowhere(examined: Making) -> None:
    subject = examined(LinearModel(2), epsilon=EPSILON)
    ends = climb(subject, ONE_STEP).points
    full = subject.right(ends)
    assert torch.equal(walk_ray(subject, ends, full), full)
    turning = probe_turning(subject, ends, left=1.0, lost=0.9)
    assert turning.value is not None
    # Of two classes every gradient has the direction of the weights' difference.
    assert turning.value > 0.999
    assert not turning.stands


def test_a_gradient_that_turns_counts_where_the_iterative_attack_takes_more(
    examined: Making,
) -> None:
    subject = examined(HalfWaves(), epsilon=EPSILON)
    ends = climb(subject, ONE_STEP).points
    assert probe_turning(subject, ends, left=0.6, lost=0.5).stands
    assert not probe_turning(subject, ends, left=0.6, lost=0.1).stands


@pytest.mark.parametrize(("left", "stands"), [(0.47, True), (0.23, False)])
def test_nobody_is_fooled_by_a_step_that_breaks_most_images(
    examined: Making, left: float, *, stands: bool
) -> None:
    """Collapsed trainings leave .47 and more, undefended networks up to .23."""
    subject = examined(HalfWaves(), epsilon=EPSILON)
    ends = climb(subject, ONE_STEP).points
    assert probe_turning(subject, ends, left=left, lost=0.22).stands is stands


class Turning(torch.nn.Module):
    """Linear near known images, and linear along another direction half a step away."""

    def __init__(self, known: torch.Tensor, cosine: float) -> None:
        super().__init__()
        first = LinearModel(2).weight.detach()[0]
        other = LinearModel(2, seed=1).weight.detach()[0]
        other -= first * (other @ first) / (first @ first)
        other *= first.norm() / other.norm()
        self.known, self.first = known.flatten(1), first
        self.second = cosine * first + math.sqrt(1 - cosine**2) * other

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        flat = images.flatten(1)
        far = torch.cdist(flat, self.known).amin(dim=1) > 0.5 * EPSILON * math.sqrt(PIXELS)
        rise = torch.where(far, flat @ self.second, flat @ self.first)
        return torch.stack([rise, -rise], dim=1)


@pytest.mark.parametrize(("cosine", "stands"), [(0.45, True), (0.55, False)])
def test_the_limit_lies_at_one_half(examined: Making, cosine: float, *, stands: bool) -> None:
    """Collapsed trainings lie at .42 to .48, honest ones that lose as much above .57."""
    subject = examined(Turning(make_images(32, margin=0.1), cosine), epsilon=EPSILON)
    turning = probe_turning(subject, climb(subject, ONE_STEP).points, left=0.6, lost=0.5)
    assert turning.value is not None
    # The direction is exact; float32 products of 64 pixels are not.
    assert abs(turning.value - cosine) < 1e-3
    assert turning.stands is stands


def test_a_step_along_a_true_gradient_breaks_what_it_can(examined: Making) -> None:
    model = LinearModel(2)
    subject = examined(model, epsilon=0.05)
    points = step_along(subject, model)
    own = climb(subject, ONE_STEP).points
    assert torch.equal(points, own)


def test_the_margin_of_waves_bends_and_that_of_a_linear_model_rises(examined: Making) -> None:
    """Half of the radius goes half round: the margin is turned to its opposite either way."""
    shares = {}
    for name, model in (("waves", Waves()), ("linear", LinearModel(2))):
        subject = examined(model, epsilon=EPSILON)
        with subject.classifier.guard():
            slopes = measure_slopes(subject, subject.classifier)
            before = subject.passes
            (symptom,) = probe_curvature(subject, slopes)
            assert symptom.passes == subject.passes - before
        assert symptom.value is not None
        assert symptom.interval is not None
        shares[name] = (symptom.value, symptom.stands)
    # Up to float32 sums of 64 pixels.
    assert shares["waves"][0] > 0.99
    assert shares["linear"][0] < 0.01
    assert (shares["waves"][1], shares["linear"][1]) == (True, False)
