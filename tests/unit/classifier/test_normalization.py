from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import make_images

from fgmf.classifier import Normalization
from fgmf.errors import InvalidInput

COLOUR = Normalization(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))


def test_each_channel_has_its_own_mean_and_deviation() -> None:
    images = make_images(2, shape=(3, 4, 4))
    expected = torch.stack(
        [(images[:, 0] - 0.1) / 0.5, (images[:, 1] - 0.2) / 0.25, (images[:, 2] - 0.3) / 2.0], 1
    )
    assert torch.allclose(COLOUR.apply(images), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 4, 4), (7,), (3, 2, 4, 4)])
def test_one_value_is_for_all_channels(shape: tuple[int, ...]) -> None:
    images = make_images(2, shape=shape)
    normalised = Normalization(mean=(0.5,), std=(0.25,)).apply(images)
    assert torch.allclose(normalised, (images - 0.5) / 0.25)


def test_one_deviation_goes_with_several_means() -> None:
    images = make_images(2, shape=(3, 4, 4))
    normalised = Normalization(mean=(0.1, 0.2, 0.3), std=(0.5,)).apply(images)
    assert torch.allclose(normalised[:, 2], (images[:, 2] - 0.3) / 0.5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_the_type_of_the_images_stays(dtype: torch.dtype) -> None:
    assert COLOUR.apply(make_images(1, shape=(3, 4, 4)).to(dtype)).dtype is dtype


def test_gradients_pass_through() -> None:
    images = make_images(1, shape=(3, 4, 4)).requires_grad_()
    COLOUR.apply(images).sum().backward()
    assert images.grad is not None
    assert images.grad[0, :, 0, 0].tolist() == [2.0, 4.0, 0.5]


@pytest.mark.parametrize("shape", [(1, 4, 4), (4, 4, 4), (), (5,)])
def test_other_channel_counts_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="3 channels for normalisation, got shape"):
        COLOUR.apply(make_images(2, shape=shape))


@pytest.mark.parametrize(
    ("value", "mean", "std"),
    [
        ({"mean": 0.5, "std": 2}, (0.5,), (2.0,)),
        ({"mean": [0, 1, 2], "std": [1, 1, 1]}, (0.0, 1.0, 2.0), (1.0, 1.0, 1.0)),
        ({"std": (0.5,), "mean": (0.1, 0.2)}, (0.1, 0.2), (0.5,)),
    ],
)
def test_a_mapping_will_do(value: Any, mean: Any, std: Any) -> None:
    assert Normalization.of(value) == Normalization(mean=mean, std=std)


def test_nothing_stays_nothing() -> None:
    assert Normalization.of(None) is None
    assert Normalization.of(COLOUR) is COLOUR


@pytest.mark.parametrize(
    "value",
    [
        {"mean": 0.5},
        {"mean": 0.5, "std": 0.5, "scale": 1},
        {"mean": "0.5", "std": 1},
        {"mean": [0.5, "x"], "std": 1},
        {"mean": [0.5, True], "std": 1},
        {"mean": True, "std": 1},
        {"mean": None, "std": 1},
        {"mean": [], "std": []},
        {"mean": [1], "std": []},
        {"mean": [0.1, 0.2], "std": [1, 1, 1]},
        {"mean": 0.5, "std": 0},
        {"mean": 0.5, "std": -1},
        {"mean": 0.5, "std": [1.0, 0.0]},
        {"mean": float("nan"), "std": 1},
        {"mean": 0.5, "std": float("inf")},
        [0.5, 0.5],
        0.5,
    ],
)
def test_what_is_no_normalisation_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        Normalization.of(value)
