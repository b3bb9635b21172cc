"""What the tables of all defences share."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, field_validator

from fgmf.gatefile.tables import Table
from fgmf.threat import parse_epsilon

if TYPE_CHECKING:
    from fgmf.training import KeepingRecipe, Recipe, Schedule, Teacher
    from fgmf.types import Bounds

Warmth = Annotated[float, Field(ge=0, lt=1)]


class DefenceTable(Table):
    """What all defences share.

    Attributes:
        recipe: Name of the recipe in `fgmf.training`; its attributes are the keys of the table.
    """

    recipe: ClassVar[str]
    name: str

    @property
    def budget(self) -> float | None:
        """The epsilon that it trains for, or None."""
        value = getattr(self, "epsilon", None)
        return None if value is None else parse_epsilon(value)

    @property
    def numbers(self) -> dict[str, Any]:
        """Its keys and values but for the name, with the budget as a number."""
        values = self.model_dump(exclude={"name"})
        return values if self.budget is None else {**values, "epsilon": self.budget}

    def build(
        self, schedule: Schedule, bounds: Bounds, teacher: Teacher | None = None
    ) -> Recipe | KeepingRecipe:
        """Return the recipe; `teacher` is for those that learn from one, and for no other."""
        numbers = self.numbers if teacher is None else {**self.numbers, "teacher": teacher}
        made: Recipe = getattr(import_module("fgmf.training"), self.recipe)(
            **numbers, bounds=bounds, schedule=schedule
        )
        return made


class BudgetTable(DefenceTable):
    """A defence within a budget in Linf."""

    epsilon: float | str
    """Budget in the units of the bounds, as a number or a fraction such as "8/255"."""
    warm_up: Warmth = 0.2
    """Share of the training over which the budget grows from 0."""

    @field_validator("epsilon")
    @classmethod
    def _epsilon(cls, value: float | str) -> float | str:
        if parse_epsilon(value) == 0:
            raise ValueError("a budget > 0")
        return value

    @property
    def _epsilon_number(self) -> float:
        return parse_epsilon(self.epsilon)


class TaughtTable(DefenceTable):
    """A defence that learns from another model: the file needs a table ``[teacher]``."""
