"""Maps under noise and within epsilon: what is known of linear and of erratic explainers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tiny_models import LinearModel, classify, keys_of, make_images
from torch import nn

from fgmf.attribution.building import explainer
from fgmf.attribution.interface import Attribution
from fgmf.errors import MetricFailed
from fgmf.faithfulness.stability import StabilityPlan, measure_stability

if TYPE_CHECKING:
    from fgmf.faithfulness.stability import StabilityMeasurement

IMAGES = make_images(6, margin=0.1)
BOTH = StabilityPlan(similarity="cosine", noise=0.05, epsilon=0.02, copies=2, steps=6)


class Spy:
    """An explainer of one's own that remembers what it is shown."""

    name = "spy"

    def __init__(self, say: Any) -> None:
        self.say, self.shown = say, []

    def explain(
        self, classifier: Any, images: Any, targets: Any, *, keys: Any = None, seed: int = 0
    ) -> Attribution:
        self.shown.append((images, targets, keys))
        maps = self.say(images)
        return Attribution(
            maps=maps, targets=targets, method="spy", parameters={}, keys=keys, seed=seed
        )


def measured(
    method: Any, model: nn.Module | None = None, plan: StabilityPlan = BOTH, **options: Any
) -> StabilityMeasurement:
    classifier = classify(LinearModel(3) if model is None else model, **options)
    return measure_stability(method, classifier, IMAGES, plan, keys=keys_of(IMAGES))


def test_the_gradient_of_a_linear_logit_never_changes() -> None:
    found = measured(explainer("gradient", {"output": "logit"}))
    assert found.noise == pytest.approx(1.0)
    assert found.adversarial == pytest.approx(1.0)


def test_everything_shown_keeps_the_prediction_and_the_ball() -> None:
    spy = Spy(lambda images: images[:, 0])
    plan = replace(BOTH, noise=None, epsilon=0.3, corners=4)
    found = measured(spy, plan=plan)
    assert found.noise is None
    assert found.pulled_back > 0
    classifier = classify(LinearModel(3))
    (clean, targets, keys), *others = spy.shown
    assert torch.equal(clean, IMAGES)
    assert len(others) == 4 + 6
    assert keys == keys_of(IMAGES)
    for images, asked, others_keys in others:
        assert torch.equal(asked, targets)
        assert others_keys == keys
        assert torch.equal(classifier.predict(images), targets)
        # Rounding of one float32 sum.
        assert float((images - IMAGES).abs().max()) <= 0.3 + 1e-6
        assert 0 <= float(images.min()) <= float(images.max()) <= 1


def test_the_worst_candidate_counts() -> None:
    """This explainer is itself but on images that were moved up the loss."""
    model = LinearModel(3)
    classifier = classify(model)
    clean = classifier.logits_in_batches(IMAGES)

    def say(images: torch.Tensor) -> torch.Tensor:
        logits = classifier.logits_in_batches(images)
        margin = lambda z: z.sort(dim=1).values @ torch.tensor([0.0, -1.0, 1.0])  # noqa: E731
        lower = margin(logits) < margin(clean) - 0.3
        base = torch.ones(len(images), 8, 8) + images[:, 0] * 0
        base[lower, ::2] = -1.0
        return base

    plan = replace(BOTH, noise=None)
    found = measured(Spy(say), plan=plan)
    assert found.adversarial is not None
    assert (found.adversarial < 0.1).any()
    assert any(name.startswith("up the loss") for name in found.worst)


def test_noise_is_averaged_and_counted() -> None:
    found = measured(Spy(lambda images: images[:, 0] - 0.5), plan=replace(BOTH, noise=0.3))
    assert found.noise is not None
    assert ((found.noise > 0.3) & (found.noise < 1.0)).all()
    assert 0 < found.changed_by_noise < 1


def test_neither_batch_size_nor_company_matters() -> None:
    method = explainer("gradient-times-input")
    model = LinearModel(3)
    whole = measured(method, model)
    small = measured(method, model, batch_size=1)
    part = measure_stability(method, classify(model), IMAGES[2:4], BOTH, keys=keys_of(IMAGES[2:4]))
    assert whole.noise is not None
    assert whole.adversarial is not None
    assert small.noise == pytest.approx(whole.noise)
    assert small.adversarial == pytest.approx(whole.adversarial)
    assert part.noise == pytest.approx(whole.noise[2:4])
    assert part.adversarial == pytest.approx(whole.adversarial[2:4])
    other = measured(method, model, replace(BOTH, seed=1))
    assert not np.allclose(whole.noise, other.noise)


def test_a_class_that_changes_at_once_is_an_error() -> None:
    class Nervous(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            same = (images == IMAGES[: len(images)]).flatten(1).all(dim=1)
            sign = torch.where(same, 1.0, -1.0) + 0 * images.flatten(1).sum(dim=1)
            return torch.stack([sign, -sign], dim=1)

    spy = Spy(lambda images: images[:, 0])
    with pytest.raises(MetricFailed, match="keeps the prediction, got none for image 0"):
        measured(spy, Nervous(), plan=replace(BOTH, noise=None))


def test_zero_maps_are_errors() -> None:
    with pytest.raises(MetricFailed, match="for image 0"):
        measured(Spy(lambda images: images[:, 0] * 0))


def test_models_without_gradients_are_shown_corners_alone() -> None:
    spy, model = Spy(lambda images: images[:, 0]), LinearModel(3)
    classifier = classify(model)
    classifier.gradient_available = False
    plan = replace(BOTH, noise=None, corners=2)
    measure_stability(spy, classifier, IMAGES, plan, keys=keys_of(IMAGES))
    assert len(spy.shown) == 1 + 2
