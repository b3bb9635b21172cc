"""What lies between Foolbox's way to call an attack and ours: models, criteria, images, one class.

    attack(model, images, labels, epsilons=...)  ->  algorithm.run(logits, task)  ->  images

A class around an algorithm that knows one epsilon is all that those attacks need
(`foolbox_own`, `foolbox_focused`); smallest perturbations are in `foolbox_minimum_norm`.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from eagerpy.astensor import astensor_

from fgmf.attacks.criteria import Criterion
from fgmf.attacks.own.task import AttackTask, image_keys
from fgmf.errors import InvalidInput
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from foolbox.models.base import Model

    from fgmf.attacks.own.apgd import Apgd
    from fgmf.attacks.own.focused import FocusedMargin
    from fgmf.attacks.own.minimum_margin import MinimumMargin
    from fgmf.attacks.own.random_search import RandomSearch
    from fgmf.attacks.own.square import Square
    from fgmf.attacks.own.task import AttackOutcome
    from fgmf.types import Norm

with warnings.catch_warnings():
    # Foolbox imports names that SciPy deprecates: the user's "error" filter must not hit us.
    warnings.simplefilter("ignore")
    from foolbox.attacks.base import FixedEpsilonAttack
    from foolbox.criteria import Criterion as FoolboxCriterion
    from foolbox.criteria import Misclassification, TargetedMisclassification
    from foolbox.distances import LpDistance, l1, l2, linf

DISTANCES: dict[Norm, LpDistance] = {"linf": linf, "l2": l2, "l1": l1}


class FixedEpsilon(FixedEpsilonAttack):
    """A Foolbox attack around one of ours.

    Args:
        algorithm: The attack with its settings.
        seed: Fixes all draws.
        batch_size: Most lanes in one pass.
    """

    norm: ClassVar[Norm]

    def __init__(
        self,
        algorithm: Apgd | MinimumMargin | FocusedMargin | Square | RandomSearch,
        *,
        seed: int,
        batch_size: int,
    ) -> None:
        self._algorithm, self._seed, self._batch_size = algorithm, seed, batch_size

    def __repr__(self) -> str:
        """The norm's class, and the settings."""
        return f"{type(self).__name__}({self._algorithm!r}, seed={self._seed})"

    @property
    def distance(self) -> LpDistance:
        """Foolbox's distance of this norm."""
        return DISTANCES[self.norm]

    def measure(
        self,
        model: Model,
        inputs: Any,  # noqa: ANN401 - Foolbox takes tensors of several libraries
        criterion: Any,  # noqa: ANN401 - and labels in place of a criterion
        *,
        epsilon: float,
    ) -> AttackOutcome:
        """Attack, and return what was found with its cost.

        Args:
            model: A Foolbox model around PyTorch.
            inputs: (n, ...) within the model's bounds.
            criterion: Labels, Misclassification, or TargetedMisclassification.
            epsilon: Radius of the ball.

        Returns:
            Outcome per image.

        Raises:
            InvalidInput: Another framework, another criterion, or images outside the bounds.
        """
        task = task_of(inputs, criterion, threat_of(model, self.norm, epsilon), self._seed)
        return self._algorithm.run(logits_of(model), task, batch_size=self._batch_size)

    def run(  # type: ignore[override] # no pass-through of unknown arguments
        self,
        model: Model,
        inputs: Any,  # noqa: ANN401 - as in `measure`
        criterion: Any,  # noqa: ANN401 - likewise
        *,
        epsilon: float,
    ) -> Any:  # noqa: ANN401 - likewise
        """Return the adversarial images, as Foolbox asks for them."""
        images, restore_type = astensor_(inputs)
        outcome = self.measure(model, inputs, criterion, epsilon=epsilon)
        return restore_type(type(images)(outcome.adversarial))

    def repeat(self, times: int) -> FixedEpsilon:
        """The same attack with `times` as many restarts, each with draws of its own."""
        copy = type(self).__new__(type(self))
        algorithm = replace(self._algorithm, restarts=self._algorithm.restarts * times)
        FixedEpsilon.__init__(copy, algorithm, seed=self._seed, batch_size=self._batch_size)
        return copy


def logits_of(model: Model) -> Any:  # noqa: ANN401 - a function of torch tensors
    """Return the function that our attacks ask."""

    def logits(images: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = model(images)
        return answer

    return logits


def threat_of(model: Model, norm: Norm, epsilon: float) -> ThreatModel:
    """Return ball and box; the box is the model's."""
    lower, upper = model.bounds
    return ThreatModel(norm=norm, epsilon=epsilon, bounds=(float(lower), float(upper)))


def task_of(
    inputs: Any,  # noqa: ANN401 - a tensor of any of Foolbox's libraries
    criterion: Any,  # noqa: ANN401 - labels too
    threat: ThreatModel,
    seed: int,
) -> AttackTask:
    """Return what our attacks are given; the keys are digests of the images.

    Raises:
        InvalidInput: Images of another framework, or a criterion that ours do not know.
    """
    images = astensor_(inputs)[0].raw
    if not isinstance(images, torch.Tensor):
        raise InvalidInput(f"expected images as a torch tensor, got {type(images).__name__}")
    return AttackTask(
        images=images.detach(),
        criterion=_criterion(criterion),
        threat=threat,
        keys=image_keys(images),
        seed=seed,
    )


def _criterion(criterion: Any) -> Criterion:  # noqa: ANN401 - as above
    if isinstance(criterion, TargetedMisclassification):
        targets = criterion.target_classes.raw
        return Criterion(kind="targeted", labels=targets, targets=targets)
    if isinstance(criterion, Misclassification):
        return Criterion(kind="misclassification", labels=criterion.labels.raw)
    if isinstance(criterion, FoolboxCriterion):
        message = "expected labels, Misclassification or TargetedMisclassification, got "
        raise InvalidInput(message + type(criterion).__name__)
    return Criterion(kind="misclassification", labels=astensor_(criterion)[0].raw)
