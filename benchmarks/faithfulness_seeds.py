"""Does a faithfulness gate say the same under 20 seeds?

The gate is measured once per seed, and its intervals are held against every threshold of a fine
grid, so one measurement stands for the gates of all thresholds. Two ways: the same images under
all seeds (what changes: random subsets, references, noise), and another sample of the test set for
each. With `--draws`, on the same images, what changes less: scores and margins that are means over
several draws.

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
from fgmf.attribution.building import explainer
from fgmf.canonical import tensor_digest
from fgmf.classifier import Classifier
from fgmf.datasets import Samples
from fgmf.faithfulness.comparing import ComparisonPlan, compare_with_references
from fgmf.faithfulness.intervals import score_interval, smallest_mean_interval
from fgmf.faithfulness.scores import MetricPlan
from fgmf.gates import FaithfulnessGate
from fgmf.statistics import compare_to_limit
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.types import Direction
    from fgmf.verdict import Interval, Verdict

SEEDS = 20
IMAGES = 60
GRID = 400
DISTANCES = (0.0, 0.1, 0.25, 0.5)
METRICS: tuple[dict[str, Any], ...] = (
    {"name": "deletion", "steps": 14, "replacements": ("mean", "noise"), "max_score": 0.5},
    {"name": "faithfulness-correlation", "nr_runs": 50, "min_score": 0.2},
)
REFERENCES = ("random", "centre", "edges", "randomised-model")
EXPLAINER = "gradient-times-input"


def subject(data: str) -> tuple[Classifier, Samples]:
    """A standard model and the images that samples are drawn from."""
    if data == "digits":
        return Classifier(train_reader("standard"), bounds=(0, 1), device="cpu"), digit_images()
    network = Shelf.usual().load("undefended")
    return Classifier(network, bounds=(0, 1), device="cpu"), held_out(0, 1000)


def measured(classifier: Classifier, samples: Samples, seed: int) -> Verdict:
    """One gate: its thresholds don't matter, its intervals do."""
    gate = FaithfulnessGate(
        explainer=EXPLAINER,
        metrics=METRICS,
        min_margin=0.05,
        references=REFERENCES,
        images=IMAGES,
        seed=seed,
    )
    verdict = gate.check(classifier, samples.images, samples.labels)
    assert verdict.outcome is not Outcome.ERROR, verdict.reason
    return verdict


def by_gates(classifier: Classifier, samples: Samples, seeds: range) -> list[dict[str, Any]]:
    """Agreement of gates on every one of their conditions."""
    verdicts = [measured(classifier, samples, seed) for seed in seeds]
    rows = zip(*(verdict.conditions for verdict in verdicts), strict=True)
    found = []
    for row in rows:
        intervals = [condition.interval for condition in row if condition.interval is not None]
        named = {"quantity": row[0].quantity, "subject": row[0].subject}
        found.append(named | agreement(intervals, row[0].direction))
    return found


def by_means(
    classifier: Classifier,
    samples: Samples,
    seeds: range,
    draws: int,
    references: Sequence[str] = REFERENCES,
) -> list[dict[str, Any]]:
    """The same of scores and margins that are means over several draws, on the same images."""
    plans = tuple(
        MetricPlan(
            metric=name,
            parameters={k: v for k, v in more.items() if k in {"steps", "nr_runs"}},
            replacement=replacement,
        )
        for name, more in ((one["name"], one) for one in METRICS)
        for replacement in more.get("replacements", ("black",))
    )
    keys = [tensor_digest(image) for image in samples.images]
    targets = classifier.predict(samples.images)
    method = explainer(EXPLAINER)
    bounds: dict[tuple[str, str, str], list[Interval]] = {}
    for seed in seeds:
        drawn = [
            compare_with_references(
                method,
                classifier,
                samples.images,
                targets,
                ComparisonPlan(
                    metrics=plans, references=tuple(references), seed=10_000 + 100 * seed + draw
                ),
                keys=keys,
            ).comparisons
            for draw in range(draws)
        ]
        for plan, same in zip(plans, zip(*drawn, strict=True), strict=True):
            scores = np.mean([one.scores.values for one in same if one.scores], axis=0)
            margins = {n: np.mean([one.margins()[n] for one in same], axis=0) for n in references}
            label = (plan.metric, plan.replacement or "")
            assert same[0].scores is not None
            bounds.setdefault((*label, "score"), []).append(
                score_interval(scores, confidence=0.95, scale=same[0].scores.scale)
            )
            bounds.setdefault((*label, "margin"), []).append(
                smallest_mean_interval(
                    list(margins.values()), confidence=0.95, scale=same[0].margin_scale
                )
            )
    found = []
    for (metric, replacement, what), intervals in bounds.items():
        least = what == "margin" or metric != "deletion"
        named = {"quantity": f"{metric} {what}", "subject": replacement}
        found.append(named | agreement(intervals, "at-least" if least else "at-most"))
    return found


def distance(interval: Interval, threshold: float) -> float:
    """How far outside of the interval a threshold lies, in lengths of the interval."""
    outside = max(interval.lower - threshold, threshold - interval.upper, 0.0)
    return outside / max(interval.upper - interval.lower, 1e-12)


def agreement(intervals: Sequence[Interval], direction: Direction) -> dict[str, Any]:
    """Compare the verdicts of all seeds on one condition, threshold by threshold."""
    lows, highs = min(i.lower for i in intervals), max(i.upper for i in intervals)
    reach = highs - lows
    excluded = dict.fromkeys(DISTANCES, 0)
    same = dict.fromkeys(DISTANCES, 0)
    contradictions = 0
    for threshold in np.linspace(lows - reach, highs + reach, GRID):
        outcomes = [compare_to_limit(i, float(threshold), direction=direction) for i in intervals]
        contradictions += {Outcome.PASS, Outcome.FAIL} <= set(outcomes)
        for (interval, outcome), far in product(zip(intervals, outcomes, strict=True), DISTANCES):
            if outcome is Outcome.INCONCLUSIVE or distance(interval, float(threshold)) <= far:
                continue
            excluded[far] += 1
            same[far] += len(set(outcomes)) == 1
    lowers, uppers = ([getattr(i, end) for i in intervals] for end in ("lower", "upper"))
    length = float(np.mean(uppers) - np.mean(lowers))
    return {
        "interval_of_seed_0": [round(intervals[0].lower, 4), round(intervals[0].upper, 4)],
        "deviation_of_ends_in_lengths": round(
            float(np.std(lowers) + np.std(uppers)) / 2 / length, 4
        ),
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
    parser.add_argument("--draws", type=int, nargs="*", default=[], help="means over so many")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    classifier, samples = subject(options.data)
    seeds = range(5 if options.quick else SEEDS)
    same = Samples(images=samples.images[:IMAGES], labels=samples.labels[:IMAGES])
    document: dict[str, Any] = {
        "data": options.data,
        "images": IMAGES,
        "machine": machine_facts(),
        "same images": by_gates(classifier, same, seeds),
        "another sample for each seed": by_gates(classifier, samples, seeds),
    }
    for draws in options.draws:
        name = f"same images, means over {draws} draws"
        document[name] = by_means(classifier, same, seeds, draws)
        alone = by_means(classifier, same, seeds, draws, references=("centre", "edges"))
        document[f"{name}, references that draw nothing"] = alone
    for way, rows in document.items():
        if isinstance(rows, list):
            print(f"{way} ({len(seeds)} seeds, {IMAGES} images)")
            for row in rows:
                print("  " + json.dumps(row))
    if options.output is not None:
        options.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
