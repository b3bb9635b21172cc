"""What recipes around other recipes have in common: they hand on what is the inner one's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fgmf.training.interface import SharedObjective, follow, show

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from fgmf.training.augmentation import Views
    from fgmf.training.interface import KeepingRecipe, Objective, Recipe
    from fgmf.training.schedule import Schedule
    from fgmf.types import Bounds


class AroundRecipe:
    """Base of a recipe with another one inside."""

    @property
    def inner(self) -> Recipe | KeepingRecipe:
        """What schedule and bounds are those of: the attribute `recipe`."""
        found: Recipe | KeepingRecipe = self.recipe  # type: ignore[attr-defined]  # a field
        return found

    @property
    def schedule(self) -> Schedule:
        """The inner recipe's."""
        return self.inner.schedule

    @property
    def bounds(self) -> Bounds:
        """The inner recipe's."""
        return self.inner.bounds


class AroundObjective:
    """Base of an objective with another one inside, which shares, sees and follows the same.

    Args:
        objective: The inner one.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def share(self, summed: Callable[[torch.Tensor], torch.Tensor], own: torch.Tensor) -> None:
        """Hand on what the others keep."""
        if isinstance(self._objective, SharedObjective):
            self._objective.share(summed, own)

    def see(self, views: Views | None) -> None:
        """Hand on the views, or what is refused of them."""
        show(self._objective, views)

    def follow(self, *, further: bool) -> None:
        """Hand on whether a batch goes on."""
        follow(self._objective, further=further)

    def state_dict(self) -> dict[str, Any]:
        """Return the inner state; nothing else is kept."""
        return self._objective.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hand on what :meth:`state_dict` gave."""
        self._objective.load_state_dict(state)
