"""Tables of the defences that look at gradients, saliency, softened labels or a teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from fgmf.pipeline.defence_tables import BudgetTable, DefenceTable, TaughtTable, Warmth
from fgmf.pipeline.tables import BelowOne, Count, NotNegative, Positive

if TYPE_CHECKING:
    from fgmf.training import Recipe, Schedule, Teacher
    from fgmf.types import Bounds


class CureTable(DefenceTable):
    """Gradients that change little along their sign."""

    name: Literal["cure"]
    weight: Positive = 4.0
    length: Positive = 1.5
    """L2 length of the step between the gradients, in the units of the bounds."""
    warm_up: Warmth = 0.2

    def build(self, schedule: Schedule, bounds: Bounds) -> Recipe:
        """Return the recipe."""
        from fgmf.training import CureRecipe

        return CureRecipe(**self.numbers, bounds=bounds, schedule=schedule)


class GradientPenaltyTable(DefenceTable):
    """Small gradients."""

    name: Literal["gradient-penalty"]
    weight: Positive = 10.0
    norm: Literal["l2-squared", "l1"] = "l2-squared"
    warm_up: Warmth = 0.2

    def build(self, schedule: Schedule, bounds: Bounds) -> Recipe:
        """Return the recipe."""
        from fgmf.training import GradientPenaltyRecipe

        return GradientPenaltyRecipe(**self.numbers, bounds=bounds, schedule=schedule)


class GradAlignTable(BudgetTable):
    """One step, with gradients kept alike within the budget."""

    name: Literal["grad-align"]
    weight: Positive = 0.2
    step: Positive = 1.0

    def build(self, schedule: Schedule, bounds: Bounds) -> Recipe:
        """Return the recipe."""
        from fgmf.training import GradAlignRecipe

        return GradAlignRecipe(**self.numbers, bounds=bounds, schedule=schedule)


class LlrTable(BudgetTable):
    """A loss close to its tangent within the budget."""

    name: Literal["llr"]
    weight: Positive = 4.0
    slope: NotNegative = 3.0
    steps: Count = 2

    def build(self, schedule: Schedule, bounds: Bounds) -> Recipe:
        """Return the recipe."""
        from fgmf.training import LlrRecipe

        return LlrRecipe(**self.numbers, bounds=bounds, schedule=schedule)


class SaliencyGuidedTable(DefenceTable):
    """Unimportant pixels do not matter."""

    name: Literal["saliency-guided"]
    weight: Positive = 1.0
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def build(self, schedule: Schedule, bounds: Bounds) -> Recipe:
        """Return the recipe."""
        from fgmf.training import SaliencyGuidedRecipe

        return SaliencyGuidedRecipe(**self.numbers, bounds=bounds, schedule=schedule)


class SmoothedTable(DefenceTable):
    """Softened labels, at a temperature."""

    name: Literal["smoothed"]
    label_smoothing: BelowOne = 0.1
    temperature: Positive = 1.0

    def build(self, schedule: Schedule, bounds: Bounds) -> Recipe:
        """Return the recipe."""
        from fgmf.training import SmoothedRecipe

        return SmoothedRecipe(**self.numbers, bounds=bounds, schedule=schedule)


class DefensiveDistillationTable(TaughtTable):
    """A teacher's soft labels at a high temperature."""

    name: Literal["defensive-distillation"]
    temperature: Positive = 20.0

    def taught(self, schedule: Schedule, bounds: Bounds, teacher: Teacher) -> Recipe:
        """Return the recipe."""
        from fgmf.training import DistillationRecipe

        return DistillationRecipe(**self.numbers, teacher=teacher, bounds=bounds, schedule=schedule)


class SmoothingDistillationTable(TaughtTable):
    """A teacher's soft labels at a moderate temperature, and the hard ones."""

    name: Literal["smoothing-distillation"]
    temperature: Positive = 4.0
    hard_weight: Annotated[float, Field(ge=0, le=1)] = 0.5

    def taught(self, schedule: Schedule, bounds: Bounds, teacher: Teacher) -> Recipe:
        """Return the recipe."""
        from fgmf.training import DistillationRecipe

        return DistillationRecipe(
            **self.numbers, scaled=True, teacher=teacher, bounds=bounds, schedule=schedule
        )


class GuidedTable(BudgetTable, TaughtTable):
    """A robust teacher's features, contrasted with those of attacked images."""

    name: Literal["guided-distillation"]
    weight: Positive = 0.5
    temperature: Positive = 0.2
    steps: Count = 3
    width: Count = 64

    def taught(self, schedule: Schedule, bounds: Bounds, teacher: Teacher) -> Recipe:
        """Return the recipe."""
        from fgmf.training import GuidedRecipe

        return GuidedRecipe(**self.numbers, teacher=teacher, bounds=bounds, schedule=schedule)
