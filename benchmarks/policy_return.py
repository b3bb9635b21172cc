"""What the example's teams of policies earn under attack: `python -m benchmarks.policy_return`.

Trains both teams of `examples/carriers` anew (about a minute) and prints the return of 200 episodes
without an adversary, under each attack, and in the worst case, at three radii.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from fgmf.classifier import Classifier
from fgmf.gates import PolicyReturnGate

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "carriers"
RADII = (0.05, 0.1, 0.15)


def main() -> None:
    """Train, attack, print one row per team and radius."""
    torch.set_num_threads(1)
    sys.path.insert(0, str(EXAMPLE))
    from carriers.train import NAMES, train

    print("| team | epsilon | no attack | flip | least likely | worst reachable | worst case |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in NAMES:
        classifier = Classifier(train(name), bounds=(0, 1), device="cpu")
        for epsilon in RADII:
            gate = PolicyReturnGate(
                environment="carriers.world:make", epsilon=epsilon, min_return=0.5
            )
            verdict = gate.check(classifier)
            rows: Any = verdict.evidence["returns"]
            shown = " | ".join(f"{row['mean_return']:.3f}" for row in rows)
            interval = verdict.interval
            if interval is None or verdict.measured is None:
                raise RuntimeError(verdict.reason)
            worst = f"{verdict.measured:.3f} [{interval.lower:.3f}, {interval.upper:.3f}]"
            print(f"| {name} | {epsilon} | {shown} | {worst} |")


if __name__ == "__main__":
    main()
