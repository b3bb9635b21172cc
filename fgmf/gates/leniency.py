"""Gates that nearly every model passes: what a reader of a green line should know.

A threshold that a constant model reaches and attacks of a few steps are no mistakes in how a model
is used; they are warnings, which stand beside the verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fgmf.preflight.policy import Observation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fgmf.attacks.plans import AttackPlan

_FEWEST_STEPS: Final = 10
"""Gradient steps on one image, restarts and targets counted, below which PGD is not trusted."""


def observe_leniency(
    *,
    threshold: float,
    class_sizes: Mapping[int, int],
    plans: Sequence[AttackPlan],
    gradient_available: bool,
) -> Iterator[Observation]:
    """Look for a threshold or for attacks that hardly any model fails.

    Args:
        threshold: On robust accuracy.
        class_sizes: Images of each class of the data.
        plans: The attacks of the gate.
        gradient_available: Whether attacks could use gradients.
    """
    images, largest = sum(class_sizes.values()), max(class_sizes.values(), default=0)
    if images and threshold * images <= largest:
        yield Observation(
            name="threshold-at-chance",
            severity="warning",
            message=f"a model that always answers with the most frequent class is robust on "
            f"{largest / images:.3g} of the images, and {threshold:g} is required",
            fix="ask for more than the share of the most frequent class",
            evidence={"threshold": threshold, "most_frequent_class": largest / images},
        )
    steps = sum(_gradient_steps(plan) for plan in plans)
    if gradient_available and steps < _FEWEST_STEPS:
        names = ", ".join(plan.name for plan in plans)
        yield Observation(
            name="attacks-weak",
            severity="warning",
            message=f"expected at least {_FEWEST_STEPS} gradient steps on each image, got {steps} "
            f"({names})",
            fix='leave `attacks` out, which takes suite = "standard"',
            evidence={"gradient_steps": steps},
        )


def _gradient_steps(plan: AttackPlan) -> int:
    if not plan.entry.needs_gradient:
        return 0
    steps, targets = plan.parameters.get("steps", 1), plan.parameters.get("targets", 1)
    return int(steps) * int(targets) * plan.restarts
