"""What the strategies draw is what they promise."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st

from fgmf.attacks.projection import inside
from fgmf.corruptions import CORRUPTIONS
from fgmf.errors import InvalidInput, MissingDependency
from fgmf.mask_log import LogOutcome, VerifySettings, verify_log
from fgmf.strategies import (
    ImageChange,
    brightness_shifts,
    contrast_losses,
    corruptions,
    images,
    mask_logs,
    perturbations,
    rotations,
    small_models,
    threat_models,
)
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (1, 8, 8)
BOUNDS = (-1.0, 3.0)
NORMS: list[Any] = ["linf", "l2", "l1"]


@given(images((3, 5, 7), bounds=BOUNDS))
def test_images_lie_within_the_bounds(image: torch.Tensor) -> None:
    assert image.shape == (3, 5, 7)
    assert image.dtype == torch.float32
    assert float(image.min()) >= BOUNDS[0]
    assert float(image.max()) <= BOUNDS[1]


def test_images_shrink_to_the_lowest_value() -> None:
    assert torch.equal(find(images(SHAPE), lambda image: True), torch.zeros(SHAPE))
    bright = find(images(SHAPE), lambda image: bool(image.mean() > 0.5))
    assert torch.equal(bright, torch.full(SHAPE, 128 / 255))


@pytest.mark.parametrize("norm", NORMS)
@given(data=st.data())
def test_perturbations_are_exactly_inside_their_ball(norm: Any, data: st.DataObject) -> None:
    epsilon = data.draw(st.floats(1e-4, 4.0))
    threat = ThreatModel(norm=norm, epsilon=epsilon, bounds=BOUNDS)
    clean = torch.stack(data.draw(st.lists(images(SHAPE, bounds=BOUNDS), min_size=1, max_size=2)))
    change = data.draw(perturbations(threat, SHAPE))
    assert change.size <= epsilon
    perturbed = change.apply(clean, BOUNDS)
    assert perturbed.dtype == clean.dtype
    assert inside(clean, perturbed, threat).all()


@given(
    st.one_of(brightness_shifts(), contrast_losses(1.0), rotations(180), corruptions()),
    st.lists(images(SHAPE, bounds=BOUNDS), min_size=1, max_size=2),
)
def test_changes_keep_shape_and_bounds_and_do_not_depend_on_the_batch(
    change: ImageChange, drawn: list[torch.Tensor]
) -> None:
    clean = torch.stack(drawn)
    changed = change.apply(clean, BOUNDS)
    assert changed.shape == clean.shape
    assert float(changed.min()) >= BOUNDS[0]
    assert float(changed.max()) <= BOUNDS[1]
    assert torch.equal(changed[:1], change.apply(clean[:1], BOUNDS))
    assert torch.equal(clean, torch.stack(drawn))
    assert change.describe()
    smaller = change.with_size(change.size / 2)
    assert smaller is None or smaller.size == pytest.approx(change.size / 2)


@given(st.one_of(brightness_shifts(), contrast_losses(), rotations()))
def test_a_change_of_no_size_changes_nothing(change: ImageChange) -> None:
    nothing = change.with_size(0.0)
    assert nothing is not None
    image = torch.linspace(-1, 3, 64).reshape(1, *SHAPE)
    # float32 there and back through [0, 1] in float64
    assert torch.allclose(nothing.apply(image, BOUNDS), image, atol=1e-6)


def test_corruptions_have_the_catalogue_and_its_severities() -> None:
    everything = corruptions(list(CORRUPTIONS))
    for name, severity in itertools.product(("jpeg", "motion-blur"), (1, 5)):
        found = find(
            everything,
            lambda change, n=name, s=severity: (change.name, change.severity) == (n, s),
            settings=settings(max_examples=2000),
        )
        assert found.seed == 0


@given(threat_models(largest=0.5, bounds=BOUNDS))
def test_threat_models_are_valid(threat: ThreatModel) -> None:
    assert 0 <= threat.epsilon <= 0.5
    assert threat.bounds == BOUNDS


@settings(max_examples=15)
@given(small_models((3, 9, 9), classes=4), images((3, 9, 9)))
def test_small_models_classify(model: torch.nn.Module, image: torch.Tensor) -> None:
    assert not model.training
    logits = model(image.unsqueeze(0))
    assert logits.shape == (1, 4)
    assert bool(logits.isfinite().all())


@settings(max_examples=10)
@given(plan=mask_logs(), damage=st.integers(0, 2**32))
def test_mask_logs_are_complete_and_show_damage(
    tmp_path_factory: pytest.TempPathFactory, plan: Any, damage: int
) -> None:
    directory: Path = tmp_path_factory.mktemp("log") / "log"
    head = plan.write(directory)
    assert verify_log(directory, VerifySettings(head=head)).outcome is LogOutcome.COMPLETE
    records = sorted(p for p in directory.rglob("*") if p.suffix == ".jsonl")
    assert records
    victim = records[damage % len(records)]
    content = bytearray(victim.read_bytes())
    content[damage % len(content)] ^= 1
    victim.write_bytes(content)
    assert verify_log(directory, VerifySettings(head=head)).outcome is not LogOutcome.COMPLETE


@pytest.mark.parametrize(
    "call",
    [
        lambda: brightness_shifts(0),
        lambda: brightness_shifts(1.5),
        lambda: brightness_shifts(float("nan")),
        lambda: rotations(181),
        lambda: contrast_losses(-1),
        lambda: corruptions([]),
        lambda: corruptions(["snow"]),
        lambda: corruptions(severities=[6]),  # type: ignore[list-item]
        lambda: perturbations(ThreatModel(norm="linf", epsilon=0.0), SHAPE),
        lambda: perturbations(ThreatModel(norm="linf", epsilon=0.1), (8, 8)),  # type: ignore[arg-type]
        lambda: images((0, 8, 8)),
        lambda: images(SHAPE, bounds=(1.0, 0.0)),
        lambda: small_models((1, 8, 9)),
    ],
)
def test_what_cannot_be_meant_is_refused(call: Any) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        call()


def test_without_hypothesis_the_room_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    import fgmf.strategies as room

    monkeypatch.setitem(sys.modules, "hypothesis", None)
    for name in [name for name in sys.modules if name.startswith("fgmf.strategies.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingDependency, match=r"pytest-fgmf\[hypothesis\]"):
        _ = room.rotations
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = room.nothing
