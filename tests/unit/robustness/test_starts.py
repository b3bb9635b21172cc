from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import LinearModel, classify, keys_of, make_images, rule

from fgmf.robustness.starts import accept_starts, find_starts

IMAGES = make_images(12)


class Brightness(LinearModel):
    """Two classes, dark and bright, apart at a mean of 0.5."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = images.flatten(1).mean(dim=1)
        return torch.stack([0.5 - mean, mean - 0.5], dim=1)


def greys(*values: float) -> torch.Tensor:
    return torch.stack([torch.full((1, 8, 8), value) for value in values])


def starts_of(
    model: Any,
    images: torch.Tensor,
    *,
    wanted: list[int] | None = None,
    criterion: Any = None,
    seed: int = 0,
    **options: Any,
) -> dict[int, torch.Tensor]:
    classifier = classify(model, **options)
    logits = classifier.logits_in_batches(images)
    return find_starts(
        classifier,
        images,
        logits,
        criterion or rule(logits.argmax(dim=1)),
        wanted=list(range(len(images))) if wanted is None else wanted,
        keys=keys_of(images),
        seed=seed,
    )


def test_the_nearest_image_of_another_class_is_taken() -> None:
    images = greys(0.1, 0.2, 0.7, 0.9)
    starts = starts_of(Brightness(), images)
    assert [float(starts[at].mean()) for at in range(4)] == pytest.approx([0.7, 0.7, 0.2, 0.2])


def test_only_what_is_wanted_is_found_and_passes_are_saved() -> None:
    classifier = classify(LinearModel())
    logits = classifier.logits_in_batches(IMAGES)
    spent = classifier.cost_meter.forward_passes
    options: dict[str, Any] = {"wanted": [3, 1], "keys": keys_of(IMAGES), "seed": 0}
    found = find_starts(classifier, IMAGES, logits, rule(logits.argmax(1)), **options)
    assert sorted(found) == [1, 3]
    assert classifier.cost_meter.forward_passes == spent


def test_starts_break_their_image() -> None:
    for criterion in (
        rule(LinearModel()(IMAGES).argmax(1)),
        rule(LinearModel()(IMAGES).argmax(1), kind="top-k", top_k=2),
        rule(torch.zeros(12, dtype=torch.int64), kind="targeted", targets=torch.arange(12) % 4),
    ):
        starts = starts_of(LinearModel(), IMAGES, criterion=criterion)
        assert starts
        for at, start in starts.items():
            one = criterion.of(slice(at, at + 1))
            assert bool(one.broken(LinearModel()(start.unsqueeze(0))))


def test_an_image_on_the_fence_is_no_start() -> None:
    """A rounding error would carry it back."""
    images = greys(0.3, 0.5 + 1e-7, 0.8)
    assert float(starts_of(Brightness(), images, wanted=[0])[0].mean()) == pytest.approx(0.8)


def test_without_another_class_random_images_are_tried() -> None:
    """Dark ones only; noise has a mean near 0.5 and is bright about every second time."""
    images = greys(0.1, 0.2)
    first = starts_of(Brightness(), images)
    assert sorted(first) == [0, 1]
    assert all(float(start.mean()) > 0.5 for start in first.values())
    assert not torch.equal(first[0], first[1])
    again = starts_of(Brightness(), images, wanted=[1], batch_size=5)
    assert torch.equal(again[1], first[1])
    assert not torch.equal(starts_of(Brightness(), images, seed=1)[0], first[0])


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 255.0)])
def test_random_images_fill_the_bounds(bounds: tuple[float, float]) -> None:
    class Middle(Brightness):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward((images - bounds[0]) / (bounds[1] - bounds[0]))

    dark = greys(0.1) * (bounds[1] - bounds[0]) + bounds[0]
    (start,) = starts_of(Middle(), dark, bounds=bounds).values()
    assert float(start.min()) < bounds[0] + 0.1 * (bounds[1] - bounds[0])
    assert float(start.max()) > bounds[1] - 0.1 * (bounds[1] - bounds[0])
    assert bounds[0] <= float(start.min())
    assert float(start.max()) <= bounds[1]


def test_where_nothing_breaks_an_image_it_has_no_start() -> None:
    class Stubborn(LinearModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)

    assert starts_of(Stubborn(), IMAGES) == {}


def test_double_precision_stays() -> None:
    images = greys(0.1).double()
    (start,) = starts_of(Brightness(), images, dtype="float64").values()
    assert start.dtype is torch.float64


def test_offered_starts_are_taken_where_they_are_starts() -> None:
    classifier = classify(LinearModel(4))
    with classifier.guard():
        labels = classifier.predict(IMAGES)
        offered = {0: IMAGES[0], 1: IMAGES[int((labels != labels[1]).nonzero()[0])]}
        assert list(accept_starts(classifier, offered, rule(labels))) == [1]
        assert accept_starts(classifier, {}, rule(labels)) == {}
