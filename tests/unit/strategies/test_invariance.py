"""`assert_invariant`: the smallest failure is found, told, remembered; nothing tried is no pass."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.database import InMemoryExampleDatabase
from strategy_models import AngleModel, BrightnessModel, blob
from tiny_models import LinearModel, classify, make_images

from fgmf.attacks.projection import inside
from fgmf.errors import GateError, GateFailure, InvalidInput, ModelStateChanged, NonFiniteOutput
from fgmf.strategies import (
    InvarianceFailure,
    assert_invariant,
    brightness_shifts,
    contrast_losses,
    corruptions,
    perturbations,
    rotations,
)
from fgmf.strategies.changes import BrightnessShift, Corruption, NormBallPerturbation, Rotation
from fgmf.strategies.directions import Drawn, Everywhere, Rectangle, Signs
from fgmf.threat import ThreatModel

WITHIN = 0.05
"""The promise: the reported counterexample is within 5 % of the smallest there is."""
GREY = torch.full((3, 1, 8, 8), 0.3)
NONE = torch.zeros(3, dtype=torch.int64)
NAMES = {
    "BrightnessShift": BrightnessShift,
    "Rotation": Rotation,
    "Corruption": Corruption,
    "NormBallPerturbation": NormBallPerturbation,
    "Everywhere": Everywhere,
    "Rectangle": Rectangle,
    "Signs": Signs,
    "Drawn": Drawn,
}


def failure_of(
    model: Any, images: torch.Tensor, strategy: Any, **options: Any
) -> InvarianceFailure:
    labels = options.pop("labels", torch.zeros(len(images), dtype=torch.int64))
    with pytest.raises(InvarianceFailure) as raised:
        assert_invariant(classify(model), images, labels, strategy, **options)
    return raised.value


@pytest.mark.parametrize("least", [0.003, 0.02, 0.0371, 0.111, 0.25, 0.2999])
def test_the_smallest_brightness_is_reported(least: float) -> None:
    failure = failure_of(BrightnessModel(0.3 + least), GREY, brightness_shifts(0.3))
    found = failure.counterexample.change
    assert isinstance(found, BrightnessShift)
    assert least <= found.added <= least * (1 + WITHIN)


@pytest.mark.parametrize("least", [0.7, 3.0, 8.25, 14.2])
def test_the_smallest_rotation_is_reported(least: float) -> None:
    """Interpolation turns the axis of the blob by 1 % less than the image, at most."""
    failure = failure_of(AngleModel(least), blob(), rotations(15))
    found = failure.counterexample.change
    assert isinstance(found, Rotation)
    assert found.size == pytest.approx(least, rel=WITHIN)


@pytest.mark.parametrize("least", [2.3, 11.0])
def test_the_smallest_rotation_is_that_of_a_dense_search(least: float) -> None:
    """Against every angle of both directions in steps of a thousandth of the largest."""
    classifier = classify(AngleModel(least))
    swept = [15 * step / 1000 for step in range(1001)]
    turned = [
        Rotation(degrees=sign * size).apply(blob(), (0.0, 1.0))
        for size in swept
        for sign in (1, -1)
    ]
    wrong = classifier.predict(torch.cat(turned)).reshape(-1, 2).any(dim=1)
    smallest = swept[int(wrong.nonzero()[0])]
    found = failure_of(AngleModel(least), blob(), rotations(15)).counterexample.change
    assert smallest - 0.015 <= found.size <= smallest * (1 + WITHIN)


def test_the_first_alternative_is_the_simplest() -> None:
    both = brightness_shifts(0.3) | rotations(15)
    found = failure_of(BrightnessModel(0.4), GREY, both).counterexample.change
    assert isinstance(found, BrightnessShift)


@pytest.mark.parametrize(("norm", "least"), [("linf", 0.05), ("l2", 0.05 * 8), ("l1", 0.05 * 64)])
def test_the_shortest_perturbation_is_uniform_where_the_mean_decides(
    norm: Any, least: float
) -> None:
    """In Linf and L2 the uniform one is the shortest; in L1 all that go one way are equal."""
    threat = ThreatModel(norm=norm, epsilon=4 * least)
    failure = failure_of(BrightnessModel(0.35), GREY, perturbations(threat, (1, 8, 8)))
    found = failure.counterexample.change
    assert least * (1 - 1e-6) <= found.size <= least * (1 + WITHIN)
    assert isinstance(found, NormBallPerturbation)
    assert found.direction == Everywhere()


def test_the_least_severity_and_the_first_name_are_reported() -> None:
    """Severity 3 of brightness adds 0.15; contrast alone never moves the mean."""
    strategy = corruptions(["contrast", "brightness"])
    found = failure_of(BrightnessModel(0.43), GREY, strategy).counterexample
    assert found.change == Corruption(name="brightness", severity=3)
    assert found.holds_at is None


def test_the_message_stands_alone() -> None:
    images = torch.cat([GREY, torch.full((1, 1, 8, 8), 0.1), torch.full((1, 1, 8, 8), 0.9)])
    labels = torch.zeros(5, dtype=torch.int64)
    failure = failure_of(BrightnessModel(0.4), images, brightness_shifts(0.3), labels=labels)
    first, *rest = str(failure).splitlines()
    assert first.startswith("invariance: brightness +0.1")
    assert "breaks 3 of 4 images that are right without it (size 0.1" in first
    assert "it holds; image 0: label 0, predicted 1; " in first
    assert rest[0] == f"change: {failure.counterexample.change!r}"
    assert rest[1] == "broken images: 0, 1, 2"
    assert isinstance(failure, GateFailure)
    again = pickle.loads(pickle.dumps(failure))  # noqa: S301 - our own
    assert again.counterexample == failure.counterexample


@pytest.mark.parametrize(
    "strategy",
    [
        brightness_shifts(0.3),
        perturbations(ThreatModel(norm="linf", epsilon=0.3), (1, 8, 8)),
        corruptions(["brightness"]),
    ],
)
def test_the_repr_of_a_change_makes_it_again(strategy: Any) -> None:
    found = failure_of(BrightnessModel(0.31), GREY, strategy).counterexample.change
    again = eval(repr(found), NAMES)  # noqa: S307 - our own text
    assert again == found
    assert torch.equal(again.apply(GREY, (0.0, 1.0)), found.apply(GREY, (0.0, 1.0)))


def test_positions_are_those_of_all_images_given() -> None:
    images = torch.stack([torch.full((1, 8, 8), tone) for tone in (0.9, 0.1, 0.35)])
    failure = failure_of(BrightnessModel(0.4), images, brightness_shifts(0.1))
    assert failure.counterexample.positions == (2,)


def test_images_may_break_as_far_as_is_allowed() -> None:
    images = torch.stack([torch.full((1, 8, 8), tone) for tone in (0.35, 0.3, 0.2)])
    labels = torch.zeros(3, dtype=torch.int64)
    strategy, classifier = brightness_shifts(0.15), classify(BrightnessModel(0.4))
    result = assert_invariant(classifier, images, labels, strategy, max_broken=2)
    assert (result.image_count, result.wrong_before) == (3, 0)
    assert result.examples > 10
    assert 0 < result.margin <= 0.2
    assert result.cost.forward_passes >= 3 * result.examples
    failure = failure_of(BrightnessModel(0.4), images, strategy, max_broken=1)
    assert failure.counterexample.change.size == pytest.approx(0.1, rel=WITHIN)
    assert ", 1 allowed" in str(failure)


def test_what_holds_passes() -> None:
    classifier = classify(BrightnessModel(0.7))
    result = assert_invariant(
        classifier, GREY, NONE, brightness_shifts(0.2) | contrast_losses(1.0) | rotations(180)
    )
    assert result.margin > 0


def test_a_found_example_is_saved_and_replayed_first() -> None:
    database = InMemoryExampleDatabase()
    search = settings(database=database, derandomize=False, max_examples=200)
    strategy = brightness_shifts(0.3)
    first = failure_of(BrightnessModel(0.5999), GREY, strategy, settings=search)
    assert database.data
    replayed = settings(search, max_examples=1, phases=[Phase.reuse, Phase.generate, Phase.shrink])
    again = failure_of(BrightnessModel(0.5999), GREY, strategy, settings=replayed)
    assert again.counterexample.change == first.counterexample.change
    others = brightness_shifts(0.2999995)  # another search: what the first found is not its own
    keys = {bytes(key[:16]) for key in database.data}
    failure_of(BrightnessModel(0.5), GREY, others, settings=search)
    assert {bytes(key[:16]) for key in database.data} > keys


def test_the_active_profile_decides_how_much_is_tried() -> None:
    few = assert_invariant(
        classify(BrightnessModel(0.9)),
        GREY,
        NONE,
        brightness_shifts(0.3),
        settings=settings(max_examples=7),
    )
    assert few.examples == 7
    by_profile = assert_invariant(
        classify(BrightnessModel(0.9)), GREY, NONE, brightness_shifts(0.3)
    )
    assert by_profile.examples == settings().max_examples


def test_nothing_tried_is_an_error() -> None:
    classifier = classify(BrightnessModel(0.9))
    for strategy, options in (
        (st.nothing(), {}),
        (brightness_shifts().filter(lambda change: False), {}),
        (brightness_shifts(), {"settings": settings(phases=[])}),
        (brightness_shifts(), {"settings": settings(phases=[Phase.reuse])}),
    ):
        with pytest.raises(GateError, match="not measured"):
            assert_invariant(classifier, GREY, NONE, strategy, **options)


def test_no_right_image_is_an_error() -> None:
    with pytest.raises(GateError, match="more than 0 images that are right"):
        assert_invariant(classify(BrightnessModel(0.9)), GREY, NONE + 1, brightness_shifts())


def test_what_is_no_change_is_an_error() -> None:
    with pytest.raises(GateError, match="it drew float"):
        assert_invariant(classify(BrightnessModel(0.9)), GREY, NONE, st.just(0.1))


def test_wrong_arguments_are_refused() -> None:
    for images, labels in ((GREY, NONE[:2]), (GREY[:0], NONE[:0]), (GREY[0], NONE[:1])):
        with pytest.raises(InvalidInput, match="expected images"):
            assert_invariant(classify(BrightnessModel(0.9)), images, labels, brightness_shifts())


class Spoiled(BrightnessModel):
    """Right for what is as it was; otherwise something goes wrong."""

    def __init__(self, how: str) -> None:
        super().__init__(0.9)
        self.how, self.calls = how, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().forward(images)
        self.calls += 1
        if bool((images - 0.3).abs().max() > 1e-6):
            if self.how == "nan":
                return logits * torch.nan
            if self.how == "asserts":
                raise AssertionError("of the model")
        if self.how == "alternates" and self.calls > 1:
            return logits * (1 if self.calls % 2 else -1)
        return logits


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("nan", NonFiniteOutput),
        ("asserts", GateError),
        ("alternates", (GateError, ModelStateChanged)),
    ],
)
def test_what_cannot_be_measured_is_no_failed_assertion(how: str, error: Any) -> None:
    with pytest.raises(error) as raised:
        assert_invariant(classify(Spoiled(how)), GREY, NONE, brightness_shifts())
    assert not isinstance(raised.value, AssertionError)


class Outside(BrightnessShift):
    def apply(self, images: torch.Tensor, bounds: Any) -> torch.Tensor:
        return images + 2


class Smaller(BrightnessShift):
    def apply(self, images: torch.Tensor, bounds: Any) -> torch.Tensor:
        return images[:, :, :4]


@pytest.mark.parametrize(("kind", "words"), [(Outside, "stay within"), (Smaller, "keep the shape")])
def test_a_change_of_the_user_is_checked(kind: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        assert_invariant(classify(BrightnessModel(0.9)), GREY, NONE, st.just(kind(added=0.1)))


def test_a_real_gradient_free_search_finds_a_failure_of_a_linear_model() -> None:
    model, images = LinearModel(), make_images(5, margin=0.2)
    labels = classify(model).predict(images)
    threat = ThreatModel(norm="linf", epsilon=0.2)
    failure = failure_of(model, images, perturbations(threat, (1, 8, 8)), labels=labels)
    change = failure.counterexample.change
    perturbed = change.apply(images, (0.0, 1.0))
    assert inside(images, perturbed, threat).all()
    wrong = classify(model).predict(perturbed) != labels
    assert wrong.nonzero().flatten().tolist() == list(failure.counterexample.positions)
