"""What attacks need besides the gated model: surrogate models and stored examples. Values only.

A gate prepares them once, from all its images (`fgmf.gates.robustness_sources`), so that an image's
outcome depends neither on its batch nor on which other images are still unbroken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fgmf.attacks.catalogue_outside import KNOWN, TRANSFER
from fgmf.errors import InvalidInput
from fgmf.verdict import Cost

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.attacks.plans import AttackPlan
    from fgmf.classifier import Classifier
    from fgmf.types import Images


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownExamples:
    """Stored adversarial examples for the images of a gate.

    Attributes:
        digest: Of everything that is stored, whichever images it is for.
        images: (...) an example inside ball and box, by the key of its clean image.
        stored: Examples in the store.
        matched: Those that are of the gate's images, inside the ball or not.
    """

    digest: str
    images: Mapping[str, Images]
    stored: int
    matched: int


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackSources:
    """Everything that the attacks of a gate need besides its model.

    Attributes:
        surrogates: By the `surrogate` of the attacks.
        surrogate_digests: Of their states, likewise.
        known: By the `path` of the attacks.
        trained: What training a surrogate has cost, its own passes and the gated model's left out
            that its meter has counted.
    """

    surrogates: Mapping[str, Classifier] = field(default_factory=dict)
    surrogate_digests: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, KnownExamples] = field(default_factory=dict)
    trained: Cost = field(default_factory=Cost)

    def surrogate(self, name: str) -> Classifier:
        """Return a surrogate.

        Raises:
            InvalidInput: Nobody has prepared it.
        """
        if name not in self.surrogates:
            raise InvalidInput(f"expected the surrogate {name!r} {_PREPARED}, got none")
        return self.surrogates[name]

    def examples(self, path: str) -> KnownExamples:
        """Return stored examples.

        Raises:
            InvalidInput: Nobody has loaded them.
        """
        if path not in self.known:
            raise InvalidInput(f"expected the known examples of {path!r} {_PREPARED}, got none")
        return self.known[path]

    @property
    def digests(self) -> dict[str, str]:
        """Digest by kind and name: equal where the sources are."""
        stores = {f"{KNOWN} {path}": known.digest for path, known in self.known.items()}
        return {f"{TRANSFER} {n}": d for n, d in self.surrogate_digests.items()} | stores

    def passes(self, *, besides: Classifier) -> Cost:
        """Passes of the surrogates so far.

        Args:
            besides: The gated model, whose meter is read elsewhere: it may be its own surrogate.
        """
        meters = {id(s.cost_meter): s.cost_meter for s in self.surrogates.values()}
        meters.pop(id(besides.cost_meter), None)
        return sum((meter.reading() for meter in meters.values()), Cost())


_PREPARED = "prepared for the measurement (RobustnessPlan.sources; a robustness gate sees to it)"


def surrogates_of(plans: tuple[AttackPlan, ...]) -> tuple[str, ...]:
    """Return the surrogates that attacks name, each once."""
    return _named(plans, TRANSFER, "surrogate")


def stores_of(plans: tuple[AttackPlan, ...]) -> tuple[str, ...]:
    """Return the paths of the stores that attacks name, each once."""
    return _named(plans, KNOWN, "path")


def _named(plans: tuple[AttackPlan, ...], attack: str, parameter: str) -> tuple[str, ...]:
    named = (str(plan.parameters[parameter]) for plan in plans if plan.name == attack)
    return tuple(dict.fromkeys(named))
