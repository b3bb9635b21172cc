"""How many images does a sequential verdict need, and how often is it wrong?

Orders are drawn at true rates at and beside a threshold; each is shown to a
`fgmf.sequential.ConfidenceSequence` image by image until it decides, or until the planned
images are used up. Beside it: how often the exact test of the fixed number decides.

false = PASS below the threshold or FAIL at or above it, in %; its limit is 100 - confidence.
decided, right = in %. images = median and 90th percentile over all orders, undecided ones at
their full number.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.pairing import machine_facts
from fgmf.sequential import ConfidenceSequence
from fgmf.statistics import binomial_interval, compare_to_threshold, hypergeometric_interval
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

POINTS = (0, 1, -1, 2, -2, 5, -5, 10, -10, 20, -20, 40, -40)
CONFIDENCE = 0.95
# (threshold, planned images, size of the set or None for a distribution)
SETTINGS = (
    (0.5, 1000, None),
    (0.5, 1000, 10_000),
    (0.5, 1000, 1000),
    (0.8, 1000, None),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One true rate: shares of orders, and images used."""

    threshold: float
    planned: int
    population: int | None
    points: int
    passed: float
    failed: float
    false: float
    decided: float
    median: float
    p90: float
    fixed_decided: float
    fixed_false: float


def orders(
    rng: np.random.Generator, rate: float, planned: int, population: int | None, count: int
) -> Iterator[np.ndarray]:
    for _ in range(count):
        if population is None:
            yield rng.random(planned) < rate
        else:
            members = np.arange(population) < round(rate * population)
            yield rng.choice(members, planned, replace=False)


def run(
    outcomes: np.ndarray, threshold: float, planned: int, population: int | None
) -> tuple[Outcome, int]:
    sequence = ConfidenceSequence(
        population_size=population, confidence=CONFIDENCE, threshold=threshold, horizon=planned
    )
    for used, outcome in enumerate(outcomes.tolist(), 1):
        sequence.update([outcome])
        verdict = sequence.decide(threshold)
        if verdict is not Outcome.INCONCLUSIVE:
            return verdict, used
    return Outcome.INCONCLUSIVE, planned


def fixed_test(planned: int, threshold: float, population: int | None) -> list[Outcome]:
    """Verdict of the fixed-n interval for every count."""
    verdicts = []
    for successes in range(planned + 1):
        if population is None:
            interval = binomial_interval(successes, planned, confidence=CONFIDENCE)
        else:
            interval = hypergeometric_interval(
                successes, planned, population=population, confidence=CONFIDENCE
            )
        verdicts.append(compare_to_threshold(interval, threshold))
    return verdicts


def measure(
    setting: tuple[float, int, int | None], points: int, fixed: list[Outcome], count: int
) -> Row:
    threshold, planned, population = setting
    rate = threshold + points / 100
    rng = np.random.default_rng([planned, population or 0, points + 100, round(100 * threshold)])
    ends, at_the_end = [], []
    for outcomes in orders(rng, rate, planned, population, count):
        ends.append(run(outcomes, threshold, planned, population))
        at_the_end.append(fixed[int(outcomes.sum())])
    verdicts = [verdict for verdict, _ in ends]
    used = np.array([images for _, images in ends])
    wrong = Outcome.FAIL if points >= 0 else Outcome.PASS
    undecided = Outcome.INCONCLUSIVE
    return Row(
        threshold=threshold,
        planned=planned,
        population=population,
        points=points,
        passed=verdicts.count(Outcome.PASS) / count,
        failed=verdicts.count(Outcome.FAIL) / count,
        false=verdicts.count(wrong) / count,
        decided=1 - verdicts.count(undecided) / count,
        median=float(np.median(used)),
        p90=float(np.quantile(used, 0.9, method="higher")),
        fixed_decided=1 - at_the_end.count(undecided) / count,
        fixed_false=at_the_end.count(wrong) / count,
    )


def show(row: Row) -> None:
    print(
        f"  {row.points:+4d}   {100 * row.false:5.2f}  {100 * row.decided:7.1f}"
        f"   {row.median:6.0f} {row.p90:6.0f}"
        f"   {100 * row.fixed_false:11.2f} {100 * row.fixed_decided:8.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=2000, help="orders per true rate")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    rows = []
    for setting in SETTINGS:
        threshold, planned, population = setting
        source = "a distribution" if population is None else f"a set of {population}"
        print(f"threshold {threshold}, {planned} images planned of {source}, 95 %")
        print("points   false  decided   median    p90   fixed-n: false  decided")
        fixed = fixed_test(planned, threshold, population)
        for points in POINTS:
            if 0 <= threshold + points / 100 <= 1:
                rows.append(measure(setting, points, fixed, options.orders))
                show(rows[-1])
    limit = 1 - CONFIDENCE
    tolerated = limit + 4 * math.sqrt(limit * (1 - limit) / options.orders)
    worst = max(row.false for row in rows)
    print(f"largest rate of false verdicts: {worst:.4f} (limit {limit:.2f}, of the exact rate)")
    if options.output is not None:
        document = {
            "question": __doc__,
            "confidence": CONFIDENCE,
            "orders": options.orders,
            "rows": [asdict(row) for row in rows],
            "machine": machine_facts(),
        }
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if worst > tolerated:
        raise SystemExit("more false verdicts than the confidence allows")


if __name__ == "__main__":
    main()
