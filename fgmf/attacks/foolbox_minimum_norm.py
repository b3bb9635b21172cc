"""Our minimum-norm attack for Foolbox users: LinfMinimumNorm, L2MinimumNorm, L1MinimumNorm.

Called like Foolbox's own minimisation attacks; `foolbox_own` offers the same names.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar

from eagerpy.astensor import astensor_

from fgmf.attacks.foolbox_calls import DISTANCES, logits_of, task_of, threat_of
from fgmf.attacks.own.fmn import MinimumNorm, MinimumNormOutcome

if TYPE_CHECKING:
    from foolbox.distances import LpDistance
    from foolbox.models.base import Model

    from fgmf.types import Norm

with warnings.catch_warnings():
    # Foolbox imports names that SciPy deprecates: the user's "error" filter must not hit us.
    warnings.simplefilter("ignore")
    from foolbox.attacks.base import MinimizationAttack


class _MinimumNorm(MinimizationAttack):
    """The minimum-norm attack.

    Args:
        steps: Iterations.
        targets: Classes that are aimed at, of the nearest linearised boundaries.
        batch_size: Most lanes in one pass.
    """

    norm: ClassVar[Norm]

    def __init__(self, *, steps: int = 60, targets: int = 2, batch_size: int = 128) -> None:
        self._algorithm = MinimumNorm(steps=steps, targets=targets)
        self._batch_size = batch_size

    def __repr__(self) -> str:
        """The norm's class, and the settings."""
        return f"{type(self).__name__}({self._algorithm!r})"

    @property
    def distance(self) -> LpDistance:
        """Foolbox's distance of this norm."""
        return DISTANCES[self.norm]

    def measure(self, model: Model, inputs: Any, criterion: Any) -> MinimumNormOutcome:  # noqa: ANN401 - Foolbox takes tensors of several libraries
        """Attack, and return radius and cost per image.

        Args:
            model: A Foolbox model around PyTorch.
            inputs: (n, ...) within the model's bounds.
            criterion: Labels, Misclassification, or TargetedMisclassification.

        Returns:
            Outcome per image.

        Raises:
            InvalidInput: Another framework, another criterion, or images outside the bounds.
        """
        task = task_of(inputs, criterion, threat_of(model, self.norm, 0.0), 0)
        return self._algorithm.run(logits_of(model), task, batch_size=self._batch_size)

    def run(  # type: ignore[override] # no pass-through of unknown arguments
        self,
        model: Model,
        inputs: Any,  # noqa: ANN401 - as in `measure`
        criterion: Any,  # noqa: ANN401 - likewise
        *,
        early_stop: float | None = None,
    ) -> Any:  # noqa: ANN401 - likewise
        """Return the nearest adversarial images, as Foolbox asks for them.

        `early_stop` is not used: an image is not done with at the first success.
        """
        del early_stop
        images, restore_type = astensor_(inputs)
        outcome = self.measure(model, inputs, criterion)
        return restore_type(type(images)(outcome.adversarial))


class LinfMinimumNorm(_MinimumNorm):
    """Smallest Linf perturbation (`fgmf.attacks.own.fmn`)."""

    norm = "linf"


class L2MinimumNorm(_MinimumNorm):
    """Smallest L2 perturbation (`fgmf.attacks.own.fmn`)."""

    norm = "l2"


class L1MinimumNorm(_MinimumNorm):
    """Smallest L1 perturbation (`fgmf.attacks.own.fmn`)."""

    norm = "l1"
