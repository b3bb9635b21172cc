"""What both optimizers that know the Hessian's diagonal share: estimates, and the frame of a step.

every `every` steps, from a loss of its own (the caller's):
    z = +-1 at random;  D = z * (H z)                                  Hutchinson: E[D] = diag H
    finite, and its loss?  the average takes D, parameter by parameter
    otherwise              D is left out and counted; the first time, a warning
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.curvature import PassCount
    from fgmf.scorpio.hutchinson import Hutchinson


class CurvatureOptimizer(torch.optim.Optimizer, ABC):
    """An optimizer that averages Hutchinson estimates of the Hessian's diagonal.

        if optimizer.due():
            optimizer.update_curvature(lambda: loss_of(model, images, labels))
        loss.backward()
        optimizer.step()

    :class:`CurvatureAware` stands alone, :class:`CurvatureWrapped` in front of another optimizer.

    Cost: an estimate takes 1 forward and 2 backward passes (secant: 2 and 2); a step none.
    Randomness: (seed, number of the estimate) fixes the signs.
    """

    _told, _told_of_skipping = False, False

    @abstractmethod
    def due(self) -> bool:
        """Return whether an estimate is wanted before the next step."""

    def update_curvature(
        self,
        loss_of: Callable[[], torch.Tensor],
        combined: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> PassCount:
        """Take one more estimate of the diagonal into the average.

        Args:
            loss_of: Computes the loss anew from the parameters as they are, unscaled.
            combined: Makes one estimate of those of several processes, each of its own images.

        Returns:
            Passes spent. Nothing but the average changes: no `.grad`, no parameter. What is not
            finite, the loss, its gradient or the estimate, leaves the average as it is, is
            counted, and warns, once.

        Raises:
            GradientUnavailable: Mode ``exact`` on a compiled model: use mode ``secant``.
            InvalidInput: A loss that is not one number.
        """
        placed = [
            (p, group) for group in self.param_groups for p in group["params"] if p.requires_grad
        ]
        estimating, number = self._estimating()
        estimate, spent = estimating.estimate(loss_of, [p for p, _ in placed], number)
        estimate = estimate if combined is None else combined(estimate)
        # Averages of what is within a quarter of the largest number never overflow to NaN.
        usable = bool((estimate.abs() <= torch.finfo(estimate.dtype).max / 4).all())
        self._count_estimate(skipped=not usable)
        if not usable and not self._told_of_skipping:
            self._told_of_skipping = True
            warnings.warn(
                "an estimate of the curvature is left out: its loss, gradient or product is not "
                "finite; more of them are counted in skipped_estimates",
                stacklevel=2,
            )
        if usable:
            pieces = estimate.split([p.numel() for p, _ in placed])
            for (parameter, group), piece in zip(placed, pieces, strict=True):
                self._average(parameter, piece.view_as(parameter), group)
        return spent

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # noqa: ANN401 - what the closure returns
        """Make one step from the gradients in `.grad`.

        Args:
            closure: Computes the loss and its gradients anew; called first, if given.

        Returns:
            What the closure returned. A step before any estimate warns, once.
        """
        if not self._told and self._estimating()[1] == 0:
            self._told = True
            message = "a step without any estimate of the curvature: call update_curvature"
            warnings.warn(message, stacklevel=2)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._move_all()
        return loss

    @abstractmethod
    def _estimating(self) -> tuple[Hutchinson, int]:
        """How the next estimate is made, and its number."""

    @abstractmethod
    def _count_estimate(self, *, skipped: bool) -> None:
        """One more was made; `skipped` where it was not finite."""

    @abstractmethod
    def _average(
        self, parameter: torch.Tensor, estimate: torch.Tensor, group: dict[str, Any]
    ) -> None:
        """Mix an estimate, of the parameter's shape, into its average."""

    @abstractmethod
    def _move_all(self) -> None:
        """Move every parameter that has a gradient, and count the step."""
