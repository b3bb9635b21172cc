"""Which attacks pass the self-test, on honest and on masked models of the digits?

    python -m benchmarks.selftest_digits [--images 120]

Trains the example's two networks (seconds), and puts masks before and behind them: the input
rounded to 9 grey levels, the logits times 1000. Each attack is tested with the gate's own code.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

import torch
from torch import nn

from fgmf import Classifier
from fgmf.datasets import digits
from fgmf.gates import AttackSelftestGate

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "digits"
LEVELS = 8
ATTACKS: dict[str, tuple] = {
    "PGD-40": ("pgd",),
    "DeepFool": ("deepfool",),
    "default": (),
    "FGSM": ("fgsm",),
    "one step of .01 eps": ({"name": "pgd", "steps": 1, "rel_stepsize": 0.01},),
}


class Scaled(nn.Module):
    """Logits times 1000: the same decisions."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images) * 1000


class Quantised(nn.Module):
    """The input rounded: no gradient passes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model((images * LEVELS).round() / LEVELS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--quick", action="store_true", help="20 images, the standard network only")
    arguments = parser.parse_args()
    count = 20 if arguments.quick else arguments.images
    torch.set_num_threads(1)
    sys.path.insert(0, str(EXAMPLE))
    train = importlib.import_module("digit_reader.train").train
    data, training = digits("test"), digits("train")
    print("| model | attacks | test success | beyond random search | kept at x 100 | verdict |")
    print("| --- | --- | --- | --- | --- | --- |")
    for recipe in ("standard", "robust")[: 1 if arguments.quick else 2]:
        model = train(recipe, training)
        for title, subject in (
            (recipe, model),
            (f"{recipe}, logits x 1000", Scaled(model)),
            (f"{recipe}, quantised input", Quantised(model)),
        ):
            for name, attacks in ATTACKS.items():
                gate = AttackSelftestGate(norm="linf", epsilon=0.15, attacks=attacks, images=count)
                started = time.perf_counter()
                classifier = Classifier(subject, bounds=(0, 1), device="cpu")
                verdict = gate.check(classifier, data.images, data.labels)
                shown = [f"{c.measured:.3f}" for c in verdict.conditions[:3]]
                cells = [title, name, *shown, verdict.outcome.upper()]
                print(f"| {' | '.join(cells)} |", flush=True)
                seconds = time.perf_counter() - started
                print(f"{seconds:.0f} s {verdict.reason}", file=sys.stderr)


if __name__ == "__main__":
    main()
