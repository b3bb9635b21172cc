"""Recipes that learn from another model, or from softened labels.

smoothed       CE(f(x) / T, (1 - a) onehot + a uniform)                      T also trains teachers
distillation   CE(f(x) / T, softmax(t(x) / T)), mixed with the hard labels     t: the teacher
guided         CE(f(x'), y) + weight (N(x') + N(x)) / 2                        x' as in PGD
               N = contrast of the student's features with the teacher's:
               -log exp(s_ii) / (exp(s_ii) + sum over j != i of c_j exp(s_ij)),
               s_ij = cos(teacher's features of x_i, student's of x'_j) / temperature,
               c_j = the teacher's probability of the label of x_j

Only `guided` is a defence: it is trained on attacked images. Defensive distillation makes logits so
large that gradients of the cross-entropy vanish, which is masking, and was broken by other losses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy, log_softmax, normalize, softmax

from fgmf.errors import InvalidInput
from fgmf.seeding import derive_seed
from fgmf.training.features import features_and_logits
from fgmf.training.perturbations import Ascent, climb_loss, uncompiled
from fgmf.training.schedule import (
    Schedule,
    check_counts,
    check_positive,
    check_warm_up,
    grown,
)

if TYPE_CHECKING:
    from torch import nn

    from fgmf.types import Bounds, Images, Labels, Logits


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained model that is asked, and not trained.

    Attributes:
        name: What it is, in reports: a digest of its weights, or where it came from.
        model: Maps images in the same bounds to logits of the same classes. It is put into
            evaluation mode.
    """

    name: str
    model: nn.Module = field(repr=False, compare=False)

    def logits(self, images: Images) -> Logits:
        """Ask it, without gradient.

        Cost: 1 forward pass.
        """
        self.model.to(images.device).eval()
        with torch.no_grad():
            found: Logits = self.model(images)
        return found


@dataclass(frozen=True, kw_only=True)
class SmoothedRecipe:
    """Cross-entropy on clean images with softened labels, at a temperature.

    Attributes:
        label_smoothing: Share of the label's probability that all classes share.
        temperature: Logits are divided by it in training; more than 1 trains the teacher of
            defensive distillation.
        bounds: Range of the pixels.
        schedule: Length and speed.

    Source: Szegedy et al. (2016) for smoothed labels.
    Cost: 1 forward and 1 backward pass per image and epoch.
    """

    label_smoothing: float = 0.1
    temperature: float = 1.0
    bounds: Bounds = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse what is no share or temperature."""
        check_positive(self, "temperature")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise InvalidInput(
                f"expected label_smoothing from 0 up to, without, 1, got {self.label_smoothing!r}"
            )

    @property
    def passes(self) -> tuple[float, float]:
        """Forward and backward passes per image and epoch."""
        return 1, 1

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        *,
        progress: float,  # noqa: ARG002 - of the interface
        draws: torch.Generator,  # noqa: ARG002 - of the interface
    ) -> torch.Tensor:
        """Smoothed cross-entropy; see :meth:`fgmf.training.Recipe.loss`."""
        logits = model(images) / self.temperature
        return cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


@dataclass(frozen=True, kw_only=True)
class DistillationRecipe:
    """Cross-entropy with the teacher's softened predictions.

    Attributes:
        teacher: Trained before; for defensive distillation at the same temperature.
        temperature: Of both. 20 to 100 is defensive distillation, 2 to 5 smoothing distillation.
        hard_weight: Share of the cross-entropy with the labels, at temperature 1.
        scaled: Multiply the soft part by the squared temperature, so that its gradient keeps its
            size.
        bounds: Range of the pixels.
        schedule: Length and speed.

    Source: Papernot et al. (2016), defensive distillation (temperature 20 and more, soft labels
        alone, not scaled); Hinton et al. (2015) for moderate temperatures with hard labels and
        scaling.
    Cost: 1 forward and 1 backward pass, and 1 forward pass of the teacher.
    """

    teacher: Teacher
    temperature: float = 20.0
    hard_weight: float = 0.0
    scaled: bool = False
    bounds: Bounds = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse what is no temperature or share."""
        check_positive(self, "temperature")
        if not 0.0 <= self.hard_weight <= 1.0:
            raise InvalidInput(f"expected hard_weight from 0 to 1, got {self.hard_weight!r}")

    @property
    def passes(self) -> tuple[float, float]:
        """Forward and backward passes per image and epoch; the teacher's count like others."""
        return 2, 1

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        *,
        progress: float,  # noqa: ARG002 - of the interface
        draws: torch.Generator,  # noqa: ARG002 - of the interface
    ) -> torch.Tensor:
        """Soft and hard cross-entropy; see :meth:`fgmf.training.Recipe.loss`."""
        wanted = softmax(self.teacher.logits(images) / self.temperature, dim=1)
        logits = model(images)
        soft = -(wanted * log_softmax(logits / self.temperature, dim=1)).sum(dim=1).mean()
        scale = self.temperature**2 if self.scaled else 1.0
        hard = cross_entropy(logits, labels)
        return (1.0 - self.hard_weight) * scale * soft + self.hard_weight * hard


