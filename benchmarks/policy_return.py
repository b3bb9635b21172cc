"""What the example's teams of policies earn under attack: `python -m benchmarks.policy_return`.

Trains both teams of `examples/carriers` anew (about a minute) and prints the return of 200 episodes
without an adversary, under each attack, and in the worst case, at three radii. `--output` writes
it as JSON, with what each attack changed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.digit_study import write_result
from fgmf.classifier import Classifier
from fgmf.gates import PolicyReturnGate

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "carriers"
RADII = (0.05, 0.1, 0.15)


def main() -> None:
    """Train, attack, print one row per team and radius."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.insert(0, str(EXAMPLE))
    from carriers.train import NAMES, train

    print("| team | epsilon | no attack | flip | least likely | worst reachable | worst case |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    found: list[dict[str, Any]] = []
    for name in NAMES:
        classifier = Classifier(train(name), bounds=(0, 1), device="cpu")
        found += [{"team": name, **measured(classifier, epsilon)} for epsilon in RADII]
        for row in found[-len(RADII) :]:
            print(line(row), flush=True)
    if options.output is not None:
        write_result(options.output, "What do attacked policies earn?", {"rows": found})


def measured(classifier: Classifier, epsilon: float) -> dict[str, Any]:
    """Returns at one radius."""
    started = time.process_time()
    gate = PolicyReturnGate(
        environment="carriers.world:make", epsilon=epsilon, min_return=0.5, min_success_rate=0.0
    )
    verdict = gate.check(classifier)
    interval, (_, success) = verdict.interval, verdict.conditions
    if interval is None or verdict.measured is None or success.interval is None:
        raise SystemExit(f"expected a measurement, got {verdict.outcome}: {verdict.reason}")
    return {
        "epsilon": epsilon,
        "episodes": verdict.image_count,
        "under": verdict.evidence["returns"],
        "worst case": [verdict.measured, interval.lower, interval.upper],
        "always succeeded": [success.measured, success.interval.lower, success.interval.upper],
        "seconds": time.process_time() - started,
    }


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    shown = " | ".join(f"{one['mean_return']:.3f}" for one in row["under"])
    measured, lower, upper = row["worst case"]
    worst = f"{measured:.3f} [{lower:.3f}, {upper:.3f}]"
    return f"| {row['team']} | {row['epsilon']} | {shown} | {worst} |"


if __name__ == "__main__":
    main()
