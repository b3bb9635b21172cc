"""The study of weak masking: its changes keep every decision, and its examples are real."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.datasets import Samples

    Load = Callable[[str], Any]

COUNT = 20


@pytest.fixture
def weak(study: Load) -> Any:
    return study("weak_masking")


@pytest.fixture
def subject(weak: Any, standard_digits_model: torch.nn.Module, digits_test: Samples) -> Any:
    few = replace(digits_test, images=digits_test.images[:COUNT], labels=digits_test.labels[:COUNT])
    return weak.Subject(network=standard_digits_model.requires_grad_(False), samples=few)


def test_decisions_stay_and_a_change_that_moves_them_is_seen(weak: Any, subject: Any) -> None:
    for name, change in weak.CHANGES.items():
        if name != "tanh(z)":  # rounds to 1 in float32 where z is large
            assert subject.moved_decisions(change) == 0, name
    assert subject.moved_decisions(torch.neg) == 2 * COUNT


def test_an_image_is_unbroken_only_if_the_network_itself_is_right(subject: Any) -> None:
    clean = subject.samples.images
    assert torch.equal(subject.unbroken(clean), subject.right)
    others = clean.roll(1, dims=0)
    same = subject.samples.labels == subject.samples.labels.roll(1)
    assert not bool((subject.unbroken(others) & ~same).any())


def test_each_method_leaves_no_less_than_the_truth(
    weak: Any, subject: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(weak.METHODS, "APGD margin, 9")  # ten times the passes of the others
    rows = weak.measure(subject, "unchanged")
    assert [row.method for row in rows] == list(weak.METHODS)
    true = float(weak.truth(subject).double().mean())
    assert all(true <= row.left < 1 for row in rows)
    passes = {row.method: row.passes for row in rows}
    # 5 restarts of 40 steps, each a forward and a backward pass, and a judgement of each restart.
    assert passes["Foolbox PGD-40x5"] == pytest.approx(5 * (2 * 40 + 1))
    text = weak.table(rows, {"unchanged": 2})
    assert f"({passes['default attacks']:.0f})" in text
    assert "2 decisions are not the network's own" in text


def test_a_blocking_finding_is_waived_and_noted(weak: Any, subject: Any) -> None:
    model = weak.Changed(subject.network, weak.scaled(1e4)).eval()
    _, _, note = weak.default_gate(subject, model)
    assert note == "preflight error, waived here: saturated-logits"


@pytest.mark.parametrize("change", ["tanh(0.5 z)", "1000 z"])
def test_the_minimum_margin_attack_is_not_fooled(weak: Any, subject: Any, change: str) -> None:
    attack = weak.METHODS["minimum margin, 9"]
    honest, hidden = (
        float(attack(subject, weak.Changed(subject.network, weak.CHANGES[name]).eval())[0].sum())
        for name in ("unchanged", change)
    )
    assert abs(honest - hidden) <= 1  # of 20 images
