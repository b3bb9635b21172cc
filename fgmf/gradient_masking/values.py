"""What is asked of an examination for gradient masking, and what it gives back: values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fgmf.verdict import Cost

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from fgmf.attacks.plans import AttackPlan
    from fgmf.gradient_masking.mechanisms import Mechanism
    from fgmf.threat import ThreatModel
    from fgmf.types import ImageFlags, Images, Json, Labels
    from fgmf.verdict import Interval


@dataclass(frozen=True, kw_only=True)
class MaskingPlan:
    """The question.

    Attributes:
        threat: Ball and box.
        suite: The repository's own attacks, in order; empty: there are none to ask about.
        random_suite: The same for a model whose output is drawn anew in every pass.
        suite_name: Its name, for the report.
        seed: Fixes every draw.
        scouts: Images on which probes and first attacks run; what they find is then confirmed
            on all.
        min_gap: Robust accuracy that may be feigned; below it there is nothing to look for.
        confidence: Of every interval.
        deadline: Value of ``time.monotonic()`` after which nothing new is begun; None never.
        on_progress: Called with steps done, steps in all, and what runs.
    """

    threat: ThreatModel
    suite: tuple[AttackPlan, ...] = ()
    random_suite: tuple[AttackPlan, ...] = ()
    suite_name: str = ""
    seed: int = 0
    scouts: int = 64
    min_gap: float = 0.05
    confidence: float = 0.95
    deadline: float | None = None
    on_progress: Callable[[int, int, str], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """One thing that was looked for.

    Attributes:
        name: Stable kebab-case name.
        value: What was measured.
        limit: From where on (or below which) it counts.
        stands: Whether it counts.
        alarming: Whether it makes a model suspicious all by itself, proof or no proof.
        image_count: Images it was measured on.
        interval: Of the value, where it is a share of images.
        mechanisms: Ways of masking that it speaks for, where it stands.
        layer: Module at which it was found; empty: the model as a whole.
        note: The same in words.
        passes: Forward and backward passes that it took, over all images.
    """

    name: str
    value: float | None
    limit: float
    stands: bool
    image_count: int
    note: str
    alarming: bool = False
    interval: Interval | None = None
    mechanisms: tuple[Mechanism, ...] = ()
    layer: str = ""
    passes: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class NaiveOutcome:
    """What an attack that trusts the model's gradients says of some images.

    Attributes:
        name: Of the attack.
        rows: (m,) which of the measured images.
        right: (m,) float64 share of draws on which the model is right on the attack's example;
            0 or 1 where it draws nothing.
        examples: (m, ...) what the attack made; where it made nothing, the clean image.
        unavailable: Why the attack had no gradient to follow; empty if it had.
        passes: Forward and backward passes that it took.
    """

    name: str
    rows: torch.Tensor
    right: torch.Tensor
    examples: Images
    unavailable: str = ""
    passes: int = 0

    @property
    def robust_accuracy(self) -> float:
        """Mean over its images."""
        return float(self.right.mean())


@dataclass(frozen=True, kw_only=True)
class CounterAttack:
    """One attack made for what the probes found.

    Attributes:
        name: What it was.
        mechanisms: What it undoes.
        layer: Module at which it undoes it; empty: the model as a whole.
        images: Images that were still unbroken and were attacked.
        broken: Those that it broke, verified in fresh passes of the model itself.
        scouting: True on the scouts only, False on all images.
        passes: Forward and backward passes that it took.
        failure: Why it could not be carried out; empty if it could.
    """

    name: str
    mechanisms: tuple[Mechanism, ...]
    images: int
    broken: int
    scouting: bool
    layer: str = ""
    passes: int = 0
    failure: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskingExample:
    """An image that an attack broke which the naive ones had missed.

    Attributes:
        position: Which of the measured images.
        image: (...) inside ball and box.
        predicted: The class that the model gives it.
        attack: What found it.
    """

    position: int
    image: Images
    predicted: int
    attack: str


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskingMeasurement:
    """The answer.

    Attributes:
        labels: (n,) true classes.
        clean_right: (n,) float64 share of draws on which the clean image is right.
        naive: What naive attacks say.
        ray: (m,) of the one-step attack's images: right at every shorter length, too, and, where a
            counter-attack is proof, after one step along its gradient.
        right: (n,) float64, the worst over all attacks, naive ones included.
        attacked: (n,) images that counter-attacks were tried on.
        symptoms: Everything that was looked for.
        counterattacks: Everything that was tried.
        examples: Up to 64, for the record.
        random: Whether the output is drawn anew in every pass.
        complete: False if time ran out.
        cost: Passes and seconds.
    """

    labels: Labels
    clean_right: torch.Tensor
    naive: tuple[NaiveOutcome, ...]
    right: torch.Tensor
    attacked: ImageFlags
    symptoms: tuple[Symptom, ...]
    counterattacks: tuple[CounterAttack, ...]
    examples: tuple[MaskingExample, ...]
    random: bool
    complete: bool
    ray: torch.Tensor | None = None
    cost: Cost = field(default_factory=Cost)
    notes: dict[str, Json] = field(default_factory=dict)
