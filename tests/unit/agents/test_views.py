"""What an agent sees: plain data, and nothing else reaches it."""

from __future__ import annotations

import json

import pytest
import torch

from fgmf.agents import View
from fgmf.errors import InvalidInput

IMAGES = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)


def test_everything() -> None:
    assert View().applied(IMAGES) is IMAGES


def test_channels_in_their_order() -> None:
    assert torch.equal(View(channels=(2, 0)).applied(IMAGES), IMAGES[:, [2, 0]])


def test_a_rectangle() -> None:
    assert torch.equal(View(crop=(1, 2, 2, 3)).applied(IMAGES), IMAGES[:, :, 1:3, 2:5])


def test_both() -> None:
    seen = View(channels=(1,), crop=(0, 0, 4, 1)).applied(IMAGES)
    assert torch.equal(seen, IMAGES[:, 1:2, :, :1])


def test_the_rest_has_no_gradient() -> None:
    images = IMAGES.clone().requires_grad_()
    View(channels=(1,), crop=(0, 0, 2, 2)).applied(images).sum().backward()
    inside = torch.zeros_like(IMAGES)
    inside[:, 1, :2, :2] = 1
    assert images.grad is not None
    assert torch.equal(images.grad, inside)


@pytest.mark.parametrize("view", [View(), View(channels=(1, 0)), View(crop=(0, 1, 2, 3))])
def test_a_document_and_back(view: View) -> None:
    assert View.of(json.loads(json.dumps(view.as_document()))) == view


@pytest.mark.parametrize(
    "arguments",
    [
        {"channels": ()},
        {"channels": (1, 1)},
        {"channels": (-1,)},
        {"channels": ("red",)},
        {"crop": (0, 0, 0, 3)},
        {"crop": (0, 0, 3)},
        {"crop": (-1, 0, 3, 3)},
        {"crop": (0, 0, True, 3)},
        {"crop": 7},
        {"rotation": 90},
    ],
)
def test_what_is_no_view(arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        View.of(arguments)


@pytest.mark.parametrize(
    ("view", "shape"),
    [
        (View(channels=(3,)), (2, 3, 4, 5)),
        (View(crop=(2, 0, 3, 1)), (2, 3, 4, 5)),
        (View(crop=(0, 4, 1, 2)), (2, 3, 4, 5)),
        (View(channels=(0,)), (3, 4, 5)),
    ],
)
def test_images_that_lack_it(view: View, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="correct the agent's view"):
        view.applied(torch.zeros(shape))
