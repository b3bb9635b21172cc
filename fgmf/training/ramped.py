"""Numbers of a recipe that move during the training: weights, steps, temperatures.

at progress t:  recipe(t) = make({name: ramp.at(t)});  loss = that of recipe(t)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fgmf.errors import InvalidInput
from fgmf.training.around import AroundObjective, AroundRecipe
from fgmf.training.interface import AdjustableObjective, KeepingRecipe, Recipe, begin

if TYPE_CHECKING:
    import torch
    from torch import nn

    from fgmf.scorpio import Ramp
    from fgmf.training.interface import Objective
    from fgmf.types import Images, Labels

Maker = Callable[[Mapping[str, float]], Recipe | KeepingRecipe]


@dataclass(frozen=True, kw_only=True)
class RampedRecipe(AroundRecipe):
    """A recipe some of whose numbers follow a ramp.

    Attributes:
        make: Returns the recipe for given numbers; it differs in nothing else. Written out
            (`repr`) by the recipe for the numbers at the end.
        ramps: By the name of the number.

    Cost: that of the recipe at the end of the ramps.
    """

    make: Maker = field(repr=False)
    ramps: Mapping[str, Ramp]
    ending: Recipe | KeepingRecipe = field(init=False)

    def __post_init__(self) -> None:
        """Make the recipe at the end, which says what is wrong with the numbers there.

        Raises:
            InvalidInput: The recipe refuses a number.
        """
        object.__setattr__(self, "ending", self.at(1.0))

    @property
    def inner(self) -> Recipe | KeepingRecipe:
        """The recipe at the end."""
        return self.ending

    @property
    def passes(self) -> tuple[float, float]:
        """Forward and backward passes per image and epoch."""
        return self.ending.passes

    def at(self, progress: float) -> Recipe | KeepingRecipe:
        """Return the recipe at `progress`, from 0 to 1, through the training."""
        return self.make({name: ramp.at(progress) for name, ramp in self.ramps.items()})

    def begin(self, image_count: int, shape: tuple[int, ...]) -> Objective:
        """Return the objective, whose recipe moves.

        Raises:
            InvalidInput: It is one of a user's that has no recipe to be set.
        """
        objective = begin(self.ending, image_count, shape)
        if not isinstance(objective, AdjustableObjective):
            kind = type(self.ending).__name__
            raise InvalidInput(f"expected an objective with a `recipe` to set, got that of {kind}")
        return _Moving(self, objective)


class _Moving(AroundObjective):
    """An objective whose recipe is set before every loss; keeps nothing of its own."""

    def __init__(self, ramped: RampedRecipe, objective: AdjustableObjective) -> None:
        super().__init__(objective)
        self._ramped, self._adjusted = ramped, objective

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
        self._adjusted.recipe = self._ramped.at(progress)
        return self._adjusted.loss(model, images, labels, indices, progress=progress, draws=draws)
