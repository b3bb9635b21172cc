"""How often is a whole gate wrong, 2 points below and above its bar?

The robust network of `examples/digits` on all 1797 digits, Linf 0.15, by two attacks from the
clean image. They draw nothing, so each image has one outcome, and the truth is one number: what a
gate over all images counts. The bar is set 2 points below it and 2 points above it, 100 gates each
with seeds of their own, on 300 or 1000 images. "dataset": the gate draws them from the 1797 and
judges those. "distribution": as many are drawn with replacement, so that the truth is that of
their distribution.

wrong = PASS below the bar, or FAIL at or above it. Gates take the outcomes of their images from
the gate over all images; some of each kind run with preflight and attacks as well, and must end
the same, image by image.
"""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.digit_study import train_reader, write_result
from fgmf import Classifier
from fgmf.canonical import tensor_digest
from fgmf.datasets import Samples, digits
from fgmf.gates import RobustnessGate, checking, robustness_check
from fgmf.robustness import RobustnessMeasurement, blocks
from fgmf.robustness.plan import AttackRecord
from fgmf.statistics import binomial_interval
from fgmf.verdict import Cost, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fgmf.attacks.criteria import Criterion
    from fgmf.robustness import RobustnessPlan
    from fgmf.verdict import Verdict

ATTACKS: Final[tuple[dict[str, Any], ...]] = (
    {"name": "apgd-ce", "steps": 5, "random_start": False},
    {"name": "minimum-margin", "targets": 1, "steps": 10, "random_start": False},
)
EPSILON: Final = 0.15
POINTS: Final = 0.02
CONFIDENCE: Final = 0.95
RUNS: Final = 200


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A way to judge."""

    sequential: bool
    population: str
    images: int = 300

    def describe(self) -> str:
        how = "sequential" if self.sequential else "fixed"
        return f"{how}, {self.population}, {self.images} images"


MODES: Final = tuple(
    Mode(sequential=sequential, population=population, images=images)
    for images in (300, 1000)
    for sequential in (False, True)
    for population in ("dataset", "distribution")
)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How one gate ended: on which side of the truth its bar was, and how many images it took."""

    bar_above: bool
    outcome: Outcome
    images: int

    @property
    def wrong(self) -> bool:
        return self.outcome is (Outcome.PASS if self.bar_above else Outcome.FAIL)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is gated, and the truth about it.

    Attributes:
        classifier: The network.
        samples: The n images.
        robust: (n,) whether the attacks leave an image.
        right: (n,) whether it is right without an adversary.
    """

    classifier: Classifier
    samples: Samples
    robust: torch.Tensor
    right: torch.Tensor

    @property
    def truth(self) -> float:
        return int(self.robust.sum()) / len(self.robust)


def gate_of(threshold: float, **options: Any) -> RobustnessGate:
    """A gate of the study."""
    values = {"epsilon": EPSILON, "confidence": CONFIDENCE, "attacks": ATTACKS, **options}
    return RobustnessGate(norm="linf", min_robust_accuracy=threshold, **values)


def subject_of(classifier: Classifier, samples: Samples) -> Subject:
    """Find the truth by a gate over all images."""
    verdict = gate_of(0.5, images="all").check(classifier, samples.images, samples.labels)
    if verdict.evidence["undecided_images"] or verdict.evidence["failed_images"]:
        raise SystemExit(f"expected a truth for every image, got: {verdict.reason}")
    robust, right = torch.ones(2, len(samples), dtype=torch.bool)
    robust[gone(verdict)] = False
    right[verdict.evidence["misclassified_images"]] = False
    return Subject(classifier=classifier, samples=samples, robust=robust, right=right)


@contextlib.contextmanager
def looked_up(subject: Subject) -> Iterator[None]:
    """Let gates take the outcomes of images from the truth, without preflight and attacks."""
    keys = [tensor_digest(image) for image in subject.samples.images]
    place = {key: at for at, key in enumerate(keys)}

    def measure(
        _classifier: Classifier,
        _images: torch.Tensor,
        criterion: Criterion,
        plan: RobustnessPlan,
        *,
        keys: Sequence[str],
        **_options: object,
    ) -> RobustnessMeasurement:
        at = torch.tensor([place[key] for key in keys])
        none = torch.zeros(len(at), dtype=torch.bool)
        return RobustnessMeasurement(
            labels=criterion.labels,
            predicted=criterion.labels,
            clean_correct=subject.right[at],
            broken=~subject.robust[at],
            undecided=none,
            failed=none,
            records=tuple(AttackRecord(plan=attack) for attack in plan.attacks),
            examples=(),
            verified=0,
            cost=Cost(),
        )

    with (
        patch.object(robustness_check, "measure_shared", measure),
        patch.object(blocks, "measure_shared", measure),
        patch.object(checking, "inspect", lambda *_, **__: ()),
    ):
        yield


def runs_of(subject: Subject, mode: Mode, *, runs: int, real: int) -> list[Ended]:
    """Run gates on both sides of the truth, the first `real` of each side with their attacks."""
    found = []
    for seed in range(runs):
        side = {"seed": seed, "bar_above": seed >= runs // 2}
        with looked_up(subject):
            found.append(run_gate(subject, mode, **side))
        if seed % (runs // 2) < real:
            attacked = run_gate(subject, mode, **side)
            if attacked != found[-1]:
                raise SystemExit(f"{mode.describe()}, seed {seed}: {attacked}, {found[-1]}")
    return found


def gone(verdict: Verdict) -> list[int]:
    """Positions of the images that were wrong or broken."""
    names = ("misclassified_images", "broken_images")
    return sorted(at for name in names for at in verdict.evidence[name])


def drawn(subject: Subject, mode: Mode, seed: int) -> list[int]:
    """Positions of the images that a gate is given."""
    count = len(subject.samples)
    if mode.population == "dataset":
        return list(range(count))
    return np.random.default_rng([seed, count]).integers(count, size=mode.images).tolist()


def run_gate(subject: Subject, mode: Mode, *, seed: int, bar_above: bool) -> Ended:
    """Run one gate; every image that it decided must end as it does in the gate over all."""
    at = drawn(subject, mode, seed)
    gate = gate_of(
        subject.truth + (POINTS if bar_above else -POINTS),
        images=mode.images,
        sequential=mode.sequential,
        population=mode.population,
        seed=seed,
    )
    given = Samples(images=subject.samples.images[at], labels=subject.samples.labels[at])
    verdict = gate.check(subject.classifier, given.images, given.labels)
    if verdict.outcome is Outcome.ERROR:
        raise SystemExit(f"{mode.describe()}, seed {seed}: {verdict.reason}")
    compare_images(verdict, subject.robust[at])
    return Ended(bar_above=bar_above, outcome=verdict.outcome, images=verdict.image_count)


def all_digits() -> Samples:
    """All 1797 images, those of training first."""
    parts = [digits("train"), digits("test")]
    return Samples(
        images=torch.cat([part.images for part in parts]),
        labels=torch.cat([part.labels for part in parts]),
    )


def compare_images(verdict: Verdict, robust: torch.Tensor) -> None:
    """Hold the images of a verdict against the truth about those that it was given."""
    counted = verdict.evidence["images"]["indices"]
    open_ones = set(verdict.evidence["undecided_images"])
    broken = set(gone(verdict))
    for at in counted:
        if at not in open_ones and (at in broken) == bool(robust[at]):
            raise SystemExit(f"expected image {at} to end as in the gate over all images")


def row_of(mode: Mode, ended: Sequence[Ended]) -> dict[str, Any]:
    """Count."""
    wrong = sum(one.wrong for one in ended)
    interval = binomial_interval(wrong, len(ended), confidence=CONFIDENCE)
    sides: dict[str, Any] = {}
    for side, above in (("2 points below", False), ("2 points above", True)):
        mine = [one.outcome for one in ended if one.bar_above is above]
        sides[side] = {outcome.value: mine.count(outcome) for outcome in set(Outcome) & set(mine)}
    return {
        **asdict(mode),
        "runs": len(ended),
        "wrong": wrong,
        "interval": [interval.lower, interval.upper],
        "decided": sum(one.outcome is not Outcome.INCONCLUSIVE for one in ended),
        "bar": sides,
        "median_images": float(np.median([one.images for one in ended])),
    }


def show(mode: Mode, row: Mapping[str, Any]) -> None:
    share = row["wrong"] / row["runs"]
    low, high = row["interval"]
    print(
        f"{mode.describe():<38} {row['wrong']:>3} of {row['runs']} wrong: {share:.3f} "
        f"[{low:.3f}, {high:.3f}], stated {1 - CONFIDENCE:.2f}; {row['decided']} decided; "
        f"median {row['median_images']:.0f} images; {row['bar']}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="gates in each mode")
    parser.add_argument("--quick", action="store_true", help="few gates, images and epochs")
    parser.add_argument("--real", type=int, default=5, help="of them, run with their attacks")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = 8 if options.quick else options.runs
    samples = all_digits()
    model = train_reader("robust", epochs=4 if options.quick else None)
    subject = subject_of(Classifier(model, bounds=(0, 1), device="cpu"), samples)
    print(f"truth: {int(subject.robust.sum())} of {len(samples)} robust, {subject.truth:.4f}")
    rows = []
    for mode in MODES[:4] if options.quick else MODES:
        ended = runs_of(subject, mode, runs=runs, real=min(options.real, runs // 4))
        rows.append(row_of(mode, ended) | {"with attacks": 2 * min(options.real, runs // 4)})
        show(mode, rows[-1])
    if options.output is not None:
        result = {
            "epsilon": EPSILON,
            "attacks": ATTACKS,
            "images": len(samples),
            "robust": int(subject.robust.sum()),
            "stated": 1 - CONFIDENCE,
            "rows": rows,
        }
        write_result(options.output, __doc__ or "", result)
    if any(row["interval"][0] > 1 - CONFIDENCE for row in rows):
        raise SystemExit("more wrong verdicts than the confidence allows")


if __name__ == "__main__":
    main()
