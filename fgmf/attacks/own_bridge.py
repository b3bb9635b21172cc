"""Our own attacks, bound to a classifier: a list of images in, candidates out.

    the classifier's logits, with the deadline, averaged over draws (EOT) where asked
    the attack on all images at once, in batches that it refills itself
    what the model raised, and answers that are not finite -> failures of their images

The attack's own notion of success is not used: callers judge the candidates themselves.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import torch

from fgmf.attacks.interface import AttackBatch, AttackResult, reason_of
from fgmf.attacks.own.apgd import Apgd
from fgmf.attacks.own.fmn import MinimumNorm, MinimumNormOutcome
from fgmf.attacks.own.focused import FocusedMargin
from fgmf.attacks.own.minimum_margin import MinimumMargin
from fgmf.attacks.own.random_search import RandomSearch
from fgmf.attacks.own.square import Square
from fgmf.attacks.own.task import AttackOutcome, AttackTask
from fgmf.attacks.own.wrappers import ExpectedLogits
from fgmf.attacks.projection import project
from fgmf.errors import BudgetSpent, InvalidInput
from fgmf.seeding import derive_seed

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.attacks.own.task import LogitsFunction
    from fgmf.attacks.plans import AttackPlan
    from fgmf.classifier import Classifier
    from fgmf.threat import ThreatModel
    from fgmf.types import Images, Logits

_MOST_CONFIRMING = 20
_NOT_FINITE = "the model returned NaN or infinite logits or gradients during the attack"


class Algorithm(Protocol):
    """An attack of `fgmf.attacks.own`."""

    def run(
        self, logits: LogitsFunction, task: AttackTask, *, batch_size: int
    ) -> AttackOutcome | MinimumNormOutcome:
        """Attack every image of the task."""
        ...


def algorithm_of(plan: AttackPlan) -> Algorithm:
    """Return the attack of `fgmf.attacks.own` that a plan means, bound to nothing yet."""
    return _ALGORITHMS[plan.name](plan)


def averaging(logits: LogitsFunction, draws: int) -> ExpectedLogits:
    """The mean probabilities of a random model; what looks broken is confirmed by other draws.

    Args:
        logits: The model.
        draws: Of each answer, 2 or more. Four times as many confirm, but at most 20: those are
            as many as judge an image in the end.
    """
    confirming = max(draws, min(4 * draws, _MOST_CONFIRMING))
    return ExpectedLogits(logits, draws=draws, confirming=confirming, average="probabilities")


class OwnAttack:
    """An attack of our own, bound to a classifier, a threat model and a seed.

    Args:
        plan: Which attack, with which parameters and restarts.
        classifier: Must be inside its guard while attacked.
        threat: Ball and box.
        seed: The gate's seed; with the label, the restarts and image keys it fixes all draws.
        deadline: Value of ``time.monotonic()`` after which the attack stops.
    """

    def __init__(
        self,
        plan: AttackPlan,
        classifier: Classifier,
        threat: ThreatModel,
        *,
        seed: int,
        deadline: float | None = None,
    ) -> None:
        self.plan = plan
        self._classifier, self._threat, self._deadline = classifier, threat, deadline
        self._seed = derive_seed(seed, plan.label)
        self._draws = int(plan.parameters.get("draws", 1))
        self._algorithm = algorithm_of(plan)

    def run(self, batch: AttackBatch, *, restart: int) -> AttackResult:
        """Attack all images.

        Args:
            batch: n images.
            restart: Number of the call, for the draws; restarts are inside.

        Returns:
            Candidates, not yet judged; `complete` is False if time ran out.

        Raises:
            BudgetSpent: The deadline has passed before the first step.

        Cost: the attack's own passes, times `draws`.
        Randomness: fixed by seed, label, call and each image's key; not by the batch size.
        """
        if self._threat.epsilon == 0 or not batch.keys:
            return AttackResult(adversarial=batch.images.cpu())
        task = AttackTask(
            images=batch.images.cpu(),
            criterion=batch.criterion,
            threat=self._threat,
            keys=batch.keys,
            seed=self._seed if restart == 0 else derive_seed(self._seed, f"call {restart}"),
            clean_logits=batch.clean_logits,
            device=self._workplace(),
        )
        logits, size = self._logits, self._classifier.batch_size
        if self._draws > 1:
            averaged = averaging(self._logits, self._draws)
            # The graphs of all draws are alive at once.
            logits, size = averaged, max(1, size // self._draws)
        try:
            outcome = self._algorithm.run(logits, task, batch_size=size)
        except InvalidInput as error:  # the model is not what the attack needs, for any image
            failures = dict.fromkeys(range(len(batch.keys)), reason_of(error))
            return AttackResult(adversarial=task.images, failures=failures)
        return self._result(task.images, outcome)

    def _result(self, clean: Images, outcome: AttackOutcome | MinimumNormOutcome) -> AttackResult:
        failures = {at: reason_of(error) for at, error in sorted(outcome.failures.items())}
        for at in outcome.not_finite.nonzero().flatten().tolist():
            failures.setdefault(at, _NOT_FINITE)
        found = outcome.adversarial
        found = torch.where(found.isfinite(), found, clean)
        return AttackResult(
            adversarial=project(clean, found, self._threat),
            failures=failures,
            radii=outcome.radii if isinstance(outcome, MinimumNormOutcome) else None,
            complete=outcome.complete,
        )

    def _workplace(self) -> torch.device:
        """Where lanes live: with the model, unless float64 is unknown there."""
        device = self._classifier.device
        return torch.device("cpu") if device.type == "mps" else device

    def _logits(self, images: Images) -> Logits:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise BudgetSpent("expected the attack to end within the gate's max_seconds")
        return self._classifier.logits(images)


def _apgd(plan: AttackPlan) -> Apgd:
    given = plan.parameters
    losses = {"apgd-ce": "ce", "apgd-dlr": "dlr", "apgd-dlr-t": "dlr", "apgd-margin": "margin"}
    return Apgd(
        loss=losses[plan.name],  # type: ignore[arg-type] # all of them are names of losses
        steps=int(given["steps"]),
        restarts=plan.restarts,
        targets=int(given.get("targets", 0)),
        random_start=bool(given["random_start"]),
    )


def _transfer(plan: AttackPlan) -> Apgd:
    """On a surrogate: every lane to its end, for the point at which it is most wrong.

    One restart: each is shown to the gated model, not only the surrogate's best.
    """
    given = plan.parameters
    return Apgd(
        loss="margin",
        steps=int(given["steps"]),
        random_start=bool(given["random_start"]),
        leave_when_broken=False,
    )


def _minimum_margin(plan: AttackPlan) -> MinimumMargin:
    given = plan.parameters
    return MinimumMargin(
        targets=int(given["targets"]),
        steps=int(given["steps"]),
        restarts=plan.restarts,
        random_start=bool(given["random_start"]),
    )


def _focused_margin(plan: AttackPlan) -> FocusedMargin:
    given = plan.parameters
    return FocusedMargin(
        targets=int(given["targets"]),
        steps=int(given["steps"]),
        far=float(given["far"]),
        long_targets=int(given["long_targets"]),
        long_steps=int(given["long_steps"]),
        restarts=plan.restarts,
    )


def _minimum_norm(plan: AttackPlan) -> MinimumNorm:
    given = plan.parameters
    return MinimumNorm(
        steps=int(given["steps"]),
        targets=int(given["targets"]),
        candidates=int(given["candidates"]),
    )


def _square(plan: AttackPlan) -> Square:
    given = plan.parameters
    return Square(
        queries=int(given["queries"]), restarts=plan.restarts, p_init=float(given["p_init"])
    )


def _random_search(plan: AttackPlan) -> RandomSearch:
    return RandomSearch(queries=int(plan.parameters["queries"]), restarts=plan.restarts)


_ALGORITHMS: dict[str, Callable[[AttackPlan], Algorithm]] = {
    "apgd-ce": _apgd,
    "apgd-dlr": _apgd,
    "apgd-dlr-t": _apgd,
    "apgd-margin": _apgd,
    "minimum-margin": _minimum_margin,
    "focused-margin": _focused_margin,
    "minimum-norm": _minimum_norm,
    "square": _square,
    "random-search": _random_search,
    "transfer": _transfer,
}
