"""The training loop on real digits: it learns, repeats itself, and can be interrupted."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fgmf.backbones import ConvNet, ConvNetConfig, HybridConfig, HybridNet, ViT, ViTConfig
from fgmf.datasets import Samples, digits
from fgmf.errors import InvalidInput, NonFiniteOutput
from fgmf.training import (
    NFgsmRecipe,
    PgdRecipe,
    Schedule,
    StandardRecipe,
    TradesRecipe,
    TrainingProgress,
    train,
)

EPSILON = 0.15
SHORT = Schedule(epochs=8, batch_size=64)
ONE = Schedule(epochs=1, batch_size=32)


def small() -> ConvNet:
    return ConvNet(ConvNetConfig(image_side=8, hidden=64), seed=1)


def accuracy(model: nn.Module, samples: Samples, images: torch.Tensor | None = None) -> float:
    with torch.no_grad():
        predicted = model(samples.images if images is None else images).argmax(dim=1)
    return float((predicted == samples.labels).float().mean())


def attacked(model: nn.Module, samples: Samples, *, steps: int = 20) -> torch.Tensor:
    """PGD of this test's own."""
    lowest, highest = ((samples.images + e).clamp(0, 1) for e in (-EPSILON, EPSILON))
    moved = samples.images.clone()
    for _ in range(steps):
        moved.requires_grad_()
        loss = cross_entropy(model(moved), samples.labels)
        (slope,) = torch.autograd.grad(loss, moved)
        moved = (moved.detach() + 0.2 * EPSILON * slope.sign()).clamp(lowest, highest)
    return moved


def first(count: int) -> Samples:
    samples = digits("train")
    return Samples(images=samples.images[:count], labels=samples.labels[:count])


class TestLearning:
    @pytest.mark.parametrize(
        ("recipe", "clean", "robust"),
        [
            (StandardRecipe(schedule=SHORT), (0.94, 1.0), (0.0, 0.3)),
            (NFgsmRecipe(epsilon=EPSILON, schedule=SHORT), (0.87, 1.0), (0.48, 1.0)),
            (PgdRecipe(epsilon=EPSILON, steps=3, schedule=SHORT), (0.87, 1.0), (0.48, 1.0)),
            (TradesRecipe(epsilon=EPSILON, steps=3, schedule=SHORT), (0.87, 1.0), (0.5, 1.0)),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_clean_and_robust_accuracy(
        self, recipe: Any, clean: tuple[float, float], robust: tuple[float, float]
    ) -> None:
        """On 449 digits that it never saw; only the adversarial recipes are robust."""
        model, test = small(), digits("test")
        report = train(model, digits("train"), recipe, seed=1)
        assert clean[0] <= accuracy(model, test) <= clean[1]
        assert robust[0] <= accuracy(model, test, attacked(model, test)) <= robust[1]
        assert report.losses[-1] < 0.7 * report.losses[0]
        assert len(report.losses) == 8

    @pytest.mark.parametrize(
        "model",
        [
            ViT(ViTConfig(image_side=8, patch_side=2, width=32, depth=2)),
            HybridNet(HybridConfig(image_side=8, stem_widths=(32,), depth=1)),
            ConvNet(ConvNetConfig(image_side=8, norm="batch", activation="gelu")),
        ],
        ids=lambda model: type(model).__name__,
    )
    def test_every_backbone_learns(self, model: nn.Module) -> None:
        schedule = Schedule(epochs=6, batch_size=32, peak_learning_rate=3e-3)
        train(model, digits("train"), StandardRecipe(schedule=schedule))
        assert accuracy(model, digits("test")) > 0.8


class TestRepeatability:
    @pytest.mark.parametrize(
        "recipe",
        [
            StandardRecipe(schedule=ONE),
            NFgsmRecipe(epsilon=EPSILON, schedule=ONE),
            PgdRecipe(epsilon=EPSILON, steps=2, schedule=ONE),
            TradesRecipe(epsilon=EPSILON, steps=2, schedule=ONE),
        ],
        ids=lambda recipe: type(recipe).__name__,
    )
    def test_same_seed_same_weights(self, recipe: Any) -> None:
        models = [small() for _ in range(3)]
        for model, seed in zip(models, (5, 5, 6), strict=True):
            torch.rand(3)  # the global generator does not matter
            train(model, first(200), recipe, seed=seed)
        weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in models]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])

    def test_dropout_is_seeded_and_global_generators_are_left_alone(self) -> None:
        models = [nn.Sequential(nn.Dropout(0.5), small()) for _ in range(2)]
        legacy = np.random.mtrand._rand  # numpy's global generator
        states = random.getstate(), legacy.get_state()[1].tolist(), torch.get_rng_state()
        train(models[0], first(100), StandardRecipe(schedule=ONE))
        assert random.getstate() == states[0]
        assert legacy.get_state()[1].tolist() == states[1]
        assert torch.equal(torch.get_rng_state(), states[2])
        torch.rand(1)
        train(models[1], first(100), StandardRecipe(schedule=ONE))
        for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
            assert torch.equal(a, b)


