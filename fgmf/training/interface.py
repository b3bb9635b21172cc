"""What the training loop asks of a recipe, and what it gets: an objective per training.

A recipe that keeps nothing between batches has a method `loss`; one that keeps something has
`begin`, which returns a new objective with what it keeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn

    from fgmf.training.augmentation import Views
    from fgmf.training.schedule import Schedule
    from fgmf.types import Bounds, Images, Labels


class Recipe(Protocol):
    """What the training loop needs to know; any object of this form will do."""

    @property
    def schedule(self) -> Schedule:
        """Length and speed."""

    @property
    def bounds(self) -> Bounds:
        """Range of the pixels."""

    @property
    def passes(self) -> tuple[float, float]:
        """Forward and backward passes per image and epoch."""

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        """Return the scalar to minimise on one batch.

        Args:
            model: In training mode.
            images: (n, c, h, w).
            labels: (n,) int64.
            progress: Through the training, from 0 to 1.
            draws: All randomness of the recipe, on the CPU.
        """


class Objective(Protocol):
    """What one training minimises, batch by batch; it may keep something between batches."""

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
        """Return the scalar to minimise on one batch.

        Args:
            model: In training mode.
            images: (n, c, h, w).
            labels: (n,) int64.
            indices: (n,) int64, on the CPU: places of the images in the training set.
            progress: Through the training, from 0 to 1.
            draws: All randomness of the recipe, on the CPU.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs, tensors and plain numbers; empty if nothing is kept."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""


@runtime_checkable
class AdjustableObjective(Objective, Protocol):
    """An objective whose recipe can be set between two losses, for numbers that move."""

    recipe: Any
    """What the next loss is computed by; of the same class as before."""


@runtime_checkable
class SharedObjective(Objective, Protocol):
    """An objective that keeps something for each image, which other processes need too."""

    def share(self, summed: Callable[[torch.Tensor], torch.Tensor], own: torch.Tensor) -> None:
        """Take what the others keep, after each epoch.

        Args:
            summed: Sums a tensor over the processes.
            own: (n,) int64: places of the images that this process saw since the last time.
        """


@runtime_checkable
class SeeingObjective(Objective, Protocol):
    """An objective that keeps something for each pixel, and so must know how images are moved."""

    def see(self, views: Views | None) -> None:
        """Take the views through which the images of the next loss are seen; None: as they are."""


@runtime_checkable
class CountingObjective(Objective, Protocol):
    """An objective that does something every few updates, and so must know where one begins."""

    def follow(self, *, further: bool) -> None:
        """Take whether the next loss is of a further part of the batch of the one before."""


class UpdateCount:
    """Numbers of the updates that losses are of, where a batch may come in parts.

    Attributes:
        made: Updates so far; what a checkpoint needs.
        further: The next loss is of a further part of the same batch.
    """

    def __init__(self) -> None:
        self.made, self.further = 0, False

    def take(self) -> int:
        """Return the number, from 0, of the update that this loss is of."""
        number = self.made - self.further
        self.made = number + 1
        return number


@runtime_checkable
class KeepingRecipe(Protocol):
    """A recipe whose objective keeps something between batches: stored perturbations, a count."""

    @property
    def schedule(self) -> Schedule:
        """Length and speed."""

    @property
    def bounds(self) -> Bounds:
        """Range of the pixels."""

    @property
    def passes(self) -> tuple[float, float]:
        """Forward and backward passes per image and epoch."""

    def begin(self, image_count: int, shape: tuple[int, ...]) -> Objective:
        """Return a new objective for a training set of so many images of a shape (c, h, w)."""


def begin(recipe: Recipe | KeepingRecipe, image_count: int, shape: tuple[int, ...]) -> Objective:
    """Return the objective of one training by a recipe of either form."""
    if isinstance(recipe, KeepingRecipe):
        return recipe.begin(image_count, shape)
    return _Forgetful(recipe)


def follow(objective: Objective, *, further: bool) -> None:
    """Tell an objective that counts updates whether the next loss goes on with the last batch."""
    if isinstance(objective, CountingObjective):
        objective.follow(further=further)


def show(objective: Objective, views: Views | None) -> None:
    """Tell an objective through which views it sees the images of the next loss.

    Raises:
        InvalidInput: Images are moved, and it keeps something for each as it is.
    """
    if isinstance(objective, SeeingObjective):
        objective.see(views)
    elif views is not None and isinstance(objective, SharedObjective):
        raise InvalidInput(
            "expected no augmentation, or an objective with a method `see`, as "
            f"{type(objective).__name__} keeps something for each image"
        )


class _Forgetful:
    """The objective of a recipe that keeps nothing."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        indices: torch.Tensor,  # noqa: ARG002 - of the interface
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        return self.recipe.loss(model, images, labels, progress=progress, draws=draws)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            raise InvalidInput(f"expected no state of this recipe, got {sorted(state)}")
