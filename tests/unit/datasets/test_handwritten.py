"""The digits and their fixed split."""

from __future__ import annotations

import pytest
import torch

from fgmf.canonical import tensor_digest
from fgmf.datasets import digits
from fgmf.errors import InvalidInput


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_parts() -> None:
    train, test = digits("train"), digits(split="test")
    assert (len(train), len(test)) == (1348, 449)
    for part in (train, test):
        assert part.images.shape[1:] == (1, 8, 8)
        assert part.images.dtype is torch.float32
        assert part.labels.dtype is torch.int64
        assert (part.images.min().item(), part.images.max().item()) == (0.0, 1.0)
        assert part.labels.unique().tolist() == list(range(10))
    assert not rows(train.images) & rows(test.images)


def test_every_class_keeps_its_share() -> None:
    train, test = (part.labels.bincount() for part in (digits("train"), digits("test")))
    exact = 449 * (train + test) / 1797
    assert bool(((test - exact).abs() < 1).all())


def test_the_split_is_fixed() -> None:
    images = digits("test").images
    assert torch.equal(images, digits("test").images)
    assert tensor_digest(digits("test").labels) == (
        "sha256:d3021e355731bc9a71b782be69164013182b38f3f724cf43faca5fc6512ea887"
    )
    assert not torch.equal(images, digits("test", seed=1).images)


def test_unknown_split() -> None:
    with pytest.raises(InvalidInput, match="got 'validation'"):
        digits("validation")  # type: ignore[arg-type]
