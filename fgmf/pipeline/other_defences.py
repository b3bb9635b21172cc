"""Tables of the defences that look at gradients, saliency, softened labels or a teacher."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from fgmf.pipeline.defence_tables import BudgetTable, DefenceTable, TaughtTable, Warmth
from fgmf.pipeline.tables import BelowOne, Count, NotNegative, Positive


class CureTable(DefenceTable):
    """Gradients that change little along their sign."""

    recipe = "CureRecipe"
    name: Literal["cure"]
    weight: Positive = 4.0
    length: Positive = 1.5
    """L2 length of the step between the gradients, in the units of the bounds."""
    warm_up: Warmth = 0.2


class GradientPenaltyTable(DefenceTable):
    """Small gradients."""

    recipe = "GradientPenaltyRecipe"
    name: Literal["gradient-penalty"]
    weight: Positive = 10.0
    norm: Literal["l2-squared", "l1"] = "l2-squared"
    warm_up: Warmth = 0.2


class GradAlignTable(BudgetTable):
    """One step, with gradients kept alike within the budget."""

    recipe = "GradAlignRecipe"
    name: Literal["grad-align"]
    weight: Positive = 0.2
    step: Positive = 1.0


class LlrTable(BudgetTable):
    """A loss close to its tangent within the budget."""

    recipe = "LlrRecipe"
    name: Literal["llr"]
    weight: Positive = 4.0
    slope: NotNegative = 3.0
    steps: Count = 2


class SaliencyGuidedTable(DefenceTable):
    """Unimportant pixels do not matter."""

    recipe = "SaliencyGuidedRecipe"
    name: Literal["saliency-guided"]
    weight: Positive = 1.0
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5


class SmoothedTable(DefenceTable):
    """Softened labels, at a temperature."""

    recipe = "SmoothedRecipe"
    name: Literal["smoothed"]
    label_smoothing: BelowOne = 0.1
    temperature: Positive = 1.0


class DefensiveDistillationTable(TaughtTable):
    """A teacher's soft labels at a high temperature."""

    recipe = "DistillationRecipe"
    name: Literal["defensive-distillation"]
    temperature: Positive = 20.0


class SmoothingDistillationTable(TaughtTable):
    """A teacher's soft labels at a moderate temperature, and the hard ones."""

    recipe = "DistillationRecipe"
    name: Literal["smoothing-distillation"]
    temperature: Positive = 4.0
    hard_weight: Annotated[float, Field(ge=0, le=1)] = 0.5

    @property
    def numbers(self) -> dict[str, Any]:
        """Its keys and values; the soft part is scaled by the squared temperature."""
        return {**super().numbers, "scaled": True}


class GuidedTable(BudgetTable, TaughtTable):
    """A robust teacher's features, contrasted with those of attacked images."""

    recipe = "GuidedRecipe"
    name: Literal["guided-distillation"]
    weight: Positive = 0.5
    temperature: Positive = 0.2
    steps: Count = 3
    width: Count = 64
