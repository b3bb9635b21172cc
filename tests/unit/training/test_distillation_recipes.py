"""Distillation and softened labels, each against its formula written out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from unit.training.trainings import bits, same

from fgmf.backbones import ConvNet, ConvNetConfig, HybridConfig, HybridNet, ViT, ViTConfig
from fgmf.errors import InvalidInput
from fgmf.training import (
    Ascent,
    DistillationRecipe,
    GuidedRecipe,
    SmoothedRecipe,
    Teacher,
    climb_loss,
)
from fgmf.training.distillation_recipes import guided_contrast, projected
from fgmf.training.features import features_and_logits

CONFIG = ConvNetConfig(image_side=8, widths=(4,), hidden=8, activation="gelu")
LABELS = torch.tensor([3, 1, 4, 1, 5])


def draws(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


IMAGES = torch.rand(5, 1, 8, 8, dtype=torch.float64, generator=draws(11))


@pytest.fixture
def model() -> nn.Module:
    return ConvNet(CONFIG, seed=2).double()


@pytest.fixture
def teacher() -> Teacher:
    net = ConvNet(ConvNetConfig(image_side=8, widths=(6,), hidden=12), seed=8).double()
    return Teacher(name="t", model=net)


def softened(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    scores = torch.exp(logits / temperature)
    return scores / scores.sum(dim=1, keepdim=True)


class TestFormulas:
    def test_smoothed(self, model: nn.Module) -> None:
        recipe = SmoothedRecipe(label_smoothing=0.3, temperature=5.0)
        loss = recipe.loss(model, IMAGES, LABELS, progress=0.5, draws=draws())
        wanted = torch.full((5, 10), 0.03, dtype=torch.float64)
        wanted[range(5), LABELS] += 0.7
        expected = -(wanted * softened(model(IMAGES), 5.0).log()).sum() / 5
        assert loss.item() == pytest.approx(expected.item(), abs=1e-12)

    @pytest.mark.parametrize(("hard", "scaled"), [(0.0, False), (0.4, True)])
    def test_distillation(
        self, hard: float, scaled: bool, model: nn.Module, teacher: Teacher
    ) -> None:
        recipe = DistillationRecipe(
            teacher=teacher, temperature=7.0, hard_weight=hard, scaled=scaled
        )
        loss = recipe.loss(model, IMAGES, LABELS, progress=0.5, draws=draws())
        wanted = softened(teacher.model(IMAGES), 7.0)
        soft = -(wanted * softened(model(IMAGES), 7.0).log()).sum() / 5
        plain = -softened(model(IMAGES), 1.0)[range(5), LABELS].log().mean()
        expected = (1 - hard) * soft * (49 if scaled else 1) + hard * plain
        assert loss.item() == pytest.approx(expected.item(), abs=1e-10)
        loss.backward()
        assert all(p.grad is None for p in teacher.model.parameters())
        assert all(p.grad is not None for p in model.parameters())

    def test_a_student_that_says_the_same_has_the_least_soft_loss(self, teacher: Teacher) -> None:
        recipe = DistillationRecipe(teacher=teacher, temperature=7.0)
        own = recipe.loss(teacher.model, IMAGES, LABELS, progress=0.5, draws=draws())
        (own.backward())
        assert max(float(p.grad.abs().max()) for p in teacher.model.parameters()) < 1e-12

    def test_contrast_image_by_image(self) -> None:
        anchors, found = (
            nn.functional.normalize(torch.randn(4, 6, dtype=torch.float64, generator=draws(s)))
            for s in (1, 2)
        )
        sure = torch.tensor([0.9, 0.2, 1e-3, 0.5], dtype=torch.float64)
        total = 0.0
        for i in range(4):
            own = math.exp(float(anchors[i] @ found[i]) / 0.2)
            others = sum(
                float(sure[j]) * math.exp(float(anchors[i] @ found[j]) / 0.2)
                for j in range(4)
                if j != i
            )
            total -= math.log(own / (own + others))
        assert guided_contrast(anchors, found, sure, 0.2).item() == pytest.approx(total / 4)

    def test_guided(self, model: nn.Module, teacher: Teacher) -> None:
        recipe = GuidedRecipe(teacher=teacher, epsilon=0.1, steps=2, width=16, warm_up=0.0)
        loss = recipe.loss(model, IMAGES, LABELS, progress=0.5, draws=draws())
        ascent = Ascent(epsilon=0.1, steps=2, step=0.125, bounds=(0.0, 1.0))
        moved = climb_loss(model, IMAGES, LABELS, ascent, draws=draws())
        sure = softened(teacher.model(IMAGES), 1.0)[range(5), LABELS]
        anchors = projected(self.hidden(teacher.model, IMAGES), 16, "teacher")
        contrasts = [
            guided_contrast(anchors, projected(self.hidden(model, x), 16, "student"), sure, 0.2)
            for x in (moved, IMAGES)
        ]
        plain = -softened(model(moved), 1.0)[range(5), LABELS].log().mean()
        expected = plain + 0.5 * (contrasts[0] + contrasts[1]) / 2
        assert loss.item() == pytest.approx(expected.item(), abs=1e-10)

    @staticmethod
    def hidden(model: Any, images: torch.Tensor) -> torch.Tensor:
        return model.head[:-1](model.features(images))


class TestFeatures:
    @pytest.mark.parametrize(
        ("model", "width"),
        [
            (ConvNet(CONFIG), 8),
            (ViT(ViTConfig(image_side=8, patch_side=2, width=16, depth=1, heads=2)), 16),
            (HybridNet(HybridConfig(image_side=8, stem_widths=(16,), depth=1)), 16),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_of_every_backbone(self, model: nn.Module, width: int) -> None:
        features, logits = features_and_logits(model, IMAGES.float())
        assert features.shape == (5, width)
        assert torch.equal(logits, model(IMAGES.float()))
        assert not any(m._forward_pre_hooks for m in model.modules())

    def test_where_there_are_none(self) -> None:
        with pytest.raises(InvalidInput, match="linear layer"):
            features_and_logits(nn.Flatten(), IMAGES)
        twice = nn.Linear(8, 8).double()
        with pytest.raises(InvalidInput, match="one use"):
            features_and_logits(nn.Sequential(nn.Flatten(0, 2), twice, twice), IMAGES)
        assert not twice._forward_pre_hooks


def test_the_teacher_is_asked_and_not_changed(model: nn.Module) -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
    teacher = Teacher(name="t", model=net.double())
    before = bits(net)
    for recipe in (
        DistillationRecipe(teacher=teacher),
        GuidedRecipe(teacher=teacher, epsilon=0.1, steps=1),
    ):
        losses = {
            recipe.loss(model, IMAGES, LABELS, progress=0.5, draws=draws()).item() for _ in range(2)
        }
        assert len(losses) == 1  # no dropout
    assert same(before, bits(net))


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (SmoothedRecipe, {"temperature": 0.0}),
        (SmoothedRecipe, {"label_smoothing": 1.0}),
        (DistillationRecipe, {"hard_weight": 1.5, "teacher": None}),
        (GuidedRecipe, {"epsilon": 0.1, "width": 0, "teacher": None}),
    ],
)
def test_refusals(make: Any, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        make(**values)
