"""Our own attacks for Foolbox users: called as ``attack(model, images, labels, epsilons=...)``.

    LinfAPGD, L2APGD, L1APGD                                      fixed epsilon
    LinfMinimumMargin, L2MinimumMargin, L1MinimumMargin
    LinfSquare, L2Square
    LinfRandomSearch, L2RandomSearch, L1RandomSearch
    LinfMinimumNorm, L2MinimumNorm, L1MinimumNorm                 smallest perturbation

The algorithms are in `fgmf.attacks.own`; the focused attack is in `foolbox_focused`. These take a
seed, draw per image rather than per batch (the keys are digests of the images), and count passes:
`measure` returns the whole outcome. ``repeat`` adds restarts with draws of their own.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from eagerpy.astensor import astensor_

from fgmf.attacks.criteria import Criterion
from fgmf.attacks.own.apgd import Apgd
from fgmf.attacks.own.fmn import MinimumNorm, MinimumNormOutcome
from fgmf.attacks.own.minimum_margin import MinimumMargin
from fgmf.attacks.own.random_search import RandomSearch
from fgmf.attacks.own.square import Square
from fgmf.attacks.own.task import AttackOutcome, AttackTask, image_keys
from fgmf.errors import InvalidInput
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from foolbox.models.base import Model

    from fgmf.attacks.own.focused import FocusedMargin
    from fgmf.attacks.own.losses import LossName
    from fgmf.types import Norm

with warnings.catch_warnings():
    # Foolbox imports names that SciPy deprecates: the user's "error" filter must not hit us.
    warnings.simplefilter("ignore")
    from foolbox.attacks.base import FixedEpsilonAttack, MinimizationAttack
    from foolbox.criteria import Criterion as FoolboxCriterion
    from foolbox.criteria import Misclassification, TargetedMisclassification
    from foolbox.distances import LpDistance, l1, l2, linf

_DISTANCES: dict[Norm, LpDistance] = {"linf": linf, "l2": l2, "l1": l1}


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
        return _DISTANCES[self.norm]

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
        task = _task(inputs, criterion, _threat(model, self.norm, epsilon), self._seed)
        return self._algorithm.run(_logits(model), task, batch_size=self._batch_size)

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


class _Apgd(FixedEpsilon):
    """APGD.

    Args:
        loss: ``ce``, ``dlr`` or ``margin``.
        steps: Iterations.
        restarts: Random starts.
        targets: Wrong classes aimed at in turn; 0 aims at none.
        seed: Fixes all draws.
        batch_size: Most lanes in one pass.
    """

    def __init__(
        self,
        *,
        loss: LossName = "ce",
        steps: int = 100,
        restarts: int = 1,
        targets: int = 0,
        seed: int = 0,
        batch_size: int = 128,
    ) -> None:
        algorithm = Apgd(loss=loss, steps=steps, restarts=restarts, targets=targets)
        super().__init__(algorithm, seed=seed, batch_size=batch_size)


class LinfAPGD(_Apgd):
    """APGD in Linf (`fgmf.attacks.own.apgd`)."""

    norm = "linf"


class L2APGD(_Apgd):
    """APGD in L2 (`fgmf.attacks.own.apgd`)."""

    norm = "l2"


class L1APGD(_Apgd):
    """APGD in L1 (`fgmf.attacks.own.apgd_l1`)."""

    norm = "l1"


class _MinimumMargin(FixedEpsilon):
    """The minimum-margin attack.

    Args:
        targets: Wrong classes aimed at in turn.
        steps: Iterations on each.
        restarts: Rounds over the classes.
        seed: Fixes all draws.
        batch_size: Most lanes in one pass.
    """

    def __init__(
        self,
        *,
        targets: int = 3,
        steps: int = 20,
        restarts: int = 1,
        seed: int = 0,
        batch_size: int = 128,
    ) -> None:
        algorithm = MinimumMargin(targets=targets, steps=steps, restarts=restarts)
        super().__init__(algorithm, seed=seed, batch_size=batch_size)


class LinfMinimumMargin(_MinimumMargin):
    """The minimum-margin attack in Linf (`fgmf.attacks.own.minimum_margin`)."""

    norm = "linf"


class L2MinimumMargin(_MinimumMargin):
    """The minimum-margin attack in L2 (`fgmf.attacks.own.minimum_margin`)."""

    norm = "l2"


class L1MinimumMargin(_MinimumMargin):
    """The minimum-margin attack in L1 (`fgmf.attacks.own.minimum_margin`)."""

    norm = "l1"


class _Square(FixedEpsilon):
    """The Square attack.

    Args:
        queries: Most forwards per image and restart.
        restarts: Rounds with draws of their own.
        p_init: Share of the image that the first window covers.
        seed: Fixes all draws.
        batch_size: Most images in one pass.
    """

    def __init__(
        self,
        *,
        queries: int = 1000,
        restarts: int = 1,
        p_init: float = 0.8,
        seed: int = 0,
        batch_size: int = 128,
    ) -> None:
        algorithm = Square(queries=queries, restarts=restarts, p_init=p_init)
        super().__init__(algorithm, seed=seed, batch_size=batch_size)


class LinfSquare(_Square):
    """Square in Linf (`fgmf.attacks.own.square`)."""

    norm = "linf"


class L2Square(_Square):
    """Square in L2 (`fgmf.attacks.own.square`)."""

    norm = "l2"


class _RandomSearch(FixedEpsilon):
    """Random search.

    Args:
        queries: Points per image and restart.
        restarts: Rounds with draws of their own.
        seed: Fixes all draws.
        batch_size: Most images in one pass.
    """

    def __init__(
        self, *, queries: int = 100, restarts: int = 1, seed: int = 0, batch_size: int = 128
    ) -> None:
        algorithm = RandomSearch(queries=queries, restarts=restarts)
        super().__init__(algorithm, seed=seed, batch_size=batch_size)


class LinfRandomSearch(_RandomSearch):
    """Random search in Linf (`fgmf.attacks.own.random_search`)."""

    norm = "linf"


class L2RandomSearch(_RandomSearch):
    """Random search in L2 (`fgmf.attacks.own.random_search`)."""

    norm = "l2"


class L1RandomSearch(_RandomSearch):
    """Random search in L1 (`fgmf.attacks.own.random_search`)."""

    norm = "l1"


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
        return _DISTANCES[self.norm]

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
        task = _task(inputs, criterion, _threat(model, self.norm, 0.0), 0)
        return self._algorithm.run(_logits(model), task, batch_size=self._batch_size)

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


def _logits(model: Model) -> Any:  # noqa: ANN401 - a function of torch tensors
    def logits(images: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = model(images)
        return answer

    return logits


def _threat(model: Model, norm: Norm, epsilon: float) -> ThreatModel:
    lower, upper = model.bounds
    return ThreatModel(norm=norm, epsilon=epsilon, bounds=(float(lower), float(upper)))


def _task(
    inputs: Any,  # noqa: ANN401 - a tensor of any of Foolbox's libraries
    criterion: Any,  # noqa: ANN401 - labels too
    threat: ThreatModel,
    seed: int,
) -> AttackTask:
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
