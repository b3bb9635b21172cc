"""The picture of broken images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image

from fgmf.failures import save_failures

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (3, 32, 32), (3, 224, 224), (2, 9, 5), (4, 6, 6), (8, 8), (12,), (1, 1, 1)]
)
def test_every_shape_has_a_picture(evidence: Any, tmp_path: Path, shape: tuple[int, ...]) -> None:
    save_failures(tmp_path, gate="g", recipe=evidence.recipe, **evidence.broken(3, shape))
    with Image.open(tmp_path / "g" / "broken.png") as picture:
        assert picture.format == "PNG"
        assert picture.width <= 1200
        assert picture.height <= 1000


def test_the_picture_shows_image_adversarial_and_perturbation(
    evidence: Any, tmp_path: Path
) -> None:
    images = torch.zeros(1, 3, 4, 4)
    adversarial = images.clone()
    images[:, 1] = 1.0
    adversarial[:, 1] = 1.0
    adversarial[:, 0] = 0.1
    arguments = evidence.broken(1) | {"images": images, "adversarial": adversarial}
    save_failures(tmp_path, gate="g", recipe=evidence.recipe, **arguments)
    with Image.open(tmp_path / "g" / "broken.png") as picture:
        middle = [picture.getpixel((6 + 48 + column * 98, 28 + 48)) for column in range(3)]
    assert middle == [(0, 255, 0), (26, 255, 0), (255, 128, 128)]


def test_a_large_picture_says_what_it_leaves_out(evidence: Any, tmp_path: Path) -> None:
    count = 64
    arguments = evidence.broken(count) | {
        "images": torch.rand(count, 1, 224, 224).half(),
        "adversarial": torch.rand(count, 1, 224, 224).half(),
    }
    save_failures(tmp_path, gate="g", recipe=evidence.recipe, size_limit=30_000_000, **arguments)
    with Image.open(tmp_path / "g" / "broken.png") as picture:
        assert picture.width * picture.height < 7_000_000
