"""Any recipe, and every r updates a lesson for the predictor of the saliency mask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fgmf.errors import InvalidInput
from fgmf.sgam import SaliencyTeacher, Sgam
from fgmf.training.around import AroundObjective, AroundRecipe
from fgmf.training.interface import KeepingRecipe, Recipe, UpdateCount, begin
from fgmf.training.perturbations import uncompiled

if TYPE_CHECKING:
    import torch
    from torch import nn

    from fgmf.training.interface import Objective
    from fgmf.types import Images, Labels


@dataclass(frozen=True, kw_only=True)
class SgamRecipe(AroundRecipe):
    """Any recipe for a model behind a saliency mask, and lessons for its predictor.

    Attributes:
        recipe: What is minimised otherwise; it may craft attacks, which go through the mask.
        teacher: Method, layer, interval and weight of the lessons.

    Cost: the recipe's, and 1 forward and 1 backward pass over `teacher.every`.
    """

    recipe: Recipe | KeepingRecipe
    teacher: SaliencyTeacher = field(default_factory=SaliencyTeacher)

    @property
    def passes(self) -> tuple[float, float]:
        """Forward and backward passes per image and epoch."""
        forward, backward = self.recipe.passes
        return forward + 1.0 / self.teacher.every, backward + 1.0 / self.teacher.every

    def begin(self, image_count: int, shape: tuple[int, ...]) -> Objective:
        """Return the inner objective with lessons."""
        return _Teaching(self.teacher, begin(self.recipe, image_count, shape))


class _Teaching(AroundObjective):
    """An objective and the count of updates that lessons go by."""

    def __init__(self, teacher: SaliencyTeacher, objective: Objective) -> None:
        super().__init__(objective)
        self._teacher, self._updates = teacher, UpdateCount()

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        indices: torch.Tensor,
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        sgam = uncompiled(model)
        if not isinstance(sgam, Sgam):
            raise InvalidInput(
                f"expected a model wrapped by Sgam.wrap, got {type(sgam).__name__}; wrap it, or "
                "train by the inner recipe"
            )
        loss = self._objective.loss(model, images, labels, indices, progress=progress, draws=draws)
        return loss + self._teacher.loss(sgam, images, labels, step=self._updates.take())

    def follow(self, *, further: bool) -> None:
        self._updates.further = further
        super().follow(further=further)

    def state_dict(self) -> dict[str, Any]:
        return {"objective": self._objective.state_dict(), "updates": self._updates.made}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._objective.load_state_dict(state["objective"])
        self._updates.made = int(state["updates"])
