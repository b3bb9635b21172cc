"""Verdicts with a chosen end for each image."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import pytest

from fgmf.baselines import MeasuredGate, measured_gate
from fgmf.verdict import Interval, Outcome, Verdict

CONFIGURATION: dict[str, Any] = {
    "kind": "robustness",
    "norm": "linf",
    "epsilon": 0.1,
    "bounds": [0.0, 1.0],
    "criterion": "misclassification",
    "images": 500,
    "population": "distribution",
    "attacks": [{"name": "pgd", "parameters": {"steps": 40}, "restarts": 1}],
}


class MakeVerdict(Protocol):
    def __call__(self, outcomes: str = "", **changes: Any) -> Verdict: ...


class MakeMeasured(Protocol):
    def __call__(self, outcomes: str = "", **changes: Any) -> MeasuredGate: ...


def _verdict(outcomes: str = "rrrrrrbbww", **changes: Any) -> Verdict:
    """A verdict whose images are numbered; `first` shifts the numbers, `evidence` is added."""
    first, evidence = changes.pop("first", 0), changes.pop("evidence", {})
    numbers = range(first, first + len(outcomes))
    share = outcomes.count("r") / len(outcomes)
    unsure = set("uf") & set(outcomes)
    fields: dict[str, Any] = {
        "gate": "robust",
        "kind": "robustness",
        "outcome": Outcome.PASS,
        "reason": "as it was told",
        "measured": None if unsure else share,
        "interval": Interval(lower=0.1, upper=0.9, confidence=0.95, method="stub"),
        "threshold": 0.5,
        "image_count": len(outcomes),
        "seed": 2**62 + 1,
        "evidence": {
            "images": {
                "indices": list(numbers),
                "keys": [hashlib.sha256(b"%d" % n).hexdigest()[:16] for n in numbers],
                "labels": [n % 3 for n in numbers],
                "outcomes": outcomes,
            },
            "configuration": CONFIGURATION,
            "library_versions": {"torch": "2.13.0"},
            "model_digest": "sha256:1",
            **evidence,
        },
    }
    return Verdict(**{**fields, **changes})


def _measured(outcomes: str = "rrrrrrbbww", **changes: Any) -> MeasuredGate:
    return measured_gate(_verdict(outcomes, **changes))


@pytest.fixture(scope="session")
def verdict_of() -> MakeVerdict:
    return _verdict


@pytest.fixture(scope="session")
def measured_of() -> MakeMeasured:
    return _measured
