"""The repository's own suite, run and judged as its robustness gate would.

    for each attack of the suite, on the images that are left:
        the worst share of draws, and the example that it is of

Cost: the attacks' own passes, and one to judge each candidate (random models: 16).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fgmf.attacks.building import build_attack
from fgmf.attacks.criteria import Criterion
from fgmf.attacks.interface import AttackBatch
from fgmf.gradient_masking.values import NaiveOutcome

if TYPE_CHECKING:
    import torch

    from fgmf.gradient_masking.examined import Examined
    from fgmf.gradient_masking.values import MaskingPlan
    from fgmf.types import Images


@dataclass(frozen=True, kw_only=True, eq=False)
class SuiteRun:
    """What a suite made of some images.

    Attributes:
        right: (m,) share of draws on which each is right at its worst example.
        examples: (m, ...) these; the clean image where nothing is worse.
        failure: Why an attack could not be carried out on an image; empty if all could.
    """

    right: torch.Tensor
    examples: Images
    failure: str


def run_suite(examined: Examined, clean: torch.Tensor, plan: MaskingPlan) -> SuiteRun:
    """Run every attack of a plan's suite on the images that are left.

    Args:
        examined: Model and images.
        clean: (m,) share of draws on which each is right without an attack.
        plan: Names the attacks, those for random models apart.

    Raises:
        BudgetSpent: The deadline has passed.
    """
    right, examples, failure = clean.clone(), examined.images.clone(), ""
    for named in plan.random_suite if examined.traits.random else plan.suite:
        left = (right > 0.05).nonzero().flatten()
        if not len(left):
            break
        attack = build_attack(
            named,
            examined.classifier,
            plan.threat,
            seed=plan.seed,
            deadline=plan.deadline,
        )
        some = examined.of(left)
        batch = AttackBatch(
            images=some.images,
            criterion=Criterion(kind="misclassification", labels=some.labels),
            keys=some.keys,
        )
        result = attack.run(batch, restart=0)
        failure = failure or next(iter(result.failures.values()), "")
        found = as_found(some, result.adversarial)
        lower = found < right[left]
        right[left[lower]] = found[lower]
        examples[left[lower]] = result.adversarial[lower]
    return SuiteRun(right=right, examples=examples, failure=failure)


def suite_outcome(
    examined: Examined, rows: torch.Tensor, clean: torch.Tensor, plan: MaskingPlan
) -> NaiveOutcome:
    """Run a plan's suite on some of the images; see :func:`run_suite`.

    Args:
        examined: Model and all n images.
        rows: (m,) which of them.
        clean: (n,) share of draws on which each is right without an attack.
        plan: Names the attacks.
    """
    before = examined.passes
    found = run_suite(examined.of(rows), clean[rows], plan)
    return NaiveOutcome(
        name=f"suite {plan.suite_name}".strip(),
        rows=rows,
        right=found.right,
        examples=found.examples,
        unavailable=found.failure,
        passes=examined.passes - before,
    )


def as_found(part: Examined, points: Images) -> torch.Tensor:
    """(m,) right, as a naive evaluation sees it: in batches, after whatever was asked before."""
    plain = replace(part, traits=replace(part.traits, stateful=False, batch_dependent=False))
    return plain.right(points)
