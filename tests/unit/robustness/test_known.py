"""Known outcomes: verified again, booked where attacks would book them, in any division of work."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from shared_work import Member, facts, together
from tiny_models import CurvedModel, classify, keys_of, make_images, rule

from fgmf.attacks.plans import plan_attacks
from fgmf.robustness import (
    RobustnessMeasurement,
    RobustnessPlan,
    measure_robustness,
    measure_shared,
    measure_until_enough,
)
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fgmf.robustness.known import AskedImages, KnownOutcome

IMAGES = make_images(70, margin=0.05)
LABELS = CurvedModel()(IMAGES).argmax(dim=1)
LABELS[::9] = (LABELS[::9] + 1) % 4
KEYS = keys_of(IMAGES)
QUESTION = RobustnessPlan(
    threat=ThreatModel(norm="l2", epsilon=0.3),
    attacks=plan_attacks(
        [
            ("additive-noise", {"repeats": 2}, 2),
            ("pgd", {"steps": 1, "rel_stepsize": 0.5}, None),
            ("pgd", {"steps": 6}, 2),
        ],
        restarts=1,
    ),
    seed=5,
    example_limit=20,
)


class Shelf:
    """A cache in memory; images are named by their keys."""

    def __init__(self, known: Mapping[str, KnownOutcome] | None = None) -> None:
        self.known = dict(known or {})
        self.kept: dict[str, KnownOutcome] = {}

    def names(self, asked: AskedImages) -> dict[int, str]:
        return {at: asked.keys[at] for at in asked.wanted}

    def recall(self, names: Mapping[int, str], like: Any) -> dict[int, KnownOutcome]:
        return {at: self.known[name] for at, name in names.items() if name in self.known}

    def keep(self, outcomes: Mapping[str, KnownOutcome]) -> None:
        self.kept.update(outcomes)


def measured(
    shelf: Shelf | None = None, *, plan: RobustnessPlan = QUESTION, size: int = 128
) -> RobustnessMeasurement:
    model = classify(CurvedModel(), batch_size=size)
    return measure_robustness(model, IMAGES, rule(LABELS), replace(plan, cache=shelf), keys=KEYS)


@pytest.fixture(scope="module")
def alone() -> RobustnessMeasurement:
    result = measured()
    assert 5 < int(result.broken.sum()) < len(IMAGES) - 5
    return result


@pytest.fixture(scope="module")
def learned(alone: RobustnessMeasurement) -> dict[str, KnownOutcome]:
    shelf = Shelf()
    assert facts(measured(shelf)) == facts(alone)
    assert len({outcome.run for outcome in shelf.kept.values()} - {None}) >= 3
    return shelf.kept


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("size", [11, 128])
def test_any_part_of_what_is_known_leads_to_the_same_result(
    alone: RobustnessMeasurement, learned: dict[str, KnownOutcome], every: int, size: int
) -> None:
    shelf = Shelf(dict([*learned.items()][::every]))
    result = measured(shelf, size=size)
    assert facts(result) == facts(alone)
    assert result.cost.cached_images == len(shelf.known)
    assert not shelf.kept.keys() & shelf.known.keys()
    assert shelf.kept.keys() | shelf.known.keys() == learned.keys()


@pytest.mark.parametrize("count", [2, 3])
def test_processes_that_know_different_images_say_what_one_says(
    alone: RobustnessMeasurement, learned: dict[str, KnownOutcome], count: int
) -> None:
    def work(member: Member) -> RobustnessMeasurement:
        shelf = Shelf(dict([*learned.items()][member.rank :: 2]))
        plan = replace(QUESTION, cache=shelf)
        model = classify(CurvedModel(), batch_size=11)
        return measure_shared(model, IMAGES, rule(LABELS), plan, keys=KEYS, processes=member)

    results = together(count, work)
    for result in results:
        assert facts(result) == facts(alone)
        assert 0 < result.cost.cached_images < len(learned)


def _stopping(
    shelf: Shelf | None, threshold: int, member: Member | None = None
) -> RobustnessMeasurement:
    def enough(known: RobustnessMeasurement) -> bool:
        return int(known.broken.sum()) >= threshold

    return measure_until_enough(
        classify(CurvedModel()),
        IMAGES,
        rule(LABELS),
        replace(QUESTION, cache=shelf),
        keys=KEYS,
        enough=enough,
        processes=member,
    )


@pytest.mark.parametrize("threshold", [4, 12, 16, 20, 30, 99])
def test_measuring_stops_at_the_same_image_after_the_same_attack(
    learned: dict[str, KnownOutcome], threshold: int
) -> None:
    plain = _stopping(None, threshold)
    assert facts(_stopping(Shelf(learned), threshold)) == facts(plain)
    half = dict([*learned.items()][::2])
    assert facts(_stopping(Shelf(half), threshold)) == facts(plain)
    for result in together(2, lambda member: _stopping(Shelf(half), threshold, member)):
        assert facts(result) == facts(plain)


def test_what_a_stopped_measurement_leaves_undecided_is_not_kept() -> None:
    shelf = Shelf()
    result = _stopping(shelf, 4)
    assert result.undecided.any()
    assert all(outcome.run is not None for outcome in shelf.kept.values())
    assert len(shelf.kept) == int((result.broken & result.clean_correct).sum())


def _moved(outcome: KnownOutcome, **changes: Any) -> KnownOutcome:
    return replace(outcome, **changes)


LIES: dict[str, Callable[[KnownOutcome], KnownOutcome]] = {
    "outside the ball": lambda o: _moved(o, image=(o.image + 0.4).clamp(0, 1)),  # type: ignore[operator]
    "outside the box": lambda o: _moved(o, image=o.image - 5),  # type: ignore[operator]
    "not a number": lambda o: _moved(o, image=torch.full_like(o.image, torch.nan)),  # type: ignore[arg-type]
    "another class": lambda o: _moved(o, predicted=(o.predicted + 1) % 4),  # type: ignore[operator]
    "a run that there is not": lambda o: _moved(o, run=5),
    "no example": lambda o: _moved(o, image=None),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_an_example_that_does_not_hold_is_not_believed(
    alone: RobustnessMeasurement,
    learned: dict[str, KnownOutcome],
    lie: Callable[[KnownOutcome], KnownOutcome],
) -> None:
    broken = {name: o for name, o in learned.items() if o.run is not None}
    result = measured(Shelf(learned | {name: lie(o) for name, o in broken.items()}))
    assert facts(result) == facts(alone)
    assert result.cost.cached_images == len(learned) - len(broken)


def test_the_clean_image_itself_breaks_nothing(
    alone: RobustnessMeasurement, learned: dict[str, KnownOutcome]
) -> None:
    clean = dict(zip(KEYS, IMAGES, strict=True))
    lies = {n: replace(o, image=clean[n]) for n, o in learned.items() if o.run is not None}
    assert facts(measured(Shelf(lies))) == facts(alone)


def test_a_model_that_raises_for_known_examples_is_attacked_as_ever(
    alone: RobustnessMeasurement, learned: dict[str, KnownOutcome]
) -> None:
    class Raises(CurvedModel):
        passes = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            Raises.passes += 1
            if Raises.passes == 2:
                raise ValueError("once")
            return super().forward(images)

    result = measure_robustness(
        classify(Raises()),
        IMAGES,
        rule(LABELS),
        replace(QUESTION, cache=Shelf(learned)),
        keys=KEYS,
    )
    assert facts(result) == facts(alone)
    assert result.cost.cached_images == sum(o.run is None for o in learned.values())


def test_time_that_ran_out_makes_no_survivor_of_a_known_image(
    learned: dict[str, KnownOutcome],
) -> None:
    shelf = Shelf()
    result = measured(shelf, plan=replace(QUESTION, deadline=-1.0))
    assert not (~result.broken & ~result.undecided).any()
    assert shelf.kept == {}
