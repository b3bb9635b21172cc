"""Numbers of a recipe that move during the training: weights, steps, temperatures.

at progress t:  recipe(t) = make({name: ramp.at(t)});  loss = that of recipe(t)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fgmf.errors import InvalidInput
from fgmf.training.interface import (
    AdjustableObjective,
    KeepingRecipe,
    Recipe,
    SharedObjective,
    begin,
    follow,
    show,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

    from fgmf.scorpio import Ramp
    from fgmf.training.augmentation import Views
    from fgmf.training.interface import Objective
    from fgmf.training.schedule import Schedule
    from fgmf.types import Bounds, Images, Labels

Maker = Callable[[Mapping[str, float]], Recipe | KeepingRecipe]


@dataclass(frozen=True, kw_only=True)
class RampedRecipe:
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
    def schedule(self) -> Schedule:
        """The recipe's."""
        return self.ending.schedule

    @property
    def bounds(self) -> Bounds:
        """The recipe's."""
        return self.ending.bounds

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


class _Moving:
    """An objective whose recipe is set before every loss; keeps nothing of its own."""

    def __init__(self, ramped: RampedRecipe, objective: AdjustableObjective) -> None:
        self._ramped, self._objective = ramped, objective

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
        self._objective.recipe = self._ramped.at(progress)
        return self._objective.loss(model, images, labels, indices, progress=progress, draws=draws)

    def share(self, summed: Callable[[torch.Tensor], torch.Tensor], own: torch.Tensor) -> None:
        if isinstance(self._objective, SharedObjective):
            self._objective.share(summed, own)

    def see(self, views: Views | None) -> None:
        show(self._objective, views)

    def follow(self, *, further: bool) -> None:
        follow(self._objective, further=further)

    def state_dict(self) -> dict[str, Any]:
        return self._objective.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._objective.load_state_dict(state)
