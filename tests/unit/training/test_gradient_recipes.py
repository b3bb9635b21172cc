"""Penalties on gradients and saliency-guided training, each against a slow one, image by image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.errors import InvalidInput
from fgmf.training import (
    CureRecipe,
    FgsmRsRecipe,
    GradAlignRecipe,
    GradientPenaltyRecipe,
    LlrRecipe,
    SaliencyGuidedRecipe,
)

if TYPE_CHECKING:
    from collections.abc import Callable

EPSILON = 0.1


@pytest.fixture
def model() -> nn.Module:
    """Smooth, in double precision: derivatives of derivatives are exact to about 1e-12."""
    config = ConvNetConfig(image_side=8, widths=(4,), hidden=8, activation="gelu")
    return ConvNet(config, seed=2).double()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 1, 8, 8, dtype=torch.float64, generator=draws(11))


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.tensor([3, 1, 4, 1, 5])


def draws(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(images: torch.Tensor, radius: float, generator: torch.Generator) -> torch.Tensor:
    return radius * (2 * torch.rand(images.shape, dtype=images.dtype, generator=generator) - 1)


def negative_log(model: nn.Module, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """-log of the label's probability of one image (c, h, w), written out."""
    scores = torch.exp(model(image[None])[0])
    return -torch.log(scores[label] / scores.sum())


def slope(
    model: nn.Module, image: torch.Tensor, label: torch.Tensor, *, graph: bool
) -> torch.Tensor:
    at = image.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(negative_log(model, at, label), at, create_graph=graph)
    return found


