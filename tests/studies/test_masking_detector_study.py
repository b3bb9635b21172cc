"""The harness that measures detectors of gradient masking, and the peers' rules in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from specimens.honest.catalogue import honest_specimens
from specimens.open.catalogue import open_specimens
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Load = Callable[[str], Any]

OPEN = {specimen.name: specimen for specimen in open_specimens()}
HONEST = {specimen.name: specimen for specimen in honest_specimens()}


def row(specimen: str, label: str, verdict: str, mechanism: str = "honest") -> dict[str, Any]:
    return {
        "detector": "one",
        "specimen": specimen,
        "label": label,
        "verdict": verdict,
        "mechanism": mechanism,
        "passes_over_pgd40": 2.0,
        "cpu_seconds": 1.0,
    }


def test_recall_is_by_mechanism_and_false_positives_have_exact_intervals(study: Load) -> None:
    rows = [
        row("a", "masked", "masked", "x"),
        row("b", "masked", "clean", "x"),
        row("c", "masked", "suspicious", "y"),
        row("d", "suspicious-at-least", "suspicious", "z"),
        row("e", "honest", "clean"),
        row("f", "honest", "suspicious"),
        row("g", "honest", "error"),
    ]
    one = study("masking_tables").of_detector(rows)
    assert one["recall_by_mechanism"] == {"x": 0.5, "y": 0.0}
    assert (one["macro_recall"], one["macro_recall_with_suspicious"]) == (0.25, 0.75)
    assert one["recall"]["count"] == 1
    assert one["missed"] == ["b", "c"]
    assert one["wrongly_flagged"] == ["f"]
    assert one["suspicious_at_least"]["share"] == 1.0
    false = one["false_positives"]
    assert (false["count"], false["of"]) == (1, 3)
    # Clopper-Pearson of 1 in 3.
    assert (false["lower"], false["upper"]) == pytest.approx((0.0084, 0.9057), abs=1e-4)
    assert one["honest_not_cleared"]["count"] == 1
    assert "| x | 0.5 |" in study("masking_tables").tables(rows)


def test_rows_are_kept_and_a_changed_detector_is_measured_anew(
    study: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, detectors = study("masking_detector"), study("masking_detectors")
    asked: list[int] = []

    def detector(subject: Any) -> Any:
        asked.append(len(subject.images))
        return detectors.Finding(verdict="clean", mechanisms=(), passes=80, images=1)

    monkeypatch.setitem(harness.DETECTORS, "gate", detector)
    path = tmp_path / "rows.json"
    few = (HONEST["plain-0"], HONEST["pgd-0"])
    for expected in (2, 2):
        harness.run(harness.Book(path), ["gate"], few, again=False)
        assert len(asked) == expected
    rows = json.loads(path.read_text())["rows"]
    assert [one["passes_over_pgd40"] for one in rows] == [1.0, 1.0]
    monkeypatch.setattr(harness, "source_digest", lambda name: "another")
    harness.run(harness.Book(path), ["gate"], few, again=False)
    assert len(asked) == 4


def test_an_exception_is_an_error_and_not_an_all_clear(
    study: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = study("masking_detector")

    def broken(subject: Any) -> Any:
        raise ValueError("no")

    monkeypatch.setitem(harness.DETECTORS, "gate", broken)
    assert harness.measured("gate", HONEST["plain-0"])["verdict"] == "error"


def test_the_first_run_on_held_out_mechanisms_is_never_overwritten(
    study: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = study("masking_detector")
    first = tmp_path / "first.json"
    first.write_text("kept")
    monkeypatch.setattr(harness, "FIRST", first)
    with pytest.raises(SystemExit, match="only one"):
        harness.held_out(["gate"])
    assert first.read_text() == "kept"


@pytest.mark.parametrize(
    ("rule", "specimen", "sign"),
    [
        ("athalye", "labels-attached", "unbounded attacks fail"),
        ("autoattack", "labels-attached", "zero gradients"),
        ("autoattack", "random-ripple", "randomised"),
        ("ioaf", "rounded-16", "I1 unavailable gradients"),
        ("carlini", "backward-negated", "better than a guess at .5"),
    ],
)
def test_a_peers_rule_sees_what_it_was_made_for(
    study: Load, monkeypatch: pytest.MonkeyPatch, rule: str, specimen: str, sign: str
) -> None:
    peers = study("masking_peers")
    for name, value in {"IMAGES": 12, "QUERIES": 20, "POINTS": 5}.items():
        monkeypatch.setattr(peers, name, value)
    said = peers.PEERS[rule](OPEN[specimen].build())
    assert said.signs[sign]
    assert said.flagged
    assert said.images == 12
    assert said.passes > 12 * 80 or rule == "autoattack"


def test_a_peers_rule_has_nothing_to_say_of_a_linear_model(
    study: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = study("masking_peers")
    for name, value in {"IMAGES": 12, "QUERIES": 20, "POINTS": 5}.items():
        monkeypatch.setattr(peers, name, value)
    signs = peers.autoattack(HONEST["plain-gelu"].build()).signs
    assert not signs["randomised"]
    assert not signs["softmax range"]
    assert not signs["optimises inside"]


def test_optimisation_inside_a_forward_pass_is_seen(study: Load) -> None:
    peers = study("masking_peers")

    class Inner(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            with torch.enable_grad():
                at = images.detach().requires_grad_()
                torch.autograd.grad(at.sum(), at)
            return images

    with peers._grad_calls() as calls:
        Inner()(torch.ones(1, 1))
    assert len(calls) == 1


def test_passes_are_counted(study: Load) -> None:
    attacks = study("masking_peer_attacks")
    model = attacks.Watched(HONEST["linear-0"].build().model)
    images, labels = torch.full((3, 1, 8, 8), 0.5), torch.zeros(3, dtype=torch.long)
    walked = attacks.walk(model, images, labels, epsilon=0.1, bounds=(0.0, 1.0), steps=4)
    assert model.passes == 3 * (2 * 4 + 1)
    assert walked.losses.shape == (5, 3)
    assert bool((walked.losses[-1] > walked.losses[0]).all())
    assert float((walked.end - images).abs().max()) <= 0.1 + 1e-6  # float32
