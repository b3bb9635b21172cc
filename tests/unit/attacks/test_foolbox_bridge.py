"""Every attack of the catalogue, through the bridge: what holds for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import CurvedModel, LinearModel, classify, keys_of, make_images, rule

from fgmf.attacks.catalogue import CATALOGUE
from fgmf.attacks.projection import inside
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.types import Norm

PAIRS = [
    pytest.param(entry.name, norm, id=f"{entry.name}-{norm}")
    for entry in CATALOGUE.values()
    for norm in entry.foolbox_classes
]
# Brendel-Bethge without its compiler is slow in Linf and L1; one test runs it there.
QUICK = [p for p in PAIRS if p.values not in {("brendel-bethge", n) for n in ("linf", "l1")}]
TARGETED = [pair for pair in QUICK if CATALOGUE[str(pair.values[0])].targeted]
GRADIENT = [pair for pair in QUICK if CATALOGUE[str(pair.values[0])].needs_gradient]
EPSILON = {"linf": 0.06, "l2": 0.45, "l1": 3.0}


def curved(bounds: tuple[float, float]) -> CurvedModel:
    return CurvedModel(3, centre=sum(bounds) / 2, scale=1 / (bounds[1] - bounds[0]))


@pytest.mark.parametrize(("name", "norm"), PAIRS)
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0)], ids=["0..1", "-1..1"])
def test_an_image_is_attacked_alike_in_any_company(
    run: Callable[..., Any], name: str, norm: Norm, bounds: tuple[float, float]
) -> None:
    """To the last bit, because this model answers alike in any batch to the last bit."""
    classifier = classify(curved(bounds), bounds=bounds)
    images = make_images(6, bounds=bounds, margin=0.05)
    labels = classifier.predict(images)
    whole = run(classifier, images, name, norm)
    assert whole.failures == {}
    for rows in ([3], [5, 3, 0]):
        part = run(classifier, images, name, norm, rows=rows)
        assert part.failures == {}
        assert torch.equal(part.adversarial, whole.adversarial[rows])
    width = bounds[1] - bounds[0]
    threat = ThreatModel(norm=norm, epsilon=EPSILON[norm] * width, bounds=bounds)
    assert bool(inside(images, whole.adversarial, threat).all())
    assert whole.adversarial.dtype is images.dtype
    broken = rule(labels).broken(classifier.logits_in_batches(whole.adversarial))
    assert bool(broken.any())


@pytest.mark.parametrize(("name", "norm"), QUICK)
def test_bounds_are_units_and_nothing_else(run: Callable[..., Any], name: str, norm: Norm) -> None:
    """Twice the range, twice the epsilon: twice the image, exactly, for two is a power of two."""

    class Halved(CurvedModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images / 2)

    images = make_images(3, margin=0.05)
    plain = run(classify(CurvedModel(3)), images, name, norm)
    halved = classify(Halved(3), bounds=(0.0, 2.0))
    doubled = run(halved, images * 2, name, norm, keys=keys_of(images))
    assert torch.equal(doubled.adversarial, plain.adversarial * 2)


@pytest.mark.parametrize(("name", "norm"), QUICK)
def test_double_precision_is_attacked_in_double_precision(
    run: Callable[..., Any], name: str, norm: Norm
) -> None:
    classifier = classify(CurvedModel(3), dtype="float64")
    images = make_images(4, margin=0.05).double()
    with classifier.guard():
        result = run(classifier, images, name, norm)
    threat = ThreatModel(norm=norm, epsilon=EPSILON[norm])
    assert result.failures == {}
    assert result.adversarial.dtype is torch.float64
    assert bool(inside(images, result.adversarial, threat).all())


@pytest.mark.parametrize(("name", "norm"), TARGETED)
def test_targets_are_aimed_at(run: Callable[..., Any], name: str, norm: Norm) -> None:
    classifier = classify(CurvedModel(3))
    images = make_images(12, margin=0.05)
    labels = classifier.predict(images)
    targets = (labels + 1) % 3
    criterion = rule(labels, kind="targeted", targets=targets)
    result = run(classifier, images, name, norm, criterion=criterion)
    assert result.failures == {}
    hit = classifier.predict(result.adversarial)
    assert bool((hit == targets).any())


@pytest.mark.parametrize(("name", "norm"), QUICK)
def test_labels_are_pushed_out_of_the_top(run: Callable[..., Any], name: str, norm: Norm) -> None:
    classifier = classify(LinearModel(4))
    images = make_images(12, margin=0.05)
    criterion = rule(classifier.predict(images), kind="top-k", top_k=2)
    result = run(classifier, images, name, norm, criterion=criterion, epsilon=EPSILON[norm] * 1.5)
    assert result.failures == {}
    assert bool(criterion.broken(classifier.logits_in_batches(result.adversarial)).any())


@pytest.mark.parametrize(("name", "norm"), QUICK)
def test_a_ball_of_radius_zero_holds_the_image_alone(
    run: Callable[..., Any], name: str, norm: Norm
) -> None:
    classifier = classify(CurvedModel(3))
    images = make_images(2)
    result = run(classifier, images, name, norm, epsilon=0.0)
    assert result.failures == {}
    assert torch.equal(result.adversarial, images)


@pytest.mark.parametrize(("name", "norm"), GRADIENT)
def test_parameters_of_anybody_stay_as_they_are(
    run: Callable[..., Any], name: str, norm: Norm
) -> None:
    """Also of a model inside a plain callable, which nobody can freeze."""
    module = CurvedModel(3)
    own = module.weight.grad = torch.ones_like(module.weight)
    result = run(classify(lambda images: (module(images),)), make_images(3), name, norm)
    assert result.failures == {}
    assert module.weight.grad is own
    assert bool((own == 1).all())
    assert module.bias.grad is None


@pytest.mark.parametrize("name", ["pgd", "deepfool", "carlini-wagner", "fmn"])
def test_gradients_are_taken_also_where_the_caller_wants_none(
    run: Callable[..., Any], name: str
) -> None:
    classifier, images = classify(CurvedModel(3)), make_images(4)
    expected = run(classifier, images, name, "l2").adversarial
    with torch.no_grad():
        result = run(classifier, images, name, "l2")
    assert result.failures == {}
    assert torch.equal(result.adversarial, expected)


def test_seed_and_restart_change_what_is_tried(run: Callable[..., Any]) -> None:
    classifier, images = classify(CurvedModel(3)), make_images(3)
    options: dict[str, Any] = {"parameters": {"steps": 1, "rel_stepsize": 1e-6}}
    first = run(classifier, images, "pgd", **options).adversarial
    assert torch.equal(run(classifier, images, "pgd", **options).adversarial, first)
    assert not torch.equal(run(classifier, images, "fgsm").adversarial, first)
    again = run(classifier, images, "pgd", restart=1, **options).adversarial
    assert not bool((again == first).flatten(1).all(dim=1).any())


def test_more_than_a_batch_is_never_asked_at_once(run: Callable[..., Any]) -> None:
    """HopSkipJump asks about many copies of each image."""
    sizes: list[int] = []

    class Counting(CurvedModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.append(len(images))
            return super().forward(images)

    classifier, images = classify(Counting(3), batch_size=10), make_images(4)
    few = run(classifier, images, "hop-skip-jump", "l2")
    assert max(sizes) == 10
    many = run(classify(CurvedModel(3)), images, "hop-skip-jump", "l2")
    assert torch.equal(few.adversarial, many.adversarial)