def mean(values: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(values).mean()


def pairs(images: torch.Tensor, labels: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(images, labels, strict=True))


def slow_clean(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return mean([negative_log(model, x, y) for x, y in pairs(images, labels)])


def slow_cure(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    terms = []
    for x, y in pairs(images, labels):
        here = slope(model, x, y, graph=True)
        sign = here.detach().sign()
        there = slope(model, x + 0.7 * sign / sign.square().sum().sqrt(), y, graph=True)
        terms.append(((there - here) ** 2).sum())
    return slow_clean(model, images, labels) + 4.0 * mean(terms)


def slow_penalty(
    power: int,
) -> Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]:
    def loss(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        terms = [
            (slope(model, x, y, graph=True).abs() ** power).sum() for x, y in pairs(images, labels)
        ]
        return slow_clean(model, images, labels) + 10.0 * mean(terms)

    return loss


def slow_alignment(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    noise = uniform(images, EPSILON, draws())
    apart, losses = [], []
    for (x, y), u in zip(pairs(images, labels), noise, strict=True):
        here = slope(model, x, y, graph=False)
        there = slope(model, x + u, y, graph=True)
        lengths = here.square().sum().sqrt() * there.square().sum().sqrt()
        apart.append(1 - (here * there).sum() / lengths)
        losses.append(negative_log(model, (x + EPSILON * here.sign()).clamp(0, 1), y))
    return mean(losses) + 0.2 * mean(apart)


def slow_llr(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    noise = uniform(images, EPSILON, draws())
    gaps, rises = [], []
    for (x, y), u in zip(pairs(images, labels), noise, strict=True):
        plain = slope(model, x, y, graph=False)
        moved = (x + u).clamp(0, 1) - x
        for _ in range(2):
            at = moved.detach().clone().requires_grad_()
            away = negative_log(model, x + at, y) - negative_log(model, x, y).detach()
            (uphill,) = torch.autograd.grad((away - (at * plain).sum()).abs(), at)
            moved = (moved + 1.25 * EPSILON * uphill.sign()).clamp(-EPSILON, EPSILON)
            moved = (x + moved).clamp(0, 1) - x
        along = (moved * slope(model, x, y, graph=True)).sum()
        gap = negative_log(model, x + moved, y) - negative_log(model, x, y) - along
        gaps.append(gap.abs())
        rises.append(along.abs())
    return slow_clean(model, images, labels) + 4.0 * mean(gaps) + 3.0 * mean(rises)


def slow_random_start(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    noise = uniform(images, EPSILON, draws())
    losses = []
    for (x, y), u in zip(pairs(images, labels), noise, strict=True):
        at = (x + u).clamp(0, 1)
        moved = at + 1.25 * EPSILON * slope(model, at, y, graph=False).sign()
        moved = torch.max(torch.min(moved, x + EPSILON), x - EPSILON).clamp(0, 1)
        losses.append(negative_log(model, moved, y))
    return mean(losses)


def slow_guided(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    drawn = torch.rand(images.shape, dtype=images.dtype, generator=draws())
    terms = []
    for (x, y), noise in zip(pairs(images, labels), drawn, strict=True):
        at = x.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(model(at[None])[0, y], at)
        least = found.abs().flatten().argsort()[: x.numel() // 2]
        other = x.flatten().clone()
        other[least] = (x.min() + (x.max() - x.min()) * noise.flatten())[least]
        p, q = (
            torch.exp(model(each[None])[0]) / torch.exp(model(each[None])[0]).sum()
            for each in (x, other.view_as(x))
        )
        terms.append((p * (p / q).log()).sum())
    return slow_clean(model, images, labels) + mean(terms)


CASES: dict[str, tuple[Any, Any]] = {
    "cure": (CureRecipe(length=0.7, warm_up=0.0), slow_cure),
    "squares": (GradientPenaltyRecipe(warm_up=0.0), slow_penalty(2)),
    "absolute values": (GradientPenaltyRecipe(norm="l1", warm_up=0.0), slow_penalty(1)),
    "alignment": (GradAlignRecipe(epsilon=EPSILON, warm_up=0.0), slow_alignment),
    "linearity": (LlrRecipe(epsilon=EPSILON, warm_up=0.0), slow_llr),
    "random start": (FgsmRsRecipe(epsilon=EPSILON, warm_up=0.0), slow_random_start),
    "saliency": (SaliencyGuidedRecipe(), slow_guided),
}
cases = pytest.mark.parametrize("case", CASES)


@cases
def test_loss_and_its_gradient(
    case: str, model: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> None:
    recipe, slow = CASES[case]
    parameters = list(model.parameters())
    found = recipe.loss(model, images, labels, progress=0.5, draws=draws())
    expected = slow(model, images, labels)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-9)
    for mine, right in zip(
        torch.autograd.grad(found, parameters),
        torch.autograd.grad(expected, parameters),
        strict=True,
    ):
        torch.testing.assert_close(mine, right, atol=1e-9, rtol=1e-7)


def test_replaced_pixels_are_as_many_as_said_on_a_black_image(model: nn.Module) -> None:
    """All gradients of a model that sees nothing are 0: ties must not replace everything."""
    recipe = SaliencyGuidedRecipe(share=0.25)
    images = torch.rand(3, 1, 8, 8, dtype=torch.float64, generator=draws())
    blind = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double()
    with torch.no_grad():
        blind[1].weight.zero_()
    replaced = recipe.replaced(blind, images, torch.tensor([0, 1, 2]), draws=draws())
    assert ((replaced != images).flatten(1).sum(dim=1) == 16).all()
    low, high = images.flatten(1).amin(dim=1), images.flatten(1).amax(dim=1)
    assert (replaced.flatten(1).amin(dim=1) >= low).all()
    assert (replaced.flatten(1).amax(dim=1) <= high).all()


def test_nothing_is_left_behind(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> None:
    model.train()
    model.features.eval()  # a part that somebody froze
    for recipe, _ in CASES.values():
        recipe.loss(model, images, labels, progress=0.5, draws=draws())
    assert all(p.grad is None for p in model.parameters())
    assert model.training
    assert not model.features.training


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (CureRecipe, {"length": 0.0}),
        (GradientPenaltyRecipe, {"weight": -1.0}),
        (GradientPenaltyRecipe, {"norm": "l3"}),
        (GradAlignRecipe, {"epsilon": 0.0}),
        (LlrRecipe, {"epsilon": 0.1, "steps": 0}),
        (FgsmRsRecipe, {"epsilon": 0.1, "step": 0.0}),
        (SaliencyGuidedRecipe, {"share": 1.0}),
    ],
)
def test_refusals(make: Any, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        make(**values)