class TestTheLoop:
    def test_against_a_loop_written_out(self) -> None:
        """AdamW, clipping, the cycle and the average, in double precision."""
        samples = first(96)
        samples = Samples(images=samples.images.double(), labels=samples.labels)
        schedule = Schedule(epochs=2, batch_size=40, gradient_clip=0.5, average_decay=0.6)
        ours, slow = small().double(), small().double()
        report = train(ours, samples, StandardRecipe(schedule=schedule), seed=3)
        optimizer = torch.optim.AdamW(slow.parameters(), weight_decay=1e-4)
        draws, step = torch.Generator().manual_seed(3), 0
        average = [p.detach().clone() for p in slow.parameters()]
        for _ in range(2):
            order = torch.randperm(96, generator=draws)
            for batch in (order[:40], order[40:80], order[80:]):
                optimizer.param_groups[0]["lr"] = schedule.learning_rate((step + 0.5) / 6)
                optimizer.zero_grad()
                cross_entropy(slow(samples.images[batch]), samples.labels[batch]).backward()
                grads = [p.grad for p in slow.parameters() if p.grad is not None]
                norm = torch.cat([g.flatten() for g in grads]).norm()
                for grad in grads:
                    grad.mul_(min(1.0, 0.5 / (norm.item() + 1e-6)))  # torch adds the 1e-6
                optimizer.step()
                step += 1
                decay = min(0.6, (1 + step) / (10 + step))
                for kept, p in zip(average, slow.parameters(), strict=True):
                    kept.mul_(decay).add_((1 - decay) * p.detach())
        for mine, expected in zip(ours.parameters(), average, strict=True):
            torch.testing.assert_close(mine.detach(), expected, atol=1e-12, rtol=1e-9)
        assert report.steps == step == 6

    def test_report_and_progress(self) -> None:
        seen: list[TrainingProgress] = []
        recipe = PgdRecipe(epsilon=0.1, steps=2, schedule=replace(ONE, epochs=2))
        report = train(small(), first(70), recipe, seed=9, on_progress=seen.append)
        assert [p.step for p in seen] == [1, 2, 3, 4, 5, 6]
        assert [p.epoch for p in seen] == [1, 1, 1, 2, 2, 2]
        assert {p.steps for p in seen} == {6}
        assert report.recipe == repr(recipe)
        assert (report.seed, report.image_count) == (9, 70)
        assert report.cost.forward_passes == report.cost.backward_passes == 3 * 2 * 70
        assert report.cost.seconds > 0
        mean = (32 * seen[0].loss + 32 * seen[1].loss + 6 * seen[2].loss) / 70
        assert report.losses[0] == pytest.approx(mean)

    def test_model_ends_in_evaluation_mode_without_gradients(self) -> None:
        model = small()
        train(model, first(40), StandardRecipe(schedule=ONE))
        assert not any(module.training for module in model.modules())
        assert all(p.grad is None and p.requires_grad for p in model.parameters())

    def test_frozen_parameters_stay(self) -> None:
        model = small()
        model.features.requires_grad_(False)
        before = [p.clone() for p in model.features.parameters()]
        train(model, first(64), NFgsmRecipe(epsilon=0.1, schedule=ONE))
        for old, new in zip(before, model.features.parameters(), strict=True):
            assert torch.equal(old, new)

    def test_running_statistics_are_averaged_with_the_weights(self) -> None:
        model = ConvNet(ConvNetConfig(image_side=8, norm="batch"))
        train(model, first(64), StandardRecipe(schedule=ONE))
        assert model.features[1].num_batches_tracked == 2
        assert bool((model.features[1].running_mean != 0).any())

    def test_an_interrupted_model_can_be_used(self) -> None:
        """The weights are the average so far, not those of the last update."""
        model, last = small(), {}

        def interrupt(progress: TrainingProgress) -> None:
            if progress.step == 60:
                last.update({k: v.clone() for k, v in model.state_dict().items()})
                raise KeyboardInterrupt

        recipe = StandardRecipe(schedule=SHORT)
        with pytest.raises(KeyboardInterrupt):
            train(model, digits("train"), recipe, on_progress=interrupt)
        assert not model.training
        assert all(parameter.grad is None for parameter in model.parameters())
        assert accuracy(model, digits("test")) > 0.5
        assert not torch.equal(model.state_dict()["head.1.weight"], last["head.1.weight"])

    def test_last_weights_where_nothing_is_averaged(self) -> None:
        model, last = small(), {}

        def keep(progress: TrainingProgress) -> None:
            last.update({k: v.clone() for k, v in model.state_dict().items()})

        schedule = replace(ONE, average_decay=None, gradient_clip=None)
        train(model, first(64), StandardRecipe(schedule=schedule), on_progress=keep)
        for name, value in model.state_dict().items():
            assert torch.equal(value, last[name])


