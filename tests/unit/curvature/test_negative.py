"""Negative curvature is found where it is, and by finite steps alone on networks with ReLU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fgmf.curvature import CurvatureProbe, ImageLoss, PassCount, measure_negative_curvature
from fgmf.errors import InvalidInput, NonFiniteOutput


def bowl(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1).square().sum(dim=1)


def saddle(images: torch.Tensor) -> torch.Tensor:
    """Bends down along the first pixel, up along the others."""
    x = images.flatten(1)
    return x[:, 1:].square().sum(dim=1) - 4 * x[:, 0].square()


IMAGES = torch.rand(20, 1, 3, 3, generator=torch.Generator().manual_seed(0)).double()


def test_a_bowl_has_none() -> None:
    found = measure_negative_curvature(bowl, IMAGES, CurvatureProbe(step=1.5))
    assert (found.share, found.direction_share, found.negative_image_count) == (0.0, 0.0, 0)
    # v'Hv = 2 for every direction of length 1.
    torch.testing.assert_close(found.curvatures, torch.full((20, 4), 2.0).double())
    assert found.interval.lower == 0.0
    assert 0.1 < found.interval.upper < 0.2  # 20 images without say that much
    assert found.cost == PassCount(forward=5, backward=5)


def test_the_gradients_own_direction_is_the_first() -> None:
    images = torch.zeros(2, 1, 3, 3, dtype=torch.float64)
    images[0, 0, 0, 0] = 1.0  # its gradient points along the first pixel
    images[1, 0, 1, 1] = 1.0
    found = measure_negative_curvature(saddle, images, CurvatureProbe(step=0.5, directions=1))
    assert found.curvatures.flatten().tolist() == pytest.approx([-8.0, 2.0])
    assert found.negative_image_count == 1
    assert found.share == found.direction_share == 0.5


def test_no_gradient_gives_its_place_to_a_random_direction() -> None:
    found = measure_negative_curvature(
        bowl, torch.zeros(3, 1, 3, 3).double(), CurvatureProbe(step=1.0, directions=1)
    )
    assert found.curvatures.flatten().tolist() == pytest.approx([2.0] * 3)


def test_the_tolerance() -> None:
    probe = CurvatureProbe(step=1.0, directions=3, tolerance=100.0)
    assert measure_negative_curvature(saddle, IMAGES, probe).share == 0.0


def relu_loss() -> ImageLoss:
    """A ReLU network with confident logits, as trained ones have."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Flatten(), nn.Linear(9, 40), nn.ReLU(), nn.Linear(40, 3)).double()
    with torch.no_grad():
        net[1].weight.mul_(4)
        net[3].weight.mul_(4)
    return ImageLoss(model=net, labels=net(IMAGES).argmax(dim=1))


def test_exact_products_never_see_what_a_step_sees_on_relu() -> None:
    exact = CurvatureProbe(step=1.5, mode="double-backward", tolerance=1e-12, directions=8)
    finite = CurvatureProbe(step=1.5, directions=8, tolerance=1e-12)
    assert measure_negative_curvature(relu_loss(), IMAGES, exact).share == 0.0
    assert measure_negative_curvature(relu_loss(), IMAGES, finite).share > 0.3


def test_draws_belong_to_images() -> None:
    probe = CurvatureProbe(step=1.0)
    keys = [f"image {i}" for i in range(20)]
    together = measure_negative_curvature(saddle, IMAGES, probe, seed=3, keys=keys)
    alone = measure_negative_curvature(saddle, IMAGES[7:8], probe, seed=3, keys=keys[7:8])
    torch.testing.assert_close(together.curvatures[7], alone.curvatures[0])
    other = measure_negative_curvature(saddle, IMAGES, probe, seed=4, keys=keys)
    assert not torch.allclose(together.curvatures, other.curvatures)
    assert (together.seed, together.probe) == (3, probe)


@pytest.mark.parametrize(
    "changes", [{"directions": 0}, {"tolerance": -1.0}, {"tolerance": float("nan")}], ids=str
)
def test_mistakes(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"direction|tolerance"):
        CurvatureProbe(step=1.0, **changes)


def test_no_evidence_is_no_result() -> None:
    with pytest.raises(InvalidInput, match="image"):
        measure_negative_curvature(bowl, IMAGES[:0], CurvatureProbe(step=1.0))
    with pytest.raises(NonFiniteOutput):
        measure_negative_curvature(
            lambda x: bowl(x) * float("nan"), IMAGES, CurvatureProbe(step=1.0)
        )
