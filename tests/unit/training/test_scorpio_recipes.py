"""Recipes with curvature, stored perturbations and the mask: they learn, repeat, and add up."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.curvature import ImageLoss
from fgmf.datasets import digits
from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.scorpio import (
    Amortised,
    PathCurvature,
    PerturbationStore,
    QuadraticAscent,
    Ramp,
    Salience,
    SalientAnswer,
    Scorpio,
    amortised_step,
    path_curvature,
    salient_answer,
    scorpio_penalty,
)
from fgmf.training import (
    AmoRecipe,
    Engine,
    KeepingRecipe,
    RampedRecipe,
    Recipe,
    Schedule,
    ScorpioRecipe,
    SgamRecipe,
    StandardRecipe,
    TrainingRun,
    TrainingSettings,
    begin,
    train,
)
from fgmf.training.perturbations import differs_in_training
from tests.unit.training.trainings import first_digits, masked, small

EPSILON = 0.15
SHORT = Schedule(epochs=8, batch_size=64)
ONE = Schedule(epochs=1, batch_size=32)
ASCENT = QuadraticAscent(epsilon=EPSILON, bounds=(0.0, 1.0))
V1 = Scorpio.v1(ASCENT)


def accuracies(model: nn.Module) -> tuple[float, float]:
    """Clean, and under 20 steps of PGD, on digits that it never saw."""
    samples = digits("test")
    lowest, highest = ((samples.images + e).clamp(0, 1) for e in (-EPSILON, EPSILON))
    moved = samples.images.clone()
    for _ in range(20):
        moved.requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(model(moved), samples.labels), moved)
        moved = (moved.detach() + 0.2 * EPSILON * slope.sign()).clamp(lowest, highest)
    with torch.no_grad():
        right = [model(x).argmax(dim=1) == samples.labels for x in (samples.images, moved)]
    return float(right[0].float().mean()), float(right[1].float().mean())


RECIPES = {
    "scorpio": ScorpioRecipe(scorpio=V1, schedule=SHORT),
    "amo": AmoRecipe(epsilon=EPSILON, schedule=SHORT),
    "scor-pio-2": AmoRecipe.scor_pio_2(EPSILON, schedule=SHORT),
    "sgam": SgamRecipe(recipe=AmoRecipe(epsilon=EPSILON, schedule=SHORT)),
}


def model_for(recipe: object) -> nn.Module:
    return masked() if isinstance(recipe, SgamRecipe) else small()


@pytest.mark.parametrize("name", list(RECIPES))
def test_they_learn_and_are_robust(name: str) -> None:
    """Standard training is below .3 under the same attack."""
    model = model_for(RECIPES[name])
    train(model, digits("train"), RECIPES[name], seed=1)
    clean, robust = accuracies(model)
    assert clean > 0.85
    assert robust > 0.45


@pytest.mark.parametrize("name", list(RECIPES))
def test_same_seed_same_weights(name: str) -> None:
    recipe = RECIPES[name]
    inner = (
        {"recipe": replace(recipe.recipe, schedule=ONE)} if name == "sgam" else {"schedule": ONE}
    )
    recipe = replace(recipe, **inner)
    models = [model_for(recipe) for _ in range(3)]
    for model, seed in zip(models, (5, 5, 6), strict=True):
        torch.rand(3)
        train(model, first_digits(200), recipe, seed=seed)
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


class Own(nn.Module):
    """Of no known room: whether it looks at `training`, nobody knows."""


class TestScorpio:
    def test_the_loss_written_out(self) -> None:
        net, samples = small(activation="gelu"), first_digits(16)
        recipe = ScorpioRecipe(scorpio=replace(V1, weight=2.0))
        found = recipe.loss(
            net, samples.images, samples.labels, progress=0.1, draws=torch.Generator()
        )
        loss_of = ImageLoss(model=net, labels=samples.labels)
        half = replace(V1, ascent=replace(ASCENT, epsilon=EPSILON / 2), weight=2.0)
        penalty = scorpio_penalty(loss_of, samples.images, half, draws=torch.Generator())
        expected = cross_entropy(net(samples.images), samples.labels) + penalty.penalty
        torch.testing.assert_close(found, expected)

    def test_batch_norm_learns_by_the_loss_and_not_by_the_penalty(self) -> None:
        """Its statistics move once, and the cross-entropy is the one of training mode."""
        net, samples = small(norm="batch").train(), first_digits(16)
        recipe = ScorpioRecipe(scorpio=V1)
        arguments = (samples.images, samples.labels)
        found = recipe.loss(net, *arguments, progress=1.0, draws=torch.Generator())
        assert net.features[1].num_batches_tracked == 1
        assert net.training
        trained = cross_entropy(net(samples.images), samples.labels)
        net.load_state_dict(small(norm="batch").state_dict())
        loss_of = ImageLoss(model=net.eval(), labels=samples.labels)
        penalty = scorpio_penalty(loss_of, samples.images, V1, draws=torch.Generator()).penalty
        evaluated = cross_entropy(net(samples.images), samples.labels)
        assert abs(float((trained - evaluated).detach())) > 0.01
        # The penalty is taken with the statistics before the step, here and there.
        torch.testing.assert_close(found, trained + penalty)

    @pytest.mark.parametrize(
        ("model", "differs"),
        [
            (small(), False),
            (small(norm="batch"), True),
            (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten()), False),
            (nn.Sequential(nn.Flatten(), nn.Dropout(0.1)), True),
            (nn.Sequential(nn.InstanceNorm2d(1)), True),
            (nn.Sequential(Own()), True),
        ],
        ids=["conv", "batch norm", "plain", "dropout", "instance norm", "a module of one's own"],
    )
    def test_models_that_may_behave_otherwise_in_training(
        self, model: nn.Module, differs: bool
    ) -> None:
        assert differs_in_training(model) is differs

    def test_passes(self) -> None:
        assert ScorpioRecipe(scorpio=V1).passes == (3, 6)


class TestAmo:
    def test_it_goes_on_from_a_state_bit_by_bit(self) -> None:
        """Two objectives, one of which is given the other's state after some batches."""
        recipe, samples, net = AmoRecipe.scor_pio_2(EPSILON), first_digits(96), small()
        batches = torch.arange(96).split(24)

        def losses(objective: Any, order: list[int], seed: int) -> list[float]:
            draws = torch.Generator().manual_seed(seed)
            return [
                float(
                    objective.loss(
                        net,
                        samples.images[batches[i]],
                        samples.labels[batches[i]],
                        batches[i],
                        progress=0.5,
                        draws=draws,
                    ).detach()
                )
                for i in order
            ]

        one = begin(recipe, 96, (1, 8, 8))
        losses(one, [0, 1, 2, 3, 0], seed=0)
        other = begin(recipe, 96, (1, 8, 8))
        other.load_state_dict(one.state_dict())
        assert losses(one, [1, 2, 3, 0, 1], seed=1) == losses(other, [1, 2, 3, 0, 1], seed=1)
        fresh = begin(recipe, 96, (1, 8, 8))
        assert losses(fresh, [1, 2], seed=1) != losses(one, [1, 2], seed=1)

    def test_a_state_of_another_training_set(self) -> None:
        state = begin(AmoRecipe(epsilon=0.1), 5, (1, 8, 8)).state_dict()
        with pytest.raises(StaleEvidence, match="training set"):
            begin(AmoRecipe(epsilon=0.1), 6, (1, 8, 8)).load_state_dict(state)

    def test_penalties_come_every_few_updates_on_a_part_of_the_batch(self) -> None:
        counts: list[int] = []

        class Counting(ConvNet):
            def forward(self, images: torch.Tensor) -> torch.Tensor:
                counts.append(len(images))
                return super().forward(images)

        recipe = replace(
            AmoRecipe.scor_pio_2(EPSILON, path_weight=0.1, weight=0.3, schedule=ONE),
            every=3,
            share=0.25,
        )
        train(Counting(ConvNetConfig(image_side=8)), first_digits(32 * 4), recipe)
        # A refresh and the update; with terms the image and what is left of it, three points of a
        # path, and the two gradients of the penalty.
        assert counts == [32, 32, *[8] * 7, 32, 32, 32, 32, 32, 32, *[8] * 7]

    def test_attack_and_terms_move_no_running_statistics(self) -> None:
        """They look at single images, in evaluation mode; the loss alone is in training mode."""
        net, samples = small(norm="batch").train(), first_digits(16)
        recipe = AmoRecipe.scor_pio_2(EPSILON, weight=0.3, psd_weight=0.1)
        inputs = (samples.images, samples.labels, torch.arange(16))
        objective = begin(recipe, 16, (1, 8, 8))
        objective.loss(net, *inputs, progress=1.0, draws=torch.Generator())
        assert net.features[1].num_batches_tracked == 1
        assert net.training

    @pytest.mark.parametrize("ramped", [False, True], ids=["plain", "ramped"])
    def test_updates_are_counted_and_not_their_parts(self, ramped: bool) -> None:
        """In every third update each part has its term: the mean gradient is that of one part."""
        counts: list[int] = []

        class Counting(ConvNet):
            def forward(self, images: torch.Tensor) -> torch.Tensor:
                counts.append(len(images))
                return super().forward(images)

        recipe: Any = replace(AmoRecipe.scor_pio_2(EPSILON, schedule=ONE), every=3)
        if ramped:
            make = partial(lambda recipe, _numbers: recipe, recipe)
            recipe = RampedRecipe(make=make, ramps={"every": Ramp()})
        settings = TrainingSettings(engine=Engine(accumulate=2))
        TrainingRun(
            Counting(ConvNetConfig(image_side=8)), first_digits(32 * 4), recipe, settings
        ).finish()
        whole, plain = [16, 16, 4, 4] * 2, [16, 16] * 2
        assert counts == [*whole, *plain, *plain, *whole]

    def test_the_curvature_of_the_path_is_added_with_its_weight(self) -> None:
        """At half of the warm-up half of the weight, on a quarter of the batch."""
        net, samples = small(activation="gelu"), first_digits(16)
        bare = AmoRecipe(epsilon=EPSILON)
        bent = replace(bare, path=PathCurvature(weight=2.0))

        def loss(recipe: AmoRecipe) -> tuple[torch.Tensor, torch.Generator]:
            draws = torch.Generator().manual_seed(1)
            objective = begin(recipe, 16, (1, 8, 8))
            inputs = (net, samples.images, samples.labels, torch.arange(16))
            return objective.loss(*inputs, progress=0.1, draws=draws), draws

        without, draws = loss(bare)
        term = path_curvature(
            net,
            samples.images[:4],
            PathCurvature(),
            epsilon=EPSILON,
            bounds=(0.0, 1.0),
            draws=draws,
        )
        torch.testing.assert_close(loss(bent)[0], without + 0.5 * 2.0 * term.mean())

    def test_terms_that_are_differences_are_taken_in_full_precision(self) -> None:
        """In bfloat16 a second difference of logits would be its rounding."""
        net, samples = small(activation="gelu"), first_digits(64)
        losses = []
        for recipe in (
            AmoRecipe(epsilon=EPSILON),
            AmoRecipe.scor_pio_2(EPSILON, answer_weight=0.0, path_weight=1.0, psd_weight=1.0),
        ):
            plain = replace(
                recipe, label_smoothing=0.0, overshoot=1.0, every=1, amortised=Amortised()
            )
            for mixed in (False, True):
                objective = begin(plain, 64, (1, 8, 8))
                inputs = (net, samples.images, samples.labels, torch.arange(64))
                draws = torch.Generator().manual_seed(1)
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
                    losses.append(objective.loss(*inputs, progress=1.0, draws=draws).detach())
        bare, bare_mixed, whole, whole_mixed = (float(loss) for loss in losses)
        assert bare != bare_mixed  # the cross-entropy itself is of bfloat16
        # The noise of the terms goes by the same draws; float32 sums of one loss, rounded.
        assert whole_mixed - bare_mixed == pytest.approx(whole - bare, rel=1e-3)
        assert whole - bare > 1e-3

    def test_what_the_answer_loses_is_added_with_its_weight(self) -> None:
        """By the gradient that moved the images, which is taken once."""
        net, samples = small(activation="gelu"), first_digits(16)
        bare = AmoRecipe(epsilon=EPSILON)

        def loss(recipe: AmoRecipe) -> torch.Tensor:
            objective = begin(recipe, 16, (1, 8, 8))
            inputs = (net, samples.images, samples.labels, torch.arange(16))
            return objective.loss(*inputs, progress=0.1, draws=torch.Generator().manual_seed(1))

        moved = amortised_step(
            ImageLoss(model=net, labels=samples.labels),
            samples.images,
            torch.arange(16),
            PerturbationStore(16, (1, 8, 8)),
            bare.amortised,
            epsilon=1.1 * EPSILON / 2,
            bounds=(0.0, 1.0),
            draws=torch.Generator().manual_seed(1),
        )
        # So heavy that the term, 1e-5 on an untrained network, stands beside the cross-entropy.
        chosen = SalientAnswer(weight=1e5, kept=0.4)
        term = salient_answer(
            net, samples.images[:4], moved.gradient[:4], chosen, bounds=(0.0, 1.0)
        )
        found = loss(replace(bare, answer=chosen))
        added = 0.5 * 1e5 * term.mean()
        torch.testing.assert_close(found, loss(bare) + added, rtol=1e-3, atol=0)
        assert float(added.detach()) > 0.1

    def test_passes(self) -> None:
        assert AmoRecipe(epsilon=0.1).passes == (2, 2)
        assert AmoRecipe.scor_pio_2(0.1).passes == (2.25, 2.25)
        assert AmoRecipe.scor_pio_2(0.1, path_weight=0.1).passes == (2.625, 2.625)
        ig = Scorpio(ascent=ASCENT, salience=Salience(steps=2))
        # g, g+, one product and two gradients of the path: 5 and 5, and 3 to go through.
        recipe = AmoRecipe(epsilon=0.1, penalty=ig, every=5, share=0.5)
        assert recipe.passes == pytest.approx((2 + 0.5, 2 + 0.8))

    def test_the_report_counts_parts_of_passes(self) -> None:
        recipe = AmoRecipe(epsilon=0.1, penalty=V1, every=4, share=0.25, schedule=ONE)
        report = train(small(), first_digits(64), recipe)
        assert report.cost.forward_passes == 64 * 2 + 64 * 3 // 16

    @pytest.mark.parametrize(
        "changes",
        [
            {"epsilon": 0.0},
            {"overshoot": 0.0},
            {"label_smoothing": 1.0},
            {"every": 0},
            {"share": 1.5},
        ],
        ids=str,
    )
    def test_mistakes(self, changes: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput, match=next(iter(changes))):
            AmoRecipe(**{"epsilon": 0.1, **changes})


def test_both_forms_of_recipes_are_told_apart() -> None:
    assert isinstance(AmoRecipe(epsilon=0.1), KeepingRecipe)
    plain: Recipe = StandardRecipe()
    assert not isinstance(plain, KeepingRecipe)
    assert begin(plain, 3, (1, 8, 8)).state_dict() == {}
