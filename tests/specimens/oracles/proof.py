"""The measured proof of a label.

naive       what one FGSM and one PGD-40 with cross-entropy leave, on the specimen itself
patient     honest models: what five restarts of that PGD leave
oracle      what all attacks together leave: those of the twins, judged on the specimen, and
            for honest models and where asked those of the specimen itself and random search

masked              naive - oracle >= 10 points
honest              patient - oracle <= 4 points
between             more than 4 points, and no more than 10
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from specimens.oracles.gradients import Climb, climb, cross_entropy_loss, margin_loss, towards
from specimens.oracles.judging import fresh, judged
from specimens.oracles.searching import search
from specimens.value import Twin

if TYPE_CHECKING:
    from specimens.value import Specimen, Subject

LEAST_GAP = 0.10
LARGEST_HONEST_GAP = 0.04
RESTARTS = 5
_ROUNDING = 1e-9  # 4 of 100 images are 4 points


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How hard the oracle tries.

    Attributes:
        steps: Of each climb.
        targets: Classes that are aimed at in turn.
        queries: Of the random search.
    """

    steps: int = 100
    targets: int = 4
    queries: int = 600


QUICK = Effort(steps=40, targets=2, queries=150)


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Shares of the images that are right, clean and after attacks.

    Attributes:
        images: How many.
        clean: Without attack.
        fgsm: After one step.
        pgd: After PGD-40.
        patient: After the restarts too; of honest models.
        oracle: After everything.
    """

    images: int
    clean: float
    fgsm: float
    pgd: float
    patient: float
    oracle: float

    def gap(self, specimen: Specimen) -> float:
        """How much of the naive robust accuracy is an illusion."""
        if specimen.label in {"honest", "between"}:
            return self.patient - self.oracle
        return (self.fgsm if specimen.naive == "fgsm" else self.pgd) - self.oracle

    def holds(self, specimen: Specimen) -> bool:
        """Whether the label is proven; a suspicious one needs none."""
        gap = self.gap(specimen)
        if specimen.label == "honest":
            return gap <= LARGEST_HONEST_GAP + _ROUNDING
        if specimen.label == "between":
            return LARGEST_HONEST_GAP + _ROUNDING < gap < LEAST_GAP + _ROUNDING
        return gap >= LEAST_GAP - _ROUNDING or specimen.label == "suspicious-at-least"


def prove(specimen: Specimen, effort: Effort | None = None, *, count: int | None = None) -> Proof:
    """Measure a specimen's proof.

    Args:
        specimen: Built anew.
        effort: Of the oracle; None takes the full one.
        count: Images from the first; None takes all.
    """
    effort = effort or Effort()
    whole = specimen.build()
    subject = replace(whole, images=whole.images[:count], labels=whole.labels[:count])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one_step = judged(subject, [_climbed(subject, _FGSM)])
        first = _climbed(subject, Climb())
        pgd = judged(subject, [first])
        honest = specimen.label in {"honest", "between"}
        naive = [first]
        if honest:
            naive += [_climbed(subject, Climb(seed=seed)) for seed in range(1, RESTARTS)]
        patient = judged(subject, naive)
        twins = subject.twins or (Twin(model=fresh(subject.model)),)
        found = [point for twin in twins for point in _strong(subject, twin, effort)]
        if honest or specimen.searched:
            found.append(_searched(subject, effort))
        oracle = torch.minimum(judged(subject, [*naive, *found]), pgd)
    return Proof(
        images=len(subject.images),
        clean=float(judged(subject, []).mean()),
        fgsm=float(one_step.mean()),
        pgd=float(pgd.mean()),
        patient=float(torch.minimum(patient, pgd).mean()),
        oracle=float(oracle.mean()),
    )


_FGSM = Climb(steps=1, step=1.0, random_start=False)


def _climbed(subject: Subject, how: Climb) -> torch.Tensor:
    """The naive attack, on a copy of the specimen itself."""
    model = fresh(subject.model)
    return climb(model, subject.images, subject.labels, subject.threat, how, cross_entropy_loss)


def _strong(subject: Subject, twin: Twin, effort: Effort) -> list[torch.Tensor]:
    """Cross-entropy, margin, and margins to single classes, on a twin."""
    images, labels, threat = subject.images, subject.labels, subject.threat
    dtype = next((p.dtype for p in twin.model.parameters()), torch.float32)
    with torch.no_grad():
        clean = twin.model(images.to(dtype))
    losses = [cross_entropy_loss, margin_loss]
    averaged = twin.draws > 1  # then each climb costs that many times as much
    targets = 0 if averaged else min(effort.targets, clean.shape[1] - 1)
    losses += [towards(rank, clean) for rank in range(targets)]
    points = []
    for number, loss in enumerate(losses):
        how = Climb(
            steps=min(effort.steps, 40) if averaged else effort.steps,
            step=0.25,
            falling=True,
            draws=twin.draws,
            spread=twin.spread,
            seed=100 + number,
        )
        points.append(climb(twin.model, images, labels, threat, how, loss))
    return points


def _searched(subject: Subject, effort: Effort) -> torch.Tensor:
    model = fresh(subject.model)
    return search(model, subject.images, subject.labels, subject.threat, queries=effort.queries)
