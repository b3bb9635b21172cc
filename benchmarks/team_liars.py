"""What is left of a team when one agent lies and the others are attacked?

    python -m benchmarks.team_liars --data digits
    python -m benchmarks.team_liars --output benchmarks/results/team_liars_fashion.json

The teams of `agent_teams`, trained `independent`, under several rules. An image counts
if the decision is right whichever agent lies, whatever it says, and whatever the others are shown
within the budget: as far as `fgmf.team_robustness.with_compromised_attacked` finds, with 50 steps
for each liar, and attacks on each agent alone. Exact 95 % intervals.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.agent_teams import share
from benchmarks.digit_study import write_result
from benchmarks.team_models import STUDIES, Study
from fgmf.classifier import Classifier
from fgmf.team_robustness import (
    measure_transfers,
    said_by_agents,
    with_compromised,
    with_compromised_attacked,
)
from fgmf.threat import ThreatModel

RULES = ("median", "majority", "learned", "mean-log-probability")
STEPS = 50


def left(study: Study, rule: str) -> dict[str, Any]:
    """Accuracy with one liar, and with one liar while the others are attacked."""
    samples = study.test_set()
    labels, images = samples.labels, len(samples)
    classifier = Classifier(study.team("independent", rule).model, bounds=(0, 1))
    keys = [str(at) for at in range(images)]
    asked: dict[str, Any] = {
        "threat": ThreatModel(norm="linf", epsilon=study.epsilon, bounds=(0.0, 1.0)),
        "steps": STEPS,
        "keys": keys,
        "seed": 0,
    }
    started = time.process_time()
    with classifier.guard():
        said = said_by_agents(classifier, samples.images)
        team: Any = classifier.module
        lies = with_compromised(team, said, labels, count=1)
        transfers = measure_transfers(classifier, samples.images, labels, **asked)
        both = with_compromised_attacked(
            classifier, samples.images, labels, count=1, known=transfers.examples, **asked
        )
    return {
        "lies": share(int(lies.right.sum()), images),
        "lies and attack": share(int(both.right.sum()), images),
        "by liar": {
            name: share(int(held.sum()), images) for name, held in both.right_by_agents.items()
        },
        "seconds": time.process_time() - started,
    }


def main() -> None:
    """Print one line per rule, write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", choices=sorted(STUDIES), default="fashion")
    parser.add_argument("--quick", action="store_true", help="a few images: that it runs")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    study = STUDIES[options.data]
    study = study.quick() if options.quick else study
    found: dict[str, Any] = {}
    for rule in RULES:
        found[rule] = left(study, rule)
        print(f"{rule}: {found[rule]}", flush=True)
    if options.output is not None:
        write_result(
            options.output,
            "What is left when one lies and others are attacked?",
            {"study": str(study), "rules": found},
        )


if __name__ == "__main__":
    main()
