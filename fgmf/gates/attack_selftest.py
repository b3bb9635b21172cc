"""Gate kind `attack-selftest`: do the attacks of a robustness gate work on this very model?

In short::

    findings  = preflight(model, data)       # any unwaived error: outcome ERROR
    test      = attacks look for adversarial examples that exist by construction
    control   = attacks on logits times 100 and 1000, which decide the same
    certified = lower bound on robustness, where the network allows one
    outcome   = exact intervals against each threshold; ERROR if a certificate is contradicted
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fgmf.attacks.catalogue_outside import KNOWN, TRANSFER
from fgmf.errors import InvalidGateFile
from fgmf.gates.problems import Misfit, misfits
from fgmf.gates.robustness import AttackSpecification, RobustnessGate, SuiteName
from fgmf.gates.specification import Confidence, GateSpecification, RunContext, Share
from fgmf.threat import ThreatModel, parse_epsilon
from fgmf.types import Bounds, Norm

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.types import Images, Labels
    from fgmf.verdict import Verdict

Count = Annotated[int, Field(ge=1)]
Scale = Annotated[float, Field(gt=0)]
_OWN = frozenset({"kind", "images"})
"""Fields that a robustness gate has too, in a sense of its own."""


class AttackSelftestGate(GateSpecification):
    """Evidence that attacks work on a model: they must find what is known to be there.

    ``AttackSelftestGate(norm="linf", epsilon=8 / 255).check(classifier, images, labels)``
    returns a :class:`~fgmf.verdict.Verdict`. Norm, budget and attacks are those of the robustness
    gate that it stands beside.
    """

    kind: Literal["attack-selftest"] = "attack-selftest"
    norm: Norm
    epsilon: float | str
    """Budget in the units of the classifier's bounds; a number or text like "8/255"."""
    attacks: tuple[AttackSpecification, ...] = ()
    """Attacks in order; none means those of the suite."""
    suite: SuiteName | None = None
    """Suite of attacks; without one and without attacks, what a robustness gate would run."""
    restarts: Count = 1
    """Independent random starts of each attack that draws."""
    images: Count | Literal["all"] = 200
    """Size of the seeded stratified sample."""
    confidence: Confidence = 0.95
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """Time budget; when it is spent the outcome is INCONCLUSIVE, never PASS."""
    criterion: Literal["misclassification", "targeted", "top-k"] = "misclassification"
    target: Annotated[int, Field(ge=0)] | Literal["least-likely"] | None = None
    """Target class of the targeted criterion."""
    top_k: Count | None = None
    """k of the top-k criterion."""
    min_success: Share = 0.95
    """Lowest accepted share of images on which the attacks find what is there."""
    min_beyond_random: Share = 0.5
    """Lowest accepted share on which they do, and random search with as many passes does not."""
    min_valid: Share = 0.5
    """Share of the images for which a read-out must be found; with fewer, INCONCLUSIVE."""
    features: str = "auto"
    """`auto`, `logits`, or the name of the layer whose input the read-out sees."""
    inner_points: Count = 999
    """Points inside the ball that the read-out tells from the one at its edge."""
    scales: tuple[Scale, ...] = (100.0, 1000.0)
    """Factors on the logits for the control; none leaves it out."""
    max_rise: Share = 0.2
    """Highest accepted share of images that are broken as they are, and not at such a scale."""
    control_images: Count = 100
    """Images of the sample on which the control runs."""

    @field_validator("epsilon")
    @classmethod
    def _epsilon(cls, value: float | str) -> float | str:
        if parse_epsilon(value) == 0:
            raise ValueError("a budget > 0: without one there is nothing to find")
        return value

    @field_validator("scales", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:  # noqa: ANN401 - unvalidated input
        """A list in a gate file, and a tuple here; whole numbers are numbers."""
        if not isinstance(value, list | tuple):
            return value
        return tuple(float(entry) if type(entry) is int else entry for entry in value)

    @model_validator(mode="after")
    def _consistent(self) -> AttackSelftestGate:
        outside = [attack for attack in self.attacks if attack.name in (TRANSFER, KNOWN)]
        if outside:
            allowed = "attacks that are made on the model itself, which this gate changes"
            raise misfits(type(self).__name__, [Misfit("attacks", allowed, outside[0].name)])
        try:
            self.attacked_gate()
        except InvalidGateFile as error:
            fields = [Misfit(p.location, p.expected, p.got) for p in error.problems]
            raise misfits(type(self).__name__, fields) from None
        return self

    @classmethod
    def of(cls, gate: RobustnessGate) -> AttackSelftestGate:
        """Return the self-test of the attacks that a robustness gate runs, of the same name.

        Examples that come from elsewhere (transfer, known examples) are left out.

        Raises:
            InvalidGateFile: No other attack is left.
        """
        shared = (set(cls.model_fields) & set(RobustnessGate.model_fields)) - _OWN
        values = {name: getattr(gate, name) for name in sorted(shared)}
        own = tuple(attack for attack in gate.attacks if attack.name not in (TRANSFER, KNOWN))
        # With none left the gate's own are given, which are refused: another suite is no answer.
        return cls(**{**values, "attacks": own or gate.attacks})

    def attacked_gate(self) -> RobustnessGate:
        """Return a robustness gate that runs the attacks of this one.

        Raises:
            InvalidGateFile: There can be no such gate.
        """
        shared = (set(type(self).model_fields) & set(RobustnessGate.model_fields)) - _OWN
        values = {name: getattr(self, name) for name in sorted(shared)}
        return RobustnessGate(**values, images=self.images, min_robust_accuracy=0.0)

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
        """Test the attacks on this model, and judge them.

        Args:
            classifier: The model with its bounds and normalisation.
            images: (n, ...) arrays or tensors within the classifier's bounds.
            labels: (n,) class indices.
            context: Run seed and progress.

        Returns:
            A verdict. What keeps the gate from being measured ends in outcome ERROR, and so does
            an adversarial example where a certificate rules one out.

        Cost: for each image about 1 000 forward passes and the attacks' passes, one image at a
            time, then as many forward passes again; for each control image the attacks' passes
            once for every scale and once more.
        """
        from fgmf.gates.attack_selftest_check import check_attack_selftest

        return check_attack_selftest(self, classifier, images, labels, context or RunContext())
