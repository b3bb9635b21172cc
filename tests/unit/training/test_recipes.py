"""The objectives, each against a slow re-implementation of its formula in double precision."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.errors import InvalidInput
from fgmf.training import (
    Ascent,
    NFgsmRecipe,
    PgdRecipe,
    Recipe,
    Schedule,
    StandardRecipe,
    TradesRecipe,
    climb_divergence,
    climb_loss,
    noisy_step,
)

EPSILON = 0.1
RECIPES: list[Any] = [
    StandardRecipe(),
    NFgsmRecipe(epsilon=EPSILON),
    PgdRecipe(epsilon=EPSILON, steps=3),
    TradesRecipe(epsilon=EPSILON, steps=3),
]
recipes = pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: type(r).__name__)


@pytest.fixture
def model() -> nn.Module:
    return ConvNet(ConvNetConfig(image_side=8, hidden=16, activation="silu"), seed=2).double()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(6, 1, 8, 8, dtype=torch.float64, generator=draws(11))


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.tensor([3, 1, 4, 1, 5, 9])


def draws(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def probabilities(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    scores = torch.exp(model(images))
    return scores / scores.sum(dim=1, keepdim=True)


def negative_log_likelihood(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    rows = torch.arange(len(labels))
    return -torch.log(probabilities(model, images)[rows, labels]).mean()


def divergence(model: nn.Module, images: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
    """KL(p(x) || p(x')), mean over the images."""
    p, q = probabilities(model, images), probabilities(model, moved)
    return (p * (p / q).log()).sum(dim=1).mean()


def gradient(objective: Any, at: torch.Tensor) -> torch.Tensor:
    at = at.detach().clone().requires_grad_()
    objective(at).backward()
    assert at.grad is not None
    return at.grad


def uniform(images: torch.Tensor, radius: float) -> torch.Tensor:
    return radius * (2 * torch.rand(images.shape, dtype=images.dtype, generator=draws()) - 1)


class TestFormulas:
    def test_standard(self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
        loss = StandardRecipe().loss(model, images, labels, progress=0.5, draws=draws())
        assert loss.item() == pytest.approx(negative_log_likelihood(model, images, labels).item())

    def test_n_fgsm(self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Noise and step add up: the result may be two budgets away."""
        recipe = NFgsmRecipe(epsilon=EPSILON, noise=0.8, step=1.2)
        loss = recipe.loss(model, images, labels, progress=0.5, draws=draws())
        noisy = (images + uniform(images, 0.08)).clamp(0, 1)
        slope = gradient(lambda x: negative_log_likelihood(model, x, labels), noisy)
        moved = (noisy + 0.12 * slope.sign()).clamp(0, 1)
        assert loss.item() == pytest.approx(negative_log_likelihood(model, moved, labels).item())
        assert (moved - images).abs().max() > 1.3 * EPSILON

    def test_pgd(self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
        recipe = PgdRecipe(epsilon=EPSILON, steps=4, step=0.5)
        loss = recipe.loss(model, images, labels, progress=1.0, draws=draws())
        moved = (images + uniform(images, EPSILON)).clamp(0, 1)
        for _ in range(4):
            slope = gradient(lambda x: negative_log_likelihood(model, x, labels), moved)
            moved = moved + 0.5 * EPSILON * slope.sign()
            moved = torch.max(torch.min(moved, images + EPSILON), images - EPSILON).clamp(0, 1)
        assert loss.item() == pytest.approx(negative_log_likelihood(model, moved, labels).item())

    def test_trades(self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
        recipe = TradesRecipe(epsilon=EPSILON, beta=5.0, steps=3)
        loss = recipe.loss(model, images, labels, progress=1.0, draws=draws())
        noise = torch.randn(images.shape, dtype=images.dtype, generator=draws())
        moved = (images + 1e-3 * noise).clamp(0, 1)
        for _ in range(3):
            slope = gradient(lambda x: divergence(model, images.detach(), x), moved)
            moved = moved + 2.5 / 3 * EPSILON * slope.sign()
            moved = torch.max(torch.min(moved, images + EPSILON), images - EPSILON).clamp(0, 1)
        expected = negative_log_likelihood(model, images, labels)
        expected = expected + 5.0 * divergence(model, images, moved)
        assert loss.item() == pytest.approx(expected.item())

    def test_trades_pulls_both_predictions(
        self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor
    ) -> None:
        """The update differentiates the clean prediction too, not only the moved one."""
        recipe = TradesRecipe(epsilon=EPSILON, beta=5.0, steps=2)
        recipe.loss(model, images, labels, progress=1.0, draws=draws()).backward()
        got = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        model.zero_grad()
        ascent = Ascent(epsilon=EPSILON, steps=2, step=1.25 * EPSILON, bounds=(0, 1))
        moved = climb_divergence(model, images, ascent, start_deviation=1e-3, draws=draws())
        slow = negative_log_likelihood(model, images, labels)
        (slow + 5.0 * divergence(model, images, moved)).backward()
        for ours, parameter in zip(got, model.parameters(), strict=True):
            torch.testing.assert_close(ours, parameter.grad, atol=1e-10, rtol=1e-8)


class TestEveryRecipe:
    @recipes
    def test_is_a_recipe(self, recipe: Recipe) -> None:
        assert recipe.schedule == Schedule()
        assert "epochs=14" in repr(recipe)

    @recipes
    def test_counts_its_passes(
        self, recipe: Any, model: nn.Module, images: torch.Tensor, labels: torch.Tensor
    ) -> None:
        """Forward passes by a hook on the model, backward passes by one on its output."""
        forwards, backwards = [], []

        def seen(module: nn.Module, given: Any, logits: torch.Tensor) -> None:
            forwards.append(len(logits))
            if logits.requires_grad:
                logits.register_hook(lambda grad: backwards.append(len(grad)))

        model.register_forward_hook(seen)
        recipe.loss(model, images, labels, progress=1.0, draws=draws()).backward()
        counted = sum(forwards) / len(images), sum(backwards) / len(images)
        assert counted == recipe.passes

    @recipes
    def test_crafting_leaves_no_traces(
        self, recipe: Any, images: torch.Tensor, labels: torch.Tensor
    ) -> None:
        """No gradient, mode or seed of anybody's; statistics change by the update's own passes."""
        model = ConvNet(ConvNetConfig(image_side=8, norm="batch")).double()
        model.train()
        model.features[1].eval()  # a layer that its user froze
        state, before = torch.get_rng_state(), images.clone()
        recipe.loss(model, images, labels, progress=1.0, draws=draws())
        assert all(p.grad is None for p in model.parameters())
        assert [m.training for m in model.features[:2]] == [True, False]
        assert model.head.training
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(images, before)
        expected = 2 if isinstance(recipe, TradesRecipe) else 1
        assert model.features[5].num_batches_tracked == expected

    def test_budget_grows_over_the_first_fifth(
        self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor
    ) -> None:
        recipe, small = NFgsmRecipe(epsilon=EPSILON), NFgsmRecipe(epsilon=EPSILON / 2)

        def loss(of: NFgsmRecipe, progress: float) -> float:
            return of.loss(model, images, labels, progress=progress, draws=draws()).item()

        assert loss(recipe, 0.1) == pytest.approx(loss(small, 0.2))
        assert loss(recipe, 0.2) == loss(recipe, 0.9)
        assert loss(recipe, 0.0) == pytest.approx(
            StandardRecipe().loss(model, images, labels, progress=0.0, draws=draws()).item()
        )

    @pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.0, 3.0)])
    def test_moved_images_stay_where_they_may(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        bounds: tuple[float, float],
    ) -> None:
        images = bounds[0] + (bounds[1] - bounds[0]) * images.round(decimals=1)
        ascent = Ascent(epsilon=0.3, steps=3, step=0.2, bounds=bounds)
        climbed = climb_loss(model, images, labels, ascent, draws=draws())
        parted = climb_divergence(model, images, ascent, start_deviation=9.0, draws=draws())
        stepped = noisy_step(
            model, images, labels, noise=0.3, step=0.3, bounds=bounds, draws=draws()
        )
        for moved, radius in ((climbed, 0.3), (parted, 0.3), (stepped, 0.6)):
            assert bounds[0] <= moved.min() <= moved.max() <= bounds[1]
            assert (moved - images).abs().max() <= radius + 1e-12  # one rounding of x + epsilon
            assert not moved.requires_grad


class TestSchedule:
    def test_one_cycle(self) -> None:
        schedule = Schedule(peak_learning_rate=0.01, rise=0.25)
        assert schedule.learning_rate(0.125) == pytest.approx(0.005)
        assert schedule.learning_rate(0.25) == pytest.approx(0.01)
        assert schedule.learning_rate(0.625) == pytest.approx(0.005)
        assert schedule.learning_rate(1.0) == pytest.approx(0.0)
        assert Schedule(rise=0.0).learning_rate(0.0) == Schedule().peak_learning_rate

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"epochs": 0}, "epochs as a whole number above 0"),
            ({"batch_size": -1}, "batch_size as a whole number above 0"),
            ({"peak_learning_rate": math.nan}, "peak_learning_rate above 0"),
            ({"rise": 1.0}, "rise from 0"),
            ({"average_decay": 1.0}, "average_decay from 0"),
            ({"gradient_clip": 0.0}, "gradient_clip above 0"),
        ],
    )
    def test_impossible_ones_are_refused(self, values: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            Schedule(**values)

    @pytest.mark.parametrize(
        ("recipe", "values"),
        [
            (NFgsmRecipe, {"epsilon": 0.0}),
            (NFgsmRecipe, {"epsilon": math.nan}),
            (PgdRecipe, {"epsilon": 0.1, "steps": 0}),
            (TradesRecipe, {"epsilon": 0.1, "start_deviation": 0.0}),
        ],
    )
    def test_budgets_that_move_nothing_are_refused(
        self, recipe: Any, values: dict[str, float]
    ) -> None:
        with pytest.raises(InvalidInput, match="above 0"):
            recipe(**values)
