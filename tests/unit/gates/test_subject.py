"""The images that a gate measures: copied only where something has to change."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fgmf.datasets import Samples
from fgmf.gates.subject import MeasuredImages, choose_images

BOUNDS = (0.0, 1.0)


def samples_of(images: torch.Tensor) -> Samples:
    return Samples(images=images, labels=torch.arange(len(images)) % 3)


def chosen(samples: Samples, **changes: Any) -> MeasuredImages:
    rules: dict[str, Any] = {"count": "all", "seed": 3, "bounds": BOUNDS, "dtype": torch.float32}
    return choose_images(samples, **{**rules, **changes})


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(5))


def shares_memory(found: MeasuredImages, images: torch.Tensor) -> bool:
    return found.images.untyped_storage().data_ptr() == images.untyped_storage().data_ptr()


def test_a_whole_data_set_that_fits_is_not_copied(images: torch.Tensor) -> None:
    found = chosen(samples_of(images))
    assert shares_memory(found, images)
    assert found.indices == list(range(12))
    assert torch.equal(found.images, images)


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 5},
        {"without_class": 1},
        {"random_order": True},
        {"dtype": torch.float64},
    ],
)
def test_other_samples_are_copies_with_the_same_images(
    images: torch.Tensor, changes: dict[str, Any]
) -> None:
    found = chosen(samples_of(images), **changes)
    assert not shares_memory(found, images)
    assert torch.equal(found.images, images[found.indices].to(found.images.dtype))


@pytest.mark.parametrize("value", [-1e-7, 1 + 1e-6])
def test_rounding_beyond_the_bounds_is_clamped_and_the_users_images_stay(
    images: torch.Tensor, value: float
) -> None:
    images[2, 0, 1, 1] = value
    before = images.clone()
    found = chosen(samples_of(images))
    assert not shares_memory(found, images)
    assert float(found.images.amin()) >= 0
    assert float(found.images.amax()) <= 1
    assert torch.equal(images, before)


def test_images_with_a_gradient_are_cut_from_their_graph(images: torch.Tensor) -> None:
    assert not chosen(samples_of(images.requires_grad_())).images.requires_grad
