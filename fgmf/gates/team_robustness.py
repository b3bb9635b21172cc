"""Gate kind `team-robustness`: what a team of agents withstands, as a whole and member by member.

In short::

    end to end      worst case per image over attacks through the decision rule; a rule without a
                    gradient is attacked through stand-ins for it, and judged by itself
    agent by agent  each agent attacked alone: what is left of it, and what the attack does to the
                    others (transfer) and to the team
    at fault        agents that lie, are missing or late, messages that lie: an image counts if no
                    choice of so many agents breaks it; agents that lie while others are attacked
    outcome         exact interval against each threshold
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from fgmf.attacks.catalogue_outside import KNOWN, TRANSFER
from fgmf.errors import InvalidGateFile
from fgmf.gates.problems import Misfit, misfits
from fgmf.gates.robustness import AttackSpecification, Count, RobustnessGate, SuiteName
from fgmf.gates.specification import Confidence, GateSpecification, RunContext, Share
from fgmf.threat import ThreatModel, parse_epsilon
from fgmf.types import Bounds, Norm, Population

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.types import Images, Labels
    from fgmf.verdict import Verdict

_FAULTS: Final = ("compromised", "missing", "stale", "messages")
UNDER_ATTACK: Final = "compromised_robust"
"""Name of the fault of agents that lie while others are attacked."""
_STAND_INS: Final = ("mean-log-probability", "soft-votes", "median")
STAND_IN_STEPS: Final = 100
"""Of each attack that follows a stand-in for a rule without a gradient to the end."""
STAND_IN_EXAMPLES: Final = "attacks-on-mean-log-probability"
"""Under this name the rule is shown what the gate's attacks found on the first stand-in."""


