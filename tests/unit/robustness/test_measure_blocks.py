"""Attacks that make their own batches get blocks of images, and nothing of it is to be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from shared_work import facts
from tiny_models import CurvedModel, classify, make_images, measure

from fgmf.attacks import own_bridge
from fgmf.attacks.catalogue_own import OWN_ENTRIES
from fgmf.attacks.own_bridge import OwnAttack
from fgmf.robustness import measure as measuring

if TYPE_CHECKING:
    from fgmf.attacks.interface import AttackBatch, AttackResult
    from fgmf.robustness import RobustnessMeasurement

IMAGES = make_images(23, margin=0.05)
LABELS = CurvedModel()(IMAGES).argmax(dim=1)
FEW: dict[str, dict[str, Any]] = {
    "minimum-margin": {"targets": 2, "steps": 6},
    "focused-margin": {"targets": 2, "steps": 3, "far": 0.8, "long_targets": 3, "long_steps": 4},
    "minimum-norm": {"steps": 15},
    "square": {"queries": 40},
    "random-search": {"queries": 40},
    "apgd-dlr-t": {"targets": 2, "steps": 6},
}
SMALLEST = 5


def measured(*names: str, **options: Any) -> RobustnessMeasurement:
    attacks = [(name, FEW.get(name, {"steps": 4})) for name in names]
    classifier = classify(CurvedModel(), batch_size=options.pop("batch_size", 4))
    options = {"epsilon": 0.02, "restarts": 2, "seed": 5, **options}
    return measure(classifier, IMAGES, LABELS, attacks=attacks, **options)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call of an attack of our own is given."""
    counts: list[int] = []
    run = OwnAttack.run

    def counted(self: OwnAttack, batch: AttackBatch, *, restart: int) -> AttackResult:
        counts.append(len(batch.keys))
        return run(self, batch, restart=restart)

    monkeypatch.setattr(OwnAttack, "run", counted)
    return counts


@pytest.mark.parametrize("name", [entry.name for entry in OWN_ENTRIES])
def test_blocks_change_nothing(
    name: str, given: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measured(name, "apgd-ce")
    assert given[0] == 23
    given.clear()
    monkeypatch.setattr(measuring, "_BLOCK", SMALLEST)
    blocks = measured(name, "apgd-ce")
    assert given[:5] == [5, 5, 5, 5, 3]
    assert max(given) == SMALLEST
    assert facts(blocks) == facts(whole)
    assert 0 < int(whole.broken.sum()) < 23


def test_a_block_holds_a_batch(given: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_BLOCK", SMALLEST)
    measured("apgd-ce", batch_size=10)
    assert given == [10, 10, 3]


def test_no_block_is_larger_than_the_memory_that_was_measured(given: list[int]) -> None:
    images = make_images(1201, margin=0.05)
    labels = CurvedModel()(images).argmax(dim=1)
    measure(classify(CurvedModel()), images, labels, attacks=[("random-search", {"queries": 1})])
    assert given == [500, 500, 201]


class Clock:
    """Time that passes with the questions."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


def test_time_that_runs_out_leaves_later_blocks_undecided(
    given: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_time = measured("apgd-ce", restarts=1)
    given.clear()
    monkeypatch.setattr(measuring, "_BLOCK", SMALLEST)
    monkeypatch.setattr(own_bridge, "time", Clock())
    late = measured("apgd-ce", restarts=1, deadline=20.0)
    assert 1 < len(given) < 5
    through = SMALLEST * (len(given) - 1)
    assert torch.equal(late.broken[:through], in_time.broken[:through])
    assert int(late.broken.sum()) > 0
    assert not bool(late.broken[through + SMALLEST :].any())
    assert torch.equal(late.undecided, ~late.broken)


def test_progress_is_told_after_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_BLOCK", SMALLEST)
    done: list[int] = []
    measured("apgd-ce", epsilon=0.0, on_progress=lambda share, total, stage: done.append(share))
    assert done == [0, 5, 10, 15, 20, 23]
