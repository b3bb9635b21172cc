"""The parts of HopSkipJump that the bridge replaces: each image for itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import keys_of, make_images

from fgmf.attacks.foolbox_bridge import _PerImageHopSkipJump
from fgmf.attacks.foolbox_draws import ImageStreams, seeded_tensor_class

IMAGES = make_images(4, margin=0.2)
NORMAL = torch.linspace(-1, 1, 64)


def tensor(values: torch.Tensor, rows: list[int]) -> Any:
    keys = tuple(keys_of(IMAGES)[row] for row in rows)
    return seeded_tensor_class(ImageStreams(0, ("hop-skip-jump", 0), keys))(values[rows])


def beyond(offsets: torch.Tensor, rows: list[int]) -> Any:
    """Adversarial on the far side of a plane through each image, a little off it."""

    def is_adversarial(points: Any) -> Any:
        copies = len(points) // len(rows)
        base = IMAGES[rows].repeat(copies, 1, 1, 1)
        side = ((points.raw - base).flatten(1) * NORMAL).sum(dim=1)
        return type(points)(side > offsets[rows].repeat(copies))

    return is_adversarial


@pytest.mark.parametrize("constraint", ["linf", "l2"])
def test_the_estimate_finds_the_normal_of_the_boundary(constraint: Any) -> None:
    attack = _PerImageHopSkipJump(constraint=constraint)
    rows = list(range(4))
    delta = tensor(torch.full((4,), 0.05), rows)
    offsets = torch.zeros(4)
    found = attack.approximate_gradients(beyond(offsets, rows), tensor(IMAGES, rows), 2000, delta)
    flat = found.raw.flatten(1)
    assert torch.allclose(flat.norm(dim=1), torch.ones(4), atol=1e-5)
    cosine = flat @ NORMAL / NORMAL.norm()
    # 2000 signs in 64 dimensions: the expected cosine is sqrt(2/pi / (2/pi + 64/2000)) = 0.97.
    assert bool((cosine > 0.94).all())


@pytest.mark.parametrize("constraint", ["linf", "l2"])
@pytest.mark.parametrize("rows", [[2], [3, 1]])
def test_the_estimate_of_an_image_does_not_see_the_others(constraint: Any, rows: list[int]) -> None:
    """With their own radii, and one of them with only one kind of answer."""
    attack = _PerImageHopSkipJump(constraint=constraint)
    offsets = torch.tensor([0.0, 0.01, -9.0, 0.0])
    radii = torch.tensor([0.05, 0.1, 0.02, 0.3])

    def estimate(rows: list[int]) -> torch.Tensor:
        return attack.approximate_gradients(
            beyond(offsets, rows), tensor(IMAGES, rows), 30, tensor(radii, rows)
        ).raw

    assert torch.equal(estimate(rows), estimate([0, 1, 2, 3])[rows])


@pytest.mark.parametrize("constraint", ["linf", "l2"])
def test_the_search_ends_just_beyond_the_boundary(constraint: Any) -> None:
    attack = _PerImageHopSkipJump(constraint=constraint)
    rows = list(range(4))
    offsets = torch.tensor([0.1, 0.5, 1.0, 2.0])
    far = IMAGES + 0.2 * NORMAL.sign().reshape(1, 8, 8)
    is_adversarial = beyond(offsets, rows)
    assert bool(is_adversarial(tensor(far, rows)).raw.all())
    found = attack._binary_search(is_adversarial, tensor(IMAGES, rows), tensor(far, rows))
    assert bool(is_adversarial(found).raw.all())
    side = ((found.raw - IMAGES).flatten(1) * NORMAL).sum(dim=1)
    # The bracket ends at 64**-1.5 (L2) or 64**-2 (Linf) of the way, which is 0.2 * sum |normal|.
    width = 0.2 * float(NORMAL.abs().sum()) * (64**-1.5 if constraint == "l2" else 64**-2)
    assert bool((side - offsets <= width + 1e-5).all())


@pytest.mark.parametrize("constraint", ["linf", "l2"])
@pytest.mark.parametrize("rows", [[0], [3, 1]])
def test_the_search_of_an_image_does_not_see_the_others(constraint: Any, rows: list[int]) -> None:
    attack = _PerImageHopSkipJump(constraint=constraint)
    offsets = torch.tensor([0.1, 0.5, 1.0, 1e-7])
    far = IMAGES + torch.tensor([0.3, 0.2, 0.25, 0.01]).reshape(4, 1, 1, 1) * NORMAL.reshape(8, 8)

    def searched(rows: list[int]) -> torch.Tensor:
        is_adversarial = beyond(offsets, rows)
        return attack._binary_search(is_adversarial, tensor(IMAGES, rows), tensor(far, rows)).raw

    assert torch.equal(searched(rows), searched([0, 1, 2, 3])[rows])


def test_a_search_between_equal_images_ends() -> None:
    attack = _PerImageHopSkipJump(constraint="l2")
    rows = [0, 1]
    images = tensor(IMAGES, rows)

    def always(points: Any) -> Any:
        return type(points)(torch.ones(len(points), dtype=torch.bool))

    assert torch.equal(attack._binary_search(always, images, images).raw, images.raw)
