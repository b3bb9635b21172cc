"""Searches for changes that break a classifier."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from hypothesis import settings
from tiny_models import make_images

from fgmf.strategies import InvarianceFailure, assert_invariant, rotations

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.classifier import Classifier


def _search(classifier: Classifier) -> None:
    images = make_images(6, margin=0.05)
    with contextlib.suppress(InvarianceFailure):
        assert_invariant(
            classifier,
            images,
            torch.arange(6) % 3,
            rotations(180),
            settings=settings(max_examples=5),
        )


STRATEGY_CASES: dict[str, Callable[[Classifier], object]] = {
    "fgmf.strategies.invariance.assert_invariant": _search
}
