"""Measuring until enough is known: the same outcomes, fewer images, and never a PASS too early."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import torch
from tiny_models import CurvedModel, classify, keys_of, make_images, measure, rule

from fgmf.attacks.plans import plan_attacks
from fgmf.errors import InvalidInput
from fgmf.robustness import RobustnessMeasurement, RobustnessPlan, measure_until_enough
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.classifier import Classifier

IMAGES = make_images(120, margin=0.05)
LABELS = CurvedModel()(IMAGES).argmax(dim=1)
LABELS[::17] = (LABELS[::17] + 1) % 4
ATTACKS = ("fgsm", ("pgd", {"steps": 8}), ("additive-noise", {"repeats": 5}))
EPSILON = 0.025


def plan(**options: object) -> RobustnessPlan:
    named = [(a, {}, None) if isinstance(a, str) else (a[0], a[1], None) for a in ATTACKS]
    return RobustnessPlan(
        threat=ThreatModel(norm="linf", epsilon=EPSILON),
        attacks=plan_attacks(named, restarts=2),  # type: ignore[arg-type]
        seed=5,
        **options,  # type: ignore[arg-type]
    )


def measured(
    enough: Callable[[RobustnessMeasurement], bool],
    *,
    classifier: Classifier | None = None,
    **options: object,
) -> RobustnessMeasurement:
    return measure_until_enough(
        classifier or classify(CurvedModel()),
        IMAGES,
        rule(LABELS),
        plan(**options),
        keys=keys_of(IMAGES),
        enough=enough,
    )


def test_to_the_end_it_is_the_measurement_of_all_images() -> None:
    whole = measure(
        classify(CurvedModel()),
        IMAGES,
        LABELS,
        attacks=ATTACKS,
        epsilon=EPSILON,
        restarts=2,
        seed=5,
        example_limit=200,
    )
    blocks = measured(lambda known: False, example_limit=200)
    for name in ("labels", "predicted", "clean_correct", "broken", "undecided", "failed"):
        assert getattr(blocks, name).tolist() == getattr(whole, name).tolist()
    assert not blocks.undecided.any()
    assert blocks.verified == whole.verified
    assert {e.position: e.image.tolist() for e in blocks.examples} == {
        e.position: e.image.tolist() for e in whole.examples
    }
    for one, two in zip(blocks.records, whole.records, strict=True):
        assert (one.plan, one.attacked, one.broken) == (two.plan, two.attacked, two.broken)
    assert len(measured(lambda known: False, example_limit=3).examples) == 3


def test_it_stops_after_the_block_at_which_enough_is_known() -> None:
    def complete_and_many(known: RobustnessMeasurement) -> bool:
        return len(known.labels) >= 40 and not bool(known.undecided.any())

    stopped = measured(complete_and_many)
    assert len(stopped.labels) == 64
    assert not stopped.undecided.any()
    assert stopped.broken.tolist() == measured(lambda known: False).broken.tolist()[:64]


def test_within_a_block_what_is_not_broken_counts_as_undecided() -> None:
    seen: list[tuple[int, bool]] = []

    def after_the_first_attack(known: RobustnessMeasurement) -> bool:
        seen.append((len(known.labels), bool((known.undecided == ~known.broken).all())))
        return len(known.labels) > 32

    stopped = measured(after_the_first_attack)
    # five looks within the first block of six attack runs, and one after it
    assert seen[-2:] == [(32, False), (64, False)]
    assert all(marked for count, marked in seen[:-2] if count == 32)
    assert len(stopped.labels) == 64
    assert not stopped.undecided[:32].any()
    assert stopped.undecided[32:].tolist() == (~stopped.broken[32:]).tolist()
    assert stopped.undecided[32:].any()
    assert stopped.records[1].attacked < stopped.records[0].attacked


def test_the_blocks_do_not_depend_on_the_batch_size() -> None:
    sizes: dict[int, list[int]] = {}
    for batch_size in (7, 128):
        looks = sizes.setdefault(batch_size, [])

        def look(known: RobustnessMeasurement, looks: list[int] = looks) -> bool:
            looks.append(len(known.labels))
            return False

        measured(look, classifier=classify(CurvedModel(), batch_size=batch_size))
    assert sizes[7] == sizes[128]
    assert sorted(set(sizes[7])) == [32, 64, 96, 120]


def test_a_deadline_leaves_the_rest_of_its_block_undecided() -> None:
    stopped = measured(lambda known: False, deadline=time.monotonic() - 1)
    assert len(stopped.labels) == 32
    assert stopped.undecided.tolist() == (~stopped.broken).tolist()
    assert stopped.undecided.any()


def test_progress_counts_all_images() -> None:
    calls: list[tuple[int, int]] = []
    measured(lambda known: False, on_progress=lambda done, total, _: calls.append((done, total)))
    totals = {total for _, total in calls}
    assert totals == {120 * 6}
    assert max(done for done, _ in calls) == 120 * 6
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_no_images_are_refused() -> None:
    with pytest.raises(InvalidInput, match="got 3 attacks, 0 images"):
        measure_until_enough(
            classify(CurvedModel()),
            IMAGES[:0],
            rule(torch.zeros(0, dtype=torch.int64)),
            plan(),
            keys=(),
            enough=lambda known: True,
        )
