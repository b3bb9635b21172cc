"""Views of images: written out slowly, undone, and through every recipe that keeps something."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.training.trainings import AMO, SCHEDULE, bits, network, same, some

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.datasets import Samples
from fgmf.errors import InvalidInput
from fgmf.scorpio import PerturbationStore, Ramp
from fgmf.sgam import SaliencyTeacher, Sgam, SgamConfig
from fgmf.training import (
    AmoRecipe,
    Augmentation,
    RampedRecipe,
    SgamRecipe,
    StandardRecipe,
    TrainingRun,
    TrainingSettings,
    ViewedPerturbations,
    Views,
)


def slow_view(image: torch.Tensor, shift: list[int], mirrored: bool, fill: float) -> torch.Tensor:
    channels, height, width = image.shape
    view = torch.full_like(image, fill)
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                across = width - 1 - x if mirrored else x
                row, column = y + shift[0], across + shift[1]
                if 0 <= row < height and 0 <= column < width:
                    view[c, y, x] = image[c, row, column]
    return view


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 999), padding=st.integers(0, 6), mirror=st.booleans())
def test_views_are_those_of_a_slow_loop(seed: int, padding: int, mirror: bool) -> None:
    draws = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 2, 4, 5, generator=draws)
    views = Augmentation(padding=padding, mirror=mirror).draw(3, draws)
    assert int(views.shifts.abs().max()) <= padding
    assert mirror or not bool(views.mirrored.any())
    expected = [
        slow_view(image, shift, mirrored, 0.25)
        for image, shift, mirrored in zip(
            images, views.shifts.tolist(), views.mirrored.tolist(), strict=True
        )
    ]
    assert torch.equal(views.of(images, fill=0.25), torch.stack(expected))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 999), padding=st.integers(0, 6))
def test_what_is_written_through_a_view_is_read_through_it(seed: int, padding: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    views = Augmentation(padding=padding).draw(3, draws)
    store = PerturbationStore(5, (1, 4, 4))
    indices = torch.tensor([4, 0, 2])
    before = torch.randint(-127, 128, (3, 1, 4, 4), generator=draws) / 127
    store.write(indices, before)
    kept = ViewedPerturbations(store, views)
    new = torch.randint(-127, 128, (3, 1, 4, 4), generator=draws) / 127
    kept.write(indices, new)
    shown = views.of(torch.ones(3, 1, 4, 4)).bool()
    assert torch.equal(kept.read(indices)[0], new * shown)
    hidden = ~views.undone(torch.ones(3, 1, 4, 4), torch.zeros(3, 1, 4, 4)).bool()
    assert torch.equal(store.read(indices)[0][hidden], before[hidden])
    assert store.seen_count == 3


def test_both_kinds_of_views_are_drawn_and_every_shift() -> None:
    views = Augmentation(padding=1).draw(2000, torch.Generator().manual_seed(0))
    # 2000 fair coins: 1000 +- 5 standard deviations of 22.
    assert 890 < int(views.mirrored.sum()) < 1110
    assert len({tuple(shift) for shift in views.shifts.tolist()}) == 9


class Records(StandardRecipe):
    """Keeps the images that it was trained on."""

    seen: list[torch.Tensor] = []  # noqa: RUF012 - of one test

    def loss(self, model: Any, images: Any, labels: Any, **rest: Any) -> torch.Tensor:
        self.seen.append(images.clone())
        return super().loss(model, images, labels, **rest)


def test_other_views_in_every_epoch() -> None:
    Records.seen.clear()
    samples = some(16)
    run = TrainingRun(
        network(),
        samples,
        Records(schedule=SCHEDULE),
        TrainingSettings(augmentation=Augmentation(padding=2, mirror=False)),
    )
    run.finish()
    first, second = (images.flatten(1).sort(dim=0)[0] for images in Records.seen)
    assert not torch.equal(first, second)
    assert not torch.equal(first, samples.images.flatten(1).sort(dim=0)[0])


def test_beyond_the_edges_is_the_lowest_value_of_the_bounds() -> None:
    seen: list[torch.Tensor] = []

    class Looks(StandardRecipe):
        def loss(self, model: Any, images: Any, labels: Any, **rest: Any) -> torch.Tensor:
            seen.append(images)
            return super().loss(model, images, labels, **rest)

    samples = Samples(images=torch.full((56, 1, 8, 8), -0.5), labels=some().labels)
    recipe = Looks(schedule=SCHEDULE, bounds=(-1.0, 1.0))
    settings = TrainingSettings(augmentation=Augmentation(padding=3))
    TrainingRun(network(), samples, recipe, settings).finish()
    assert torch.cat(seen).unique().tolist() == [-1.0, -0.5]


def masked() -> Any:
    backbone = ConvNet(ConvNetConfig(image_side=8, widths=(4,), hidden=8), seed=3)
    return Sgam.wrap(backbone, channels=1, config=SgamConfig(grid_side=4))


MOVING = RampedRecipe(
    make=lambda numbers: replace(AMO, label_smoothing=numbers["label_smoothing"]),
    ramps={"label_smoothing": Ramp(start=0.0, end=0.2, until=0.5)},
)


@pytest.mark.parametrize(
    ("make", "recipe"),
    [
        (network, AMO),
        (network, MOVING),
        (masked, SgamRecipe(recipe=AMO, teacher=SaliencyTeacher(every=3))),
    ],
    ids=["amo", "ramped", "mask"],
)
def test_stored_perturbations_move_along(make: Any, recipe: Any) -> None:
    """Without the views the store would be another: shifted images, perturbations in place."""
    wanted = TrainingSettings(seed=5, augmentation=Augmentation(padding=3))
    run = TrainingRun(make(), some(), recipe, wanted)
    told: list[Views | None] = []
    see = run.objective.see  # type: ignore[attr-defined]

    def listening(views: Views | None) -> None:
        told.append(views)
        see(views)

    run.objective.see = listening  # type: ignore[attr-defined]
    run.finish()
    assert len(told) == run.steps == 8
    stateless = TrainingRun(make(), some(), recipe, wanted)
    stateless.objective.see = lambda views: None  # type: ignore[attr-defined]
    stateless.finish()
    assert not same(bits(run.model), bits(stateless.model))


class Keeps:
    """Perturbations for each image as it is, and no eye for views."""

    schedule, bounds, passes = SCHEDULE, (0.0, 1.0), (1, 1)

    def begin(self, image_count: int, shape: tuple[int, ...]) -> Any:
        inner = AmoRecipe(epsilon=0.1).begin(image_count, shape)

        class Blind:
            loss, share, recipe = inner.loss, inner.share, inner.recipe  # type: ignore[attr-defined]
            state_dict, load_state_dict = inner.state_dict, inner.load_state_dict

        return Blind()


class TestRefusals:
    @pytest.mark.parametrize(
        ("make", "recipe"),
        [
            (masked, SgamRecipe(recipe=Keeps(), teacher=SaliencyTeacher())),
            (network, RampedRecipe(make=lambda _numbers: Keeps(), ramps={})),
        ],
        ids=["mask", "ramped"],
    )
    def test_also_inside_another_recipe(self, make: Any, recipe: Any) -> None:
        TrainingRun(make(), some(), recipe).finish()
        moving = TrainingSettings(augmentation=Augmentation())
        with pytest.raises(InvalidInput, match="Blind keeps something"):
            TrainingRun(make(), some(), recipe, moving).finish()

    def test_who_keeps_something_must_see(self) -> None:
        TrainingRun(network(), some(), Keeps(), TrainingSettings())
        with pytest.raises(InvalidInput, match="method `see`"):
            TrainingRun(network(), some(), Keeps(), TrainingSettings(augmentation=Augmentation()))

    @pytest.mark.parametrize("padding", [-1, 1.5])
    def test_a_padding_that_is_none(self, padding: Any) -> None:
        with pytest.raises(InvalidInput, match="padding"):
            Augmentation(padding=padding)
