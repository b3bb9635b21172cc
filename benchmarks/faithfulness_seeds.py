"""Does a faithfulness gate say the same under 20 seeds?

The gate is measured once per seed, and its intervals are held against every threshold of a fine
grid, so one measurement stands for the gates of all thresholds. Two ways: the same images under
all seeds (what changes: random subsets, references, noise, resamples), and another sample of the
test set for each.

For every threshold that a seed's interval excludes, by more than a share of its length: is the
verdict of all other seeds the same? And do two seeds ever contradict each other, PASS and FAIL?
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.digit_study import digit_images, train_reader
from benchmarks.fashion_models import Shelf, held_out
from benchmarks.pairing import machine_facts
from fgmf.classifier import Classifier
from fgmf.datasets import Samples
from fgmf.gates import FaithfulnessGate
from fgmf.statistics import compare_to_limit
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from fgmf.verdict import Condition, Interval, Verdict

SEEDS = 20
IMAGES = 60
GRID = 400
DISTANCES = (0.0, 0.1, 0.25, 0.5)
METRICS: tuple[dict[str, Any], ...] = (
    {"name": "deletion", "steps": 14, "replacements": ("mean", "noise"), "max_score": 0.5},
    {"name": "faithfulness-correlation", "nr_runs": 50, "min_score": 0.2},
)


def subject(data: str) -> tuple[Classifier, Samples]:
    """A standard model and the images that samples are drawn from."""
    if data == "digits":
        return Classifier(train_reader("standard"), bounds=(0, 1), device="cpu"), digit_images()
    network = Shelf.usual().load("undefended")
    return Classifier(network, bounds=(0, 1), device="cpu"), held_out(0, 1000)


def measured(classifier: Classifier, samples: Samples, seed: int) -> Verdict:
    """One gate: its thresholds don't matter, its intervals do."""
    gate = FaithfulnessGate(
        explainer="gradient-times-input",
        metrics=METRICS,
        min_margin=0.05,
        references=("random", "centre", "edges", "randomised-model"),
        images=IMAGES,
        seed=seed,
    )
    verdict = gate.check(classifier, samples.images, samples.labels)
    assert verdict.outcome is not Outcome.ERROR, verdict.reason
    return verdict


def distance(interval: Interval, threshold: float) -> float:
    """How far outside of the interval a threshold lies, in lengths of the interval."""
    outside = max(interval.lower - threshold, threshold - interval.upper, 0.0)
    return outside / max(interval.upper - interval.lower, 1e-12)


def agreement(conditions: list[Condition]) -> dict[str, Any]:
    """Compare the verdicts of all seeds on one condition, threshold by threshold."""
    intervals = [c.interval for c in conditions if c.interval is not None]
    lows, highs = min(i.lower for i in intervals), max(i.upper for i in intervals)
    reach = highs - lows
    excluded = dict.fromkeys(DISTANCES, 0)
    same = dict.fromkeys(DISTANCES, 0)
    contradictions = 0
    for threshold in np.linspace(lows - reach, highs + reach, GRID):
        outcomes = [
            compare_to_limit(i, float(threshold), direction=conditions[0].direction)
            for i in intervals
        ]
        contradictions += {Outcome.PASS, Outcome.FAIL} <= set(outcomes)
        for (interval, outcome), far in product(zip(intervals, outcomes, strict=True), DISTANCES):
            if outcome is Outcome.INCONCLUSIVE or distance(interval, float(threshold)) <= far:
                continue
            excluded[far] += 1
            same[far] += len(set(outcomes)) == 1
    return {
        "quantity": conditions[0].quantity,
        "subject": conditions[0].subject,
        "interval_of_seed_0": [round(intervals[0].lower, 4), round(intervals[0].upper, 4)],
        "thresholds_with_both_PASS_and_FAIL": contradictions,
        "one_verdict_of_all_seeds_where_a_seed_excludes_the_threshold": {
            f"by more than {far:g} lengths": round(same[far] / excluded[far], 4)
            for far in DISTANCES
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 seeds")
    parser.add_argument("--data", choices=("digits", "fashion"), default="digits")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    classifier, samples = subject(options.data)
    document: dict[str, Any] = {
        "data": options.data,
        "images": IMAGES,
        "machine": machine_facts(),
    }
    for way, pool in (("same images", IMAGES), ("another sample for each seed", None)):
        some = Samples(images=samples.images[:pool], labels=samples.labels[:pool])
        seeds = range(5 if options.quick else SEEDS)
        verdicts = [measured(classifier, some, seed) for seed in seeds]
        rows = zip(*(verdict.conditions for verdict in verdicts), strict=True)
        document[way] = [agreement(list(row)) for row in rows]
        print(f"{way} ({len(verdicts)} seeds, {IMAGES} images)")
        for row in document[way]:
            print("  " + json.dumps(row))
    if options.output is not None:
        options.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