class TeamRobustnessGate(GateSpecification):
    """Robust accuracy of a team end to end, and with agents attacked, lying, missing or late.

    ``TeamRobustnessGate(norm="linf", epsilon=8 / 255, min_robust_accuracy=0.4, compromised=1,
    min_compromised_accuracy=0.5).check(classifier, images, labels)`` returns a
    :class:`~fgmf.verdict.Verdict`.
    """

    kind: Literal["team-robustness"] = "team-robustness"
    norm: Norm
    epsilon: float | str
    """Budget in the units of the classifier's bounds; a number or text like "8/255"."""
    min_robust_accuracy: Share
    """On the team, attacked end to end and through each of its agents."""
    min_clean_accuracy: Share | None = None
    min_agent_robust_accuracy: Share | None = None
    """On the agent that has least, each attacked alone."""
    max_transfer: Share | None = None
    """Of the images that an agent (or the team) gets right, the largest share that an attack on
    another agent alone breaks."""
    compromised: Count | None = None
    """Agents that may say anything at all."""
    min_compromised_accuracy: Share | None = None
    min_compromised_robust_accuracy: Share | None = None
    """With these agents lying, and the input of the others attacked."""
    missing: Count | None = None
    """Agents that may be missing."""
    min_missing_accuracy: Share | None = None
    stale: Count | None = None
    """Agents that may say what they said of another image."""
    min_stale_accuracy: Share | None = None
    messages: Count | None = None
    """Senders that may send any message."""
    min_messages_accuracy: Share | None = None
    attacks: tuple[AttackSpecification, ...] = ()
    """Attacks on the whole team, in order; none means those of the suite."""
    suite: SuiteName | None = None
    """Suite of attacks; without one and without attacks, the default suite."""
    restarts: Count = 1
    agent_steps: Count = 50
    """Steps of the attack on each agent alone."""
    images: Count | Literal["all"] = 500
    """Size of the seeded stratified sample."""
    confidence: Confidence = 0.95
    population: Population = "distribution"
    """Whether the verdict is about the distribution behind the images or exactly this set."""
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """Time budget; when it is spent the outcome is INCONCLUSIVE, never PASS."""

    @field_validator("epsilon")
    @classmethod
    def _epsilon(cls, value: float | str) -> float | str:
        parse_epsilon(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> TeamRobustnessGate:
        problems = []
        for fault in _FAULTS:
            threshold = f"min_{fault}_accuracy"
            asked, held = getattr(self, fault), getattr(self, threshold)
            if fault == "compromised" and held is None:  # either threshold will do, or both
                held = self.min_compromised_robust_accuracy
                threshold = threshold if held is None else "min_compromised_robust_accuracy"
            if (asked is None) != (held is None):
                key = fault if asked is None else threshold
                other = threshold if asked is None else fault
                problems.append(Misfit(key, f"a value together with {other}, and only then", None))
        try:
            self.attacked_gate()
        except InvalidGateFile as error:
            problems += [Misfit(p.location, p.expected, p.got) for p in error.problems]
        if problems:
            raise misfits(type(self).__name__, problems)
        return self

    def faults(self) -> tuple[tuple[str, int, float], ...]:
        """Return what may be at fault, how many, and the lowest accepted accuracy."""
        found = []
        for fault in _FAULTS:
            count, threshold = getattr(self, fault), getattr(self, f"min_{fault}_accuracy")
            if count is not None and threshold is not None:
                found.append((fault, int(count), float(threshold)))
        least = self.min_compromised_robust_accuracy
        if self.compromised is not None and least is not None:
            found.append((UNDER_ATTACK, int(self.compromised), float(least)))
        return tuple(found)

    def attacked_gate(self, *, through_stand_ins: bool = False) -> RobustnessGate:
        """Return the robustness gate that attacks the team end to end as this one does.

        Args:
            through_stand_ins: The rule has no gradient: its attacks are made on a stand-in for it,
                and what they find is shown to the rule; then all stand-ins are followed to the end.
        """
        attacks, suite = self.attacks, self.suite
        if through_stand_ins:
            shown = AttackSpecification.model_validate({"name": KNOWN, "path": STAND_IN_EXAMPLES})
            made = tuple(
                AttackSpecification.model_validate(
                    {"name": TRANSFER, "surrogate": name, "steps": STAND_IN_STEPS}
                )
                for name in _STAND_INS
            )
            attacks, suite = (shown, *made), None
        return RobustnessGate(
            norm=self.norm,
            epsilon=self.epsilon,
            min_robust_accuracy=self.min_robust_accuracy,
            min_clean_accuracy=self.min_clean_accuracy,
            attacks=attacks,
            suite=suite,
            restarts=self.restarts,
            images=self.images,
            confidence=self.confidence,
            population=self.population,
            waive=self.waive,
        )

    def threat_model(self, bounds: Bounds) -> ThreatModel:
        """Return the threat model of this gate for images within `bounds`."""
        return ThreatModel(norm=self.norm, epsilon=parse_epsilon(self.epsilon), bounds=bounds)

    def check(
        self,
        classifier: Classifier,
        images: Images,
        labels: Labels,
        *,
        context: RunContext | None = None,
    ) -> Verdict:
        """Attack a team, let agents fail, and judge what is left.

        Args:
            classifier: Around a `fgmf.agents.Team`, with its bounds and normalisation.
            images: (n, c, h, w) arrays or tensors within the classifier's bounds.
            labels: (n,) class indices.
            context: Run seed, progress, where failures are saved.

        Returns:
            A verdict. What keeps the gate from being measured ends in outcome ERROR.

        Cost: that of a robustness gate on the team, whose every pass is a pass of each agent; for
            each agent agent_steps + 2 forward and agent_steps backward passes of this one alone,
            and two of the team; two more of the team. Agents at fault cost no pass, but under
            attack: for each choice of liars about as much as an attack on the others, and for each
            agent two passes of the team.
        """
        from fgmf.gates.team_robustness_check import check_team_robustness

        return check_team_robustness(self, classifier, images, labels, context or RunContext())
