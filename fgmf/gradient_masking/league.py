"""Which counter-attacks are tried, in which order: the cheapest first.

    always            the margin in float64, without backward hooks; Square; estimated gradients
    output drawn      the same averaged over draws
    pixels without a gradient                      the gradient at a point just inside of the bounds
    gradient unsteady, function of steps, ...      gradients averaged around
    gradient untrue or pointing back               the gradient turned round
    any symptom of the gradient                    layers replaced (`walking`), a distilled copy, a
                                                   smoothed one, decisions alone

Each is tried on the scouts that are left; what broke any of them is run on all images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from fgmf.attacks.own import Apgd, ExpectedLogits, SubstituteBackward
from fgmf.gradient_masking.distilling import distil
from fgmf.gradient_masking.edges import gradient_inside
from fgmf.gradient_masking.estimating import EstimatedLogits
from fgmf.gradient_masking.sources import (
    Source,
    around,
    double_logits,
    mean_around,
    opposite,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.attacks.own.task import LogitsFunction
    from fgmf.classifier import Classifier
    from fgmf.gradient_masking.examined import Examined

EOT_DRAWS: Final = 2
_ERRATIC: Final = frozenset(
    {
        "function-of-steps",
        "gradient-unsteady",
        "shell-around-data",
        "one-step-beats-many",
        "silent-success",
        "unbounded-attack-fails",
    }
)
_LYING: Final = frozenset({"gradient-untrue", "gradient-points-back"})
ABOUT_GRADIENTS: Final = (
    _ERRATIC
    | _LYING
    | {
        "attack-stands-still",
        "gradient-not-finite",
        "gradient-of-loss-zero",
        "gradient-of-margin-zero",
        "gradient-unavailable",
        "output-form",
        "output-of-mode",
        "output-remembers",
        "output-of-batch",
        "optimises-inside",
        "pixels-without-gradient",
        "top-logit-flat",
    }
)
DRAWN: Final = frozenset({"one-step-beats-many", "silent-success", "loss-falls"})
"""What draws do to an attack's way: on a random model they speak for nothing else."""
LOSS: Final = frozenset({"loss-falls", "loss-out-of-scale"})
"""What explains a gap, though no gradient of the model's is broken."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """What sources are made from.

    Attributes:
        examined: The model and all images.
        free: A copy in float64 without backward hooks; None where there is none.
        standing: Names of the symptoms that stand.
    """

    examined: Examined
    free: Classifier | None
    standing: frozenset[str]

    @property
    def differentiable(self) -> LogitsFunction:
        """The best function with gradients that the model itself offers."""
        return self.examined.logits if self.free is None else double_logits(self.free)

    @property
    def suspect(self) -> bool:
        """Whether a symptom calls for attacks that do without the model's gradients."""
        return bool(self.telling & ABOUT_GRADIENTS)

    @property
    def explained(self) -> bool:
        """Whether a symptom says why the cross-entropy would miss what a counter-attack finds."""
        return self.suspect or bool(self.telling & LOSS)

    @property
    def telling(self) -> frozenset[str]:
        """The symptoms that speak for more than draws."""
        return self.standing - DRAWN if self.random else self.standing

    @property
    def random(self) -> bool:
        """Whether answers have to be averaged."""
        return self.examined.traits.random

    def averaged(self, logits: LogitsFunction, draws: int = EOT_DRAWS) -> LogitsFunction:
        """The logits, averaged over draws where the model draws."""
        if not self.random:
            return logits
        return ExpectedLogits(logits, draws=draws, average="probabilities")


def gradient_sources(ground: Ground) -> Iterator[Source]:
    """Yield sources that use the model's own gradients, cheapest first."""
    examined = ground.examined
    if not examined.classifier.gradient_available or "gradient-unavailable" in ground.standing:
        return
    own = ground.differentiable
    name = "margin" if ground.free is None else "margin in float64"
    mechanisms = ("saturation", "vanishing") if not ground.random else ("stochastic",)
    if ground.random:
        name += f", {EOT_DRAWS} draws averaged"
    yield Source(
        name=name,
        logits=ground.averaged(own),
        mechanisms=mechanisms,  # type: ignore[arg-type] # literals
        scout_steps=40 if ground.random else 12,
    )
    if "pixels-without-gradient" in ground.standing:
        yield Source(
            name="gradient just inside of the bounds",
            logits=gradient_inside(ground.averaged(own), examined.threat),
            mechanisms=("exploding", "vanishing"),
        )
    if ground.telling & _ERRATIC:
        reach = 0.5 * examined.threat.epsilon if examined.threat.norm == "linf" else 0.02
        smooth = around(own, examined.threat, points=8, reach=reach, seed=examined.seed)
        yield Source(name="gradient averaged around", logits=smooth, mechanisms=("shattered",))
    if ground.standing & _LYING:
        back = opposite(ground.averaged(own))
        yield Source(name="gradient turned round", logits=back, mechanisms=("wrong-gradient",))


def estimated(ground: Ground, *, pairs: int, steps: int) -> Source:
    """Return the source that only asks for values."""
    examined = ground.examined
    logits = EstimatedLogits(
        ground.averaged(examined.logits, draws=2),
        threat=examined.threat,
        pairs=pairs,
        seed=examined.seed,
    )
    return Source(
        name="estimated gradient", logits=logits, scout_steps=steps, steps=max(20, 2 * steps)
    )


def smoothed_copy(ground: Ground) -> Source:
    """Return the source that attacks the mean of the model over points around, and transfers."""
    examined = ground.examined
    reach = 0.5 * examined.threat.epsilon if examined.threat.norm == "linf" else 0.02
    logits = mean_around(
        ground.differentiable, examined.threat, points=8, reach=reach, seed=examined.seed
    )
    return Source(
        name="transfer from a smoothed copy",
        logits=logits,
        mechanisms=("shattered",),
        faithful=False,
    )


def transferred(ground: Ground) -> Iterator[Source]:
    """Yield models that answer alike: averaged over points around, and learnt on the fly."""
    own = ground.examined.classifier.gradient_available
    if own and "gradient-unavailable" not in ground.standing:
        yield smoothed_copy(ground)
    yield from distilled(ground, copies=3, updates=200)


def distilled(ground: Ground, *, copies: int, updates: int) -> Iterator[Source]:
    """Train a substitute; yield it alone, and as the model's backward pass."""
    examined = ground.examined
    network = distil(examined, ground.averaged(examined.logits), copies=copies, updates=updates)
    alone = Source(name="distilled copy", logits=network, faithful=False, scout_steps=20, steps=40)
    yield alone
    yield replace(
        alone,
        name="distilled copy as backward pass",
        logits=SubstituteBackward(ground.averaged(examined.logits), network),
        faithful=True,
    )


def plain_attack(steps: int) -> Apgd:
    """Return APGD on the margin from the image itself."""
    return Apgd(loss="margin", steps=steps, random_start=False)
