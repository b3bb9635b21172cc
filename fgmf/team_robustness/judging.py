"""Holding what is left of a team against thresholds: shares with exact intervals.

The worst of several (agents, pairs of agents) is judged at a confidence that is corrected for their
number (Bonferroni): FAIL if one fails, PASS if all pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from fgmf.statistics import (
    binomial_interval,
    compare_to_limit,
    hypergeometric_interval,
    judge_share,
)
from fgmf.verdict import Condition, Interval, Outcome

if TYPE_CHECKING:
    from fgmf.team_robustness.transferring import Transfers
    from fgmf.types import Direction, ImageFlags

THE_TEAM: Final = "the team"
"""Beside names of agents; none of them has a space."""
_ORDER = {Outcome.FAIL: 0, Outcome.INCONCLUSIVE: 1, Outcome.PASS: 2}


@dataclass(frozen=True, kw_only=True)
class Judge:
    """How shares of images are judged.

    Attributes:
        confidence: Of every interval.
        population_size: Images of the set that the verdict is about; None for a distribution.
        whole: Every image of that set was measured.
    """

    confidence: float
    population_size: int | None
    whole: bool = False

    def share(self, quantity: str, right: ImageFlags, threshold: float, subject: str) -> Condition:
        """Judge a share of images."""
        return judge_share(
            quantity,
            int(right.sum()),
            len(right),
            threshold=threshold,
            confidence=self.confidence,
            population_size=self.population_size,
            subject=subject,
        )

    def worst_agent(self, transfers: Transfers, threshold: float) -> Condition:
        """Judge the robust accuracy of the agent that has least, each attacked alone."""
        names = transfers.names
        strict = replace(self, confidence=1 - (1 - self.confidence) / len(names))
        found = [
            strict.share("agent_robust_accuracy", right, threshold, name)
            for name, right in zip(names, transfers.robust_alone, strict=True)
        ]
        return min(found, key=lambda c: (_ORDER[c.outcome], c.measured or 0.0))

    def worst_transfer(self, transfers: Transfers, threshold: float) -> Condition:
        """Judge the largest transfer from one agent to another, or to the team."""
        names = transfers.names
        pairs = [(i, j) for i in range(len(names)) for j in range(len(names) + 1) if i != j]
        strict = replace(self, confidence=1 - (1 - self.confidence) / len(pairs))
        found = [
            strict.rate(*transfers.counts(i, j), threshold, f"{names[i]} to {_name(names, j)}")
            for i, j in pairs
        ]
        return min(found, key=lambda c: (_ORDER[c.outcome], -(c.measured or 0.0)))

    def rate(self, broken: int, of: int, threshold: float, subject: str) -> Condition:
        """Judge how often something breaks: low is good."""
        if of == 0:  # nobody was right: no evidence of anything
            return unmeasured("transfer", threshold, self.confidence, "at-most", subject=subject)
        if self.population_size is None:
            interval = binomial_interval(broken, of, confidence=self.confidence)
        else:
            # How many of the whole set an agent gets right is known only where all were measured;
            # with at most all of them the interval is no shorter.
            size = of if self.whole else max(of, self.population_size)
            interval = hypergeometric_interval(
                broken, of, population=size, confidence=self.confidence
            )
        return Condition(
            quantity="transfer",
            measured=broken / of,
            interval=interval,
            threshold=threshold,
            outcome=compare_to_limit(interval, threshold, direction="at-most"),
            subject=subject,
            direction="at-most",
        )


def unmeasured(
    quantity: str,
    threshold: float,
    confidence: float,
    direction: Direction = "at-least",
    *,
    subject: str = "",
) -> Condition:
    """A threshold that nothing was measured for; never a PASS."""
    return Condition(
        quantity=quantity,
        measured=None,
        interval=Interval(lower=0.0, upper=1.0, confidence=confidence, method="not measured"),
        threshold=threshold,
        outcome=Outcome.INCONCLUSIVE,
        subject=subject,
        direction=direction,
    )


def _name(names: tuple[str, ...], at: int) -> str:
    return names[at] if at < len(names) else THE_TEAM
