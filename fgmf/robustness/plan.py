"""What is asked of a robustness measurement, and what it gives back: values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fgmf.attacks.sources import AttackSources

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fgmf.attacks.plans import AttackPlan
    from fgmf.robustness.known import OutcomeCache
    from fgmf.threat import ThreatModel
    from fgmf.types import ImageFlags, Images, Labels, Population
    from fgmf.verdict import Cost


@dataclass(frozen=True, kw_only=True)
class ShareOfImages:
    """Every `count`-th image, from number `rank` on."""

    rank: int = 0
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class RobustnessPlan:
    """The question.

    Attributes:
        threat: Ball and box.
        attacks: In the order in which they run.
        seed: Fixes every draw.
        deadline: Value of ``time.monotonic()`` after which measuring stops; None never.
        example_limit: How many adversarial examples are kept as evidence.
        expect_steady: Measure the clean logits again at the end and demand that they are the same.
        starts: Images to walk from, by position: taken in place of a search where the model still
            gives them another class. How a recorded measurement is repeated.
        on_progress: Called with the images times attack runs done and in all, and the attack.
        enough: Asked after each attack run but the last, with what is known by then; True ends
            the measurement, and images that no attack broke are then undecided.
        share: The images that are attacked; the others are only starts for attacks that walk.
        sources: What attacks need besides the model; made of all images, before any is measured.
        cache: Where outcomes of earlier measurements are taken from, and new ones are left.
    """

    threat: ThreatModel
    attacks: tuple[AttackPlan, ...]
    seed: int
    deadline: float | None = None
    example_limit: int = 64
    expect_steady: bool = True
    starts: Mapping[int, Images] = field(default_factory=dict)
    on_progress: Callable[[int, int, str], None] | None = None
    enough: Callable[[RobustnessMeasurement], bool] | None = None
    share: ShareOfImages = field(default_factory=ShareOfImages)
    cache: OutcomeCache | None = None
    sources: AttackSources = field(default_factory=AttackSources)


@dataclass(kw_only=True)
class AttackRecord:
    """What one attack did, counted in images.

    Attributes:
        plan: The attack.
        attacked: Images that it was tried on.
        broken: Images that it broke, re-verified.
        unverified: Positions of images whose example did not survive re-verification.
        no_start: Positions of images without a misclassified image to walk from; each is also
            among the failures.
        failures: Reason by position, where the attack could not be carried out.
        radii: By position, the smallest perturbation that a minimum-norm attack found, infinite
            where it found none: the attack's own word, an upper bound of the robust radius.
    """

    plan: AttackPlan
    attacked: int = 0
    broken: int = 0
    unverified: set[int] = field(default_factory=set)
    no_start: set[int] = field(default_factory=set)
    failures: dict[int, str] = field(default_factory=dict)
    radii: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Example:
    """A re-verified adversarial example.

    Attributes:
        position: Which of the measured images.
        image: (...) the adversarial image, inside ball and box.
        predicted: The class that the model gives it.
        attack: Label of the attack that found it.
        run: Number of the attack run that found it, restarts counted.
        start: (...) the image that attacks walked from, this one or those before it; None if none
            did.
    """

    position: int
    image: Images
    predicted: int
    attack: str
    run: int = 0
    start: Images | None = None


@dataclass(frozen=True, kw_only=True)
class RobustnessMeasurement:
    """The answer, image by image.

    Attributes:
        labels: (n,) true classes.
        predicted: (n,) clean predictions.
        clean_correct: (n,) right without an adversary.
        broken: (n,) wrong without an adversary, or broken by a re-verified example.
        undecided: (n,) neither broken nor through every attack, because time ran out or enough was
            known.
        failed: (n,) not broken, but an attack could not be carried out on it.
        records: One per attack.
        examples: Up to the plan's limit, in the order in which they were found.
        verified: How many examples were re-verified.
        cost: Passes and seconds.
    """

    labels: Labels
    predicted: Labels
    clean_correct: ImageFlags
    broken: ImageFlags
    undecided: ImageFlags
    failed: ImageFlags
    records: tuple[AttackRecord, ...]
    examples: tuple[Example, ...]
    verified: int
    cost: Cost

    @property
    def robust(self) -> ImageFlags:
        """(n,) not broken by anything; an upper bound where `undecided` or `failed` holds."""
        return ~self.broken

    @property
    def certain(self) -> bool:
        """True if every image is decided."""
        return not bool((self.undecided | self.failed).any())


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What the measurement is held against.

    Attributes:
        robust_accuracy: Lowest accepted robust accuracy.
        clean_accuracy: Lowest accepted clean accuracy; None asks nothing.
        worst_class_robust_accuracy: Lowest accepted robust accuracy of any class.
        confidence: Of every interval.
        population: What the intervals are about.
        dataset_size: Images that the sample was drawn from.
        class_sizes: Images of each class that the sample was drawn from.
        horizon: None judges once, at the end. The number of images that are planned judges
            sequentially: intervals hold however often one looks, for images in random order.
    """

    robust_accuracy: float
    clean_accuracy: float | None = None
    worst_class_robust_accuracy: float | None = None
    confidence: float = 0.95
    population: Population = "distribution"
    dataset_size: int = 0
    class_sizes: Mapping[int, int] = field(default_factory=dict)
    horizon: int | None = None