class TestRefusals:
    @pytest.mark.parametrize(
        ("images", "labels", "message"),
        [
            (torch.rand(4, 64), torch.zeros(4, dtype=torch.int64), r"shape \(n, c, h, w\)"),
            (
                torch.zeros(4, 1, 8, 8, dtype=torch.uint8),
                torch.zeros(4, dtype=torch.int64),
                "floating-point images",
            ),
            (torch.rand(4, 1, 8, 8) * 255, torch.zeros(4, dtype=torch.int64), "within the bounds"),
            (
                torch.full((4, 1, 8, 8), torch.nan),
                torch.zeros(4, dtype=torch.int64),
                "finite pixel values",
            ),
            (torch.rand(4, 1, 8, 8), torch.zeros(4, 10), "labels as class numbers"),
            (torch.rand(4, 1, 8, 8), torch.zeros(4), "labels as class numbers"),
            (torch.rand(4, 1, 8, 8), torch.tensor([0, 1, -1, 2]), "labels as class numbers"),
        ],
    )
    def test_what_cannot_be_trained_on(
        self, images: torch.Tensor, labels: torch.Tensor, message: str
    ) -> None:
        model = small()
        before = [p.clone() for p in model.parameters()]
        with pytest.raises(InvalidInput, match=message):
            train(model, Samples(images=images, labels=labels), StandardRecipe(schedule=ONE))
        assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))

    def test_a_loss_that_is_no_number_stops_it(self) -> None:
        model = small()
        with torch.no_grad():
            model.head[1].weight.fill_(torch.nan)
        with pytest.raises(NonFiniteOutput, match="finite loss, got nan at update 1"):
            train(model, first(40), StandardRecipe(schedule=ONE))
