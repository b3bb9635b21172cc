"""Controls with known answers: does what is installed attack as it should?

linear models, with and without a box: attacks just above the exact distance break every
image, just below it none
small ReLU networks: attacks break no image that interval bounds certify
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from fgmf.attacks.criteria import Criterion
from fgmf.canonical import tensor_digest
from fgmf.classifier import Classifier
from fgmf.robustness import RobustnessPlan, measure_robustness
from fgmf.selftest.closed_form import linear_problem
from fgmf.selftest.interval_bounds import certified_images
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fgmf.attacks.plans import AttackPlan
    from fgmf.robustness import RobustnessMeasurement
    from fgmf.types import ImageFlags, Images, Labels, Norm

ABOVE: dict[Norm, float] = {"linf": 1.05, "l2": 1.05, "l1": 1.1}
"""How far above the exact distance attacks must break every image [R]; L1 attacks approach it
more slowly."""
BELOW = 0.99
"""How far below it they must break none."""
_LINEAR_IMAGES = 8
_NETWORK_IMAGES = 16
_EPSILONS = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""The largest at which half of the images of the small network are certified is attacked."""


@dataclass(frozen=True, kw_only=True)
class ControlResult:
    """One control and how it came out.

    Attributes:
        name: What was done.
        norm: Norm of the attacks.
        epsilon: Their budget.
        expected: In words.
        measured: In words.
        passed: Whether they agree.
    """

    name: str
    norm: Norm
    epsilon: float
    expected: str
    measured: str
    passed: bool


def run_controls(
    attacks: Mapping[Norm, Sequence[AttackPlan]], *, seed: int = 0
) -> Iterator[ControlResult]:
    """Run every control.

    Args:
        attacks: What to run, by norm; worst case over all.
        seed: Fixes models, images and draws.

    Yields:
        One result after the other.

    Raises:
        InvalidInput: No attacks for a norm.

    Cost: for each norm, the attacks' passes on 4 x 8 images of 64 values and on 16 more.
    Randomness: `seed`.
    """
    for norm, plans in attacks.items():
        for boxed in (False, True):
            yield from _linear(norm, plans, seed, boxed=boxed)
        yield _certified(norm, plans, seed)


def _linear(
    norm: Norm, plans: Sequence[AttackPlan], seed: int, *, boxed: bool
) -> Iterator[ControlResult]:
    problem = linear_problem(norm, boxed=boxed, count=_LINEAR_IMAGES, seed=seed)
    count, above = len(problem.images), ABOVE[problem.norm]
    where = "in the box" if boxed else "box out of reach"
    budgets = (
        (float(problem.distances.max()) * above, f"{above:g} of the distance", count),
        (float(problem.distances.min()) * BELOW, f"{BELOW:g} of the distance", 0),
    )
    for epsilon, words, expected in budgets:
        threat = ThreatModel(norm=problem.norm, epsilon=epsilon, bounds=problem.bounds)
        classifier = Classifier(problem.module, bounds=problem.bounds, device="cpu")
        found = _measured(classifier, problem.images, problem.labels, threat, plans, seed)
        broken = int((found.broken & found.clean_correct).sum())
        yield ControlResult(
            name=f"linear model, {where}, {words}",
            norm=problem.norm,
            epsilon=epsilon,
            expected=f"{expected} of {count} broken",
            measured=_words(found, f"{broken} of {count} broken"),
            passed=broken == expected and found.certain and bool(found.clean_correct.all()),
        )


def _certified(norm: Norm, plans: Sequence[AttackPlan], seed: int) -> ControlResult:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand((_NETWORK_IMAGES, 1, 8, 8), generator=generator)
    classifier = Classifier(_small_network(images, seed), bounds=(0.0, 1.0), device="cpu")
    with classifier.guard(seed=seed):
        labels = classifier.predict(images)
    threat, proven = _half_certified(classifier, images, labels, norm)
    found = _measured(classifier, images, labels, threat, plans, seed)
    count, against = int(proven.sum()), int((proven & found.broken).sum())
    robust = int(found.robust.sum())
    return ControlResult(
        name="small ReLU network, interval bounds",
        norm=norm,
        epsilon=threat.epsilon,
        expected=f"none broken of {count} certified",
        measured=_words(found, f"{against} broken, {robust} of {len(images)} robust"),
        passed=count > 0 and against == 0 and found.certain,
    )


def _half_certified(
    classifier: Classifier, images: Images, labels: Labels, norm: Norm
) -> tuple[ThreatModel, ImageFlags]:
    """The largest of the budgets at which half of the images are certified, or the smallest."""
    criterion = Criterion(kind="misclassification", labels=labels)
    for epsilon in _EPSILONS:
        threat = ThreatModel(norm=norm, epsilon=epsilon, bounds=classifier.bounds)
        proven = certified_images(classifier, images, criterion, threat)
        if proven is not None and 2 * int(proven.sum()) >= len(images):
            return threat, proven
    return threat, torch.zeros(len(images), dtype=torch.bool)


def _measured(
    classifier: Classifier,
    images: torch.Tensor,
    labels: torch.Tensor,
    threat: ThreatModel,
    plans: Sequence[AttackPlan],
    seed: int,
) -> RobustnessMeasurement:
    return measure_robustness(
        classifier,
        images,
        Criterion(kind="misclassification", labels=labels),
        RobustnessPlan(threat=threat, attacks=tuple(plans), seed=seed),
        keys=[tensor_digest(image) for image in images],
    )


def _words(found: RobustnessMeasurement, words: str) -> str:
    failed = int(found.failed.sum())
    return f"{words}, attacks failed on {failed}" if failed else words


def _small_network(images: Images, seed: int) -> nn.Module:
    """A convolution and two linear layers with random weights; every class is met."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(16, 3)
        layers = [nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
        network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 16), nn.ReLU(), head)
    with torch.no_grad():
        head.bias.sub_(network(images).mean(dim=0))
    return network.eval()
