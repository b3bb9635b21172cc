"""Gate kind `policy-return`: what a team still earns while its observations are attacked.

In short::

    environment = what the gate's factory makes
    findings    = preflight of each agent's actions       # any unwaived error: outcome ERROR
    measurement = every episode without an adversary and under each attack; worst case of each
    outcome     = interval of the mean return, valid for any distribution, against each threshold

It is about a model and no labelled images: the environment takes the place of ``[data]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, field_validator, model_validator

from fgmf.gates.problems import Misfit, misfits
from fgmf.gates.specification import Confidence, GateSpecification, RunContext, Share
from fgmf.policies.catalogue import DEFAULT_OBSERVATION_ATTACKS, ObservationAttackName
from fgmf.threat import ThreatModel, parse_epsilon

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.types import Bounds
    from fgmf.verdict import Verdict

_FACTORY: Final = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"


class PolicyReturnGate(GateSpecification):
    """The mean return of a team of policies, worst case per episode over observation attacks.

    ``PolicyReturnGate(environment="shop.world:make", epsilon=0.1, min_return=0.6).check(
    classifier)`` returns a :class:`~fgmf.verdict.Verdict`.
    """

    needs_images: ClassVar[bool] = False

    kind: Literal["policy-return"] = "policy-return"
    environment: Annotated[str, Field(pattern=_FACTORY)]
    """``package.module:function`` that returns an environment."""
    environment_arguments: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of that function."""
    norm: Literal["linf"] = "linf"
    """Of what an adversary may do to each observation."""
    epsilon: float | str
    """Budget in the units of the classifier's bounds; a number or text like "8/255"."""
    min_return: float
    """Lowest accepted mean return under attack, in the environment's own units."""
    min_clean_return: float | None = None
    """Likewise without an adversary."""
    min_success_rate: Share | None = None
    """Lowest accepted share of episodes that succeed under every attack."""
    observation_attacks: Annotated[tuple[ObservationAttackName, ...], Field(min_length=1)] = (
        DEFAULT_OBSERVATION_ATTACKS
    )
    """Attacks in order; an episode counts with the least of its returns."""
    steps: Annotated[int, Field(ge=1)] = 10
    """Gradient steps of an attack at each step of an episode."""
    restarts: Annotated[int, Field(ge=1)] = 1
    """Starts of each attack: the observation itself, then random points."""
    episodes: Annotated[int, Field(ge=1)] = 200
    """Episodes, with seeds that the gate's seed fixes."""
    confidence: Confidence = 0.95
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """Time budget; when it is spent the outcome is INCONCLUSIVE or FAIL, never PASS."""

    @field_validator("epsilon")
    @classmethod
    def _epsilon(cls, value: float | str) -> float | str:
        parse_epsilon(value)
        return value

    @model_validator(mode="after")
    def _distinct(self) -> PolicyReturnGate:
        attacks = self.observation_attacks
        if len(set(attacks)) < len(attacks):
            problem = Misfit("observation_attacks", "each entry once", list(attacks))
            raise misfits(type(self).__name__, [problem])
        return self

    def threat_model(self, bounds: Bounds) -> ThreatModel:
        """Return the threat model of each observation, for observations within `bounds`."""
        return ThreatModel(norm=self.norm, epsilon=parse_epsilon(self.epsilon), bounds=bounds)

    def check(self, classifier: Classifier, *, context: RunContext | None = None) -> Verdict:
        """Play episodes under attack and judge their return.

        Args:
            classifier: Around a team (`fgmf.agents.Team`), or a module that returns the action
                logits of one agent, or of all beside each other; its bounds are those of the
                observations.
            context: Run seed, progress.

        Returns:
            A verdict. What keeps the gate from being measured ends in outcome ERROR.

        Cost: for each attack and each step of an episode, (steps + 2) forward and steps backward
            passes, (actions + 1) times as many for ``worst-reachable-action``, which also plays
            what it finds on to the end.
        """
        from fgmf.gates.policy_return_check import check_policy_return

        return check_policy_return(self, classifier, context or RunContext())