@dataclass(frozen=True, kw_only=True)
class GuidedRecipe:
    """Robust feature distillation by guided adversarial contrast, on top of PGD.

    Attributes:
        teacher: A robust one, trained before.
        epsilon: Budget in the units of `bounds`.
        weight: Of the contrast.
        temperature: Of the cosines.
        steps: Gradient steps of the attack.
        width: Of the space that both models' features are projected into.
        warm_up: Share of the training over which the budget grows.
        bounds: Range of the pixels.
        schedule: Length and speed.

    Source: our reconstruction of feature distillation with guided adversarial contrastive learning:
        InfoNCE (van den Oord et al. 2018) with attacked images as positives and negatives weighted
        by the teacher's confidence. Deviation: the projection heads are fixed random matrices, so
        that nothing but the model is trained; features are what goes into the last linear layer.
    Cost: steps + 2 forward and backward passes, and 1 forward pass of the teacher.
    """

    teacher: Teacher
    epsilon: float
    weight: float = 0.5
    temperature: float = 0.2
    steps: int = 3
    width: int = 64
    warm_up: float = 0.2
    bounds: Bounds = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse budgets that move nothing, and spaces that are none."""
        check_positive(self, "epsilon", "weight", "temperature")
        check_counts(self, "steps", "width")
        check_warm_up(self)

    @property
    def passes(self) -> tuple[float, float]:
        """Forward and backward passes per image and epoch; the teacher's count like others."""
        return self.steps + 3, self.steps + 2

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        """Cross-entropy on attacked images and contrast; see :meth:`fgmf.training.Recipe.loss`."""
        budget = grown(self.epsilon, self.warm_up, progress)
        ascent = Ascent(
            epsilon=budget, steps=self.steps, step=2.5 / self.steps * budget, bounds=self.bounds
        )
        moved = climb_loss(model, images, labels, ascent, draws=draws)
        student = uncompiled(model)
        attacked, logits = features_and_logits(student, moved)
        clean, _ = features_and_logits(student, images)
        self.teacher.model.to(images.device).eval()
        with torch.no_grad():
            guides, said = features_and_logits(self.teacher.model, images)
            sure = softmax(said, dim=1).gather(1, labels[:, None])[:, 0]
            anchors = projected(guides, self.width, "teacher")
        contrasts = [
            guided_contrast(anchors, projected(own, self.width, "student"), sure, self.temperature)
            for own in (attacked, clean)
        ]
        return cross_entropy(logits, labels) + self.weight * torch.stack(contrasts).mean()


def guided_contrast(
    anchors: torch.Tensor, found: torch.Tensor, sure: torch.Tensor, temperature: float
) -> torch.Tensor:
    """InfoNCE of unit vectors (n, k) with weighted negatives; a scalar.

    Args:
        anchors: The teacher's.
        found: The student's; row i is the positive of anchor i, the others are its negatives.
        sure: (n,) weights of the negatives: column j counts `sure[j]` times.
        temperature: Of the cosines.
    """
    similarity = anchors @ found.T / temperature
    negatives = similarity + sure.clamp(min=torch.finfo(sure.dtype).tiny).log()
    own = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device)
    logits = torch.where(own, similarity, negatives)
    return cross_entropy(logits, torch.arange(len(anchors), device=anchors.device))


def projected(features: torch.Tensor, width: int, side: str) -> torch.Tensor:
    """Features (n, d) to unit vectors (n, width), by a fixed random matrix for each side."""
    count = features.shape[1]
    draws = torch.Generator().manual_seed(derive_seed(0, "projection", side, count, width))
    matrix = torch.randn(count, width, generator=draws, dtype=torch.float64)
    return normalize(features @ matrix.to(features), dim=1)
