"""The key of an image: everything in it counts, also where clean logits would tell."""

from __future__ import annotations

from typing import Any

import pytest

from fgmf.caching.conditions import image_digest

IMAGE: dict[str, Any] = {"key": "k", "logits": "l", "label": 1, "target": None, "company": ""}


@pytest.mark.parametrize(
    "change",
    [{"key": "m"}, {"logits": "m"}, {"label": 2}, {"target": 2}, {"company": "m"}],
    ids=lambda change: next(iter(change)),
)
def test_everything_counts(change: dict[str, Any]) -> None:
    assert image_digest(**IMAGE) == image_digest(**IMAGE)
    assert image_digest(**IMAGE) != image_digest(**{**IMAGE, **change})
