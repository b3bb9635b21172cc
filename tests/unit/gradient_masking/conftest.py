"""A small model under examination, without a gate around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import LinearModel, classify, keys_of, make_images

from fgmf.gradient_masking.examined import Examined, Traits
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable


def examine(
    model: Any = None, *, epsilon: float = 0.1, norm: Any = "linf", count: int = 32, **traits: bool
) -> Examined:
    """What probes and attacks get; the model, linear if none is given, is right on all images."""
    module = LinearModel(3) if model is None else model
    images = make_images(count, margin=0.1)
    with torch.no_grad():
        labels = module(images).argmax(dim=1)
    return Examined(
        classifier=classify(module),
        images=images,
        labels=labels,
        keys=tuple(keys_of(images)),
        threat=ThreatModel(norm=norm, epsilon=epsilon),
        seed=0,
        traits=Traits(**traits),
        snapshot=None,
    )


@pytest.fixture(scope="session")
def examined() -> Callable[..., Examined]:
    """Make something to examine."""
    return examine
