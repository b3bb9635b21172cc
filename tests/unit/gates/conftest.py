"""One way to check a robustness gate on tiny models and images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest
import torch
from tiny_models import LinearModel, classify, make_images

from fgmf.gates import RobustnessGate, RunContext

if TYPE_CHECKING:
    from fgmf.verdict import Verdict

COUNT = 60


class Check(Protocol):
    """Checks a gate; what is not given is a linear model that gets 60 images right."""

    def __call__(
        self,
        model: Any = None,
        pixels: Any = None,
        labels: Any = None,
        *,
        context: dict[str, Any] | None = None,
        classifier: dict[str, Any] | None = None,
        **gate: Any,
    ) -> Verdict: ...


def _check(
    model: Any = None,
    pixels: Any = None,
    labels: Any = None,
    *,
    context: dict[str, Any] | None = None,
    classifier: dict[str, Any] | None = None,
    **gate: Any,
) -> Verdict:
    subject = classify(LinearModel(3) if model is None else model, **(classifier or {}))
    if pixels is None:
        pixels = make_images(COUNT, bounds=subject.bounds, margin=0.02)
    if labels is None:
        labels = LinearModel(3)(torch.as_tensor(pixels).float()).argmax(dim=1)
    settings = {"norm": "linf", "epsilon": 0.01, "min_robust_accuracy": 0.5, "attacks": ("pgd",)}
    return RobustnessGate(**{**settings, **gate}).check(
        subject, pixels, labels, context=RunContext(**(context or {}))
    )


@pytest.fixture(scope="session")
def check() -> Check:
    """Check a robustness gate."""
    return _check
