"""The scale of the output: multiplied logits, squeezed ones, and what is neither."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import LinearModel
from torch import nn

from fgmf.gradient_masking.league import Ground
from fgmf.gradient_masking.scales import probe_scale
from fgmf.gradient_masking.slopes import measure_slopes

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.gradient_masking.examined import Examined
    from fgmf.gradient_masking.values import Symptom

    Making = Callable[..., Examined]


class Changed(nn.Module):
    """A linear model whose logits are changed."""

    def __init__(self, change: Any, *, classes: int = 10) -> None:
        super().__init__()
        self.network, self.change = LinearModel(classes), change

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.change(self.network(images))
        return logits


def probed(subject: Examined) -> tuple[dict[str, Symptom], int]:
    with subject.classifier.guard():
        slopes = measure_slopes(subject, subject.classifier)
        before = subject.passes
        found = {symptom.name: symptom for symptom in probe_scale(subject, slopes)}
        return found, subject.passes - before


def softsign(logits: torch.Tensor) -> torch.Tensor:
    return 30 * nn.functional.softsign(8 * logits)


@pytest.mark.parametrize(
    ("change", "loss", "top"),
    [
        (lambda logits: logits, False, False),
        (lambda logits: logits.log_softmax(dim=1), False, False),
        (lambda logits: 1000 * logits, True, False),
        (softsign, False, True),
        (lambda logits: 3 * torch.tanh(logits), False, True),
    ],
    ids=["as they are", "log-softmax", "multiplied", "softsign", "tanh"],
)
def test_multiplied_and_squeezed_logits_are_told_apart(
    examined: Making, change: Any, *, loss: bool, top: bool
) -> None:
    found, _ = probed(examined(Changed(change)))
    assert found["top-logit-flat"].stands is top
    if top:  # how far the loss of squeezed logits is out depends on the width
        return
    assert found["loss-out-of-scale"].stands is loss


def test_the_scale_is_asked_of_the_model_itself_and_not_of_its_copy(examined: Making) -> None:
    """A copy in float64 of a network that amplifies rounding answers as another network does."""
    subject, other = examined(LinearModel(10)), examined(LinearModel(10, seed=5))
    with subject.classifier.guard(), other.classifier.guard():
        slopes = measure_slopes(subject, other.classifier)
        found = {symptom.name: symptom for symptom in probe_scale(subject, slopes)}
    assert not found["loss-out-of-scale"].stands


def test_both_say_how_sure_they_are_and_what_they_cost(examined: Making) -> None:
    found, spent = probed(examined(Changed(lambda logits: logits)))
    for symptom in found.values():
        assert symptom.value is not None
        assert symptom.interval is not None
        assert symptom.interval.lower <= symptom.value <= symptom.interval.upper
    # One pass more than is booked: the margins that set the scale are booked with the first probe.
    assert sum(symptom.passes for symptom in found.values()) == spent


@pytest.mark.parametrize("classes", [2, 3])
def test_of_few_classes_the_top_logit_says_nothing(examined: Making, classes: int) -> None:
    found, _ = probed(examined(Changed(softsign, classes=classes)))
    assert "top-logit-flat" not in found


def test_of_many_classes_nine_are_asked(examined: Making) -> None:
    found, _ = probed(examined(Changed(softsign, classes=40)))
    assert found["top-logit-flat"].passes == 10 * 32
    assert found["top-logit-flat"].stands


@pytest.mark.parametrize(
    ("standing", "suspect", "explained"),
    [
        ({"loss-out-of-scale"}, False, True),
        ({"top-logit-flat"}, True, True),
        ({"pixels-without-gradient"}, True, True),
        ({"noise-breaks", "more-steps-break"}, False, False),
    ],
)
def test_what_explains_a_gap_and_what_calls_for_more_attacks(
    examined: Making, standing: set[str], *, suspect: bool, explained: bool
) -> None:
    ground = Ground(examined=examined(), free=None, standing=frozenset(standing))
    assert (ground.suspect, ground.explained) == (suspect, explained)


def test_what_draws_do_to_a_path_speaks_for_nothing_on_a_random_model(examined: Making) -> None:
    standing = frozenset({"silent-success", "one-step-beats-many", "loss-falls"})
    steady = Ground(examined=examined(), free=None, standing=standing)
    drawn = Ground(examined=examined(random=True), free=None, standing=standing)
    assert (steady.suspect, steady.explained) == (True, True)
    assert (drawn.suspect, drawn.explained) == (False, False)
