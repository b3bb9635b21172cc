"""Objectives that mask.

at a temperature   CE(f(x) / T, y) for the teacher; CE(f(x) / T, softmax(teacher(x) / T)) then
one step           CE(f(x + eps sign grad CE(f(x), y)), y), without a random start
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

from fgmf.training import Schedule

if TYPE_CHECKING:
    from torch import nn

    from specimens.plans import Plan


@dataclass(frozen=True, kw_only=True)
class TemperatureRecipe:
    """Cross-entropy of logits over a temperature; against a teacher's answers, where one is given.

    Source: Papernot et al. (2016).
    """

    temperature: float
    teacher_plan: Plan | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)
    passes = (1, 1)

    @cached_property
    def teacher(self) -> nn.Module | None:
        from specimens.plans import train_network

        return None if self.teacher_plan is None else train_network(self.teacher_plan)

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        cooled = model(images) / self.temperature
        if self.teacher is None:
            return cross_entropy(cooled, labels)
        with torch.no_grad():
            soft = (self.teacher(images) / self.temperature).softmax(dim=1)
        return cross_entropy(cooled, soft)


@dataclass(frozen=True, kw_only=True)
class OneStepRecipe:
    """FGSM training without a random start, crafted in training mode."""

    epsilon: float
    bounds: tuple[float, float] = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)
    passes = (2, 2)

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        at = images.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(model(at), labels), at)
        moved = (images + self.epsilon * gradient.sign()).clamp(*self.bounds)
        return cross_entropy(model(moved), labels)
