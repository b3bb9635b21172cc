"""Images whose outcome an earlier measurement found out, so that they need no attack.

    a cache names, for each image, what became of it under the same conditions
    broken then:   its example is judged once more; if it does not hold, the image is attacked
    survived then: taken as it is; the cache answers for the conditions being the same

What is measured of the other images, and what is reported of all, is the same with and without a
cache: only the cost differs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import torch

from fgmf.attacks.projection import inside
from fgmf.classifier.memory import is_out_of_memory
from fgmf.robustness.plan import Example
from fgmf.robustness.starts import accept_starts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.attacks.criteria import Criterion
    from fgmf.classifier import Classifier
    from fgmf.robustness.plan import AttackRecord, RobustnessPlan
    from fgmf.types import Images

_MOST_EXAMPLES: Final = 256 * 2**20
"""Bytes of adversarial examples that are held for a cache; images beyond are not left to it."""


@dataclass(frozen=True, kw_only=True)
class KnownOutcome:
    """What all attacks made of an image.

    Attributes:
        run: Number of the attack run that broke it, restarts counted; None if none did.
        image: The adversarial image; None if there is none.
        predicted: The class that the model gives it; None if there is none.
        start: The image that attacks walked from; None if none did.
        radii: What minimum-norm attacks found, by number of the attack.
    """

    run: int | None = None
    image: Images | None = None
    predicted: int | None = None
    start: Images | None = None
    radii: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AskedImages:
    """The images that a cache is asked about.

    Attributes:
        classifier: Inside its guard.
        images: (n, ...) all images of the measurement.
        criterion: For these n images.
        keys: One stable key per image.
        wanted: Positions of the images that are about to be attacked.
    """

    classifier: Classifier
    images: Images
    criterion: Criterion
    keys: Sequence[str]
    wanted: Sequence[int]


class OutcomeCache(Protocol):
    """Outcomes of earlier measurements; it answers for the conditions being the same."""

    def names(self, asked: AskedImages) -> Mapping[int, str]:
        """Return the name, by position, under which each wanted image is kept; {} keeps none."""

    def recall(self, names: Mapping[int, str], like: Images) -> Mapping[int, KnownOutcome]:
        """Return what is known of images of these names; `like` are images of their form."""

    def keep(self, outcomes: Mapping[str, KnownOutcome]) -> None:
        """Take outcomes by name."""


class KnownImages:
    """The images of one measurement that a cache knows."""

    def __init__(
        self,
        classifier: Classifier,
        images: Images,
        criterion: Criterion,
        plan: RobustnessPlan,
        keys: Sequence[str],
    ) -> None:
        """Take the question; nothing is known yet."""
        self._classifier, self._images, self._criterion = classifier, images, criterion
        self._plan, self._keys = plan, keys
        self._names: Mapping[int, str] = {}
        self.outcomes: Mapping[int, KnownOutcome] = {}
        """By position, in ascending order; broken ones have been judged again."""

    @property
    def example_limit(self) -> int:
        """How many examples are worth holding: those of the evidence, and those to be kept."""
        if not self._names:
            return self._plan.example_limit
        size = max(1, self._images[0].nbytes)
        return max(self._plan.example_limit, _MOST_EXAMPLES // size)

    def recall(self, wanted: Sequence[int]) -> None:
        """Ask the cache about images.

        Args:
            wanted: Their positions.

        Cost: as the cache's, and one forward pass for each image that was broken then.
        """
        cache = self._plan.cache
        if cache is None or not wanted:
            return
        asked = AskedImages(
            classifier=self._classifier,
            images=self._images,
            criterion=self._criterion,
            keys=self._keys,
            wanted=wanted,
        )
        self._names = cache.names(asked)
        known = dict(cache.recall(self._names, self._images)) if self._names else {}
        # An image that no run of this plan would break must not be booked as one that none did.
        runs = range(sum(attack.calls for attack in self._plan.attacks))
        broken = {at: outcome for at, outcome in known.items() if outcome.run is not None}
        holding = self._holding({at: o for at, o in broken.items() if o.run in runs})
        self.outcomes = {at: known[at] for at in sorted(known) if at in holding or at not in broken}

    def book(self, record: AttackRecord, run: int) -> list[Example]:
        """Book the images of which it is known what a run of an attack makes of them.

        Args:
            record: Of the attack.
            run: Number of the run.

        Returns:
            The examples that it is known to find, in the order of the images.
        """
        labels = [attack.label for attack in self._plan.attacks]
        number = labels.index(record.plan.label)
        found = []
        for at, known in self.outcomes.items():
            if number in known.radii:
                record.radii[at] = known.radii[number]
            if known.run == run and known.image is not None and known.predicted is not None:
                found.append(
                    Example(
                        position=at,
                        image=known.image,
                        predicted=known.predicted,
                        attack=record.plan.label,
                        run=run,
                        start=known.start,
                    )
                )
        record.broken += len(found)
        return found

    def keep(
        self,
        survived: Sequence[int],
        records: Sequence[AttackRecord],
        examples: Sequence[Example],
    ) -> None:
        """Leave to the cache what was found out; what it knew is left out.

        Images with a failure or an example that could not be verified are left out as well.

        Args:
            survived: Positions of the images that every attack was carried out on in vain.
            records: What the attacks did.
            examples: Of the images that were broken.
        """
        cache = self._plan.cache
        if cache is None or not self._names:
            return
        doubtful = {at for r in records for at in (*r.failures, *r.unverified, *r.no_start)}
        # A radius that several calls found may be another one after the first.
        doubtful |= {at for r in records if r.plan.calls > 1 for at in r.radii}
        doubtful |= self.outcomes.keys()
        found = {example.position: example for example in examples}
        cache.keep(
            {
                self._names[at]: _outcome(at, records, found.get(at))
                for at in sorted((found.keys() | set(survived)) & self._names.keys() - doubtful)
            }
        )

    def _holding(self, known: Mapping[int, KnownOutcome]) -> set[int]:
        """Positions of the images whose example still breaks them, judged in other batches."""
        at = [position for position, outcome in known.items() if outcome.image is not None]
        if not at:
            return set()
        rows = torch.tensor(at)
        examples = torch.stack([image for o in known.values() if (image := o.image) is not None])
        size = min(self._classifier.batch_size, (len(at) + 1) // 2)
        starts = {at: o.start for at, o in known.items() if o.start is not None}
        try:
            logits = self._classifier.logits_in_batches(examples, batch_size=size)
            good = accept_starts(self._classifier, starts, self._criterion)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return set()  # attacked afresh, they fail or hold as they would without a cache
        holds = self._criterion.of(rows).broken(logits)
        holds &= inside(self._images[rows], examples, self._plan.threat)
        holds &= logits.argmax(dim=1) == torch.tensor([known[p].predicted for p in at])
        lower, upper = self._plan.threat.bounds
        outside = {at for at, start in good.items() if start.min() < lower or start.max() > upper}
        return set(rows[holds].tolist()) - (starts.keys() - good.keys()) - outside


def _outcome(at: int, records: Sequence[AttackRecord], example: Example | None) -> KnownOutcome:
    radii = {n: record.radii[at] for n, record in enumerate(records) if at in record.radii}
    if example is None:
        return KnownOutcome(radii=radii)
    return KnownOutcome(
        run=example.run,
        image=example.image,
        predicted=example.predicted,
        start=example.start,
        radii=radii,
    )
