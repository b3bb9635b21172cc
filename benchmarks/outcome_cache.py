"""What does a run cost whose images are in the cache, beside one that attacks them all?

Trains both networks of `examples/digits` and gates them on all 449 test images, Linf 0.15: without
a cache, with an empty one, with a full one, and with one that knows a sample of 200 images. The
reports are compared: they must be the same less cost. Prints passes and their ratios.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.pairing import machine_facts
from fgmf import Classifier
from fgmf.datasets import digits
from fgmf.gates import RobustnessGate, RunContext
from fgmf.verdict import Cost

if TYPE_CHECKING:
    from torch import nn

    from fgmf.verdict import Verdict

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "digits"


def gated(model: nn.Module, cache: Path | None, *, images: int | Literal["all"] = "all") -> Verdict:
    """Gate a network with a threshold that everything meets: only cost and report count."""
    gate = RobustnessGate(norm="linf", epsilon=0.15, min_robust_accuracy=0.0, seed=7, images=images)
    samples = digits("test")
    context = RunContext(cache_directory=cache, notify=print)
    classifier = Classifier(model, bounds=(0, 1), device="cpu")
    return gate.check(classifier, samples.images, samples.labels, context=context)


def rows(model: nn.Module) -> dict[str, Any]:
    """Costs of a gate with caches that know nothing, all, and a part."""
    with tempfile.TemporaryDirectory() as folder:
        full, part = Path(folder, "full"), Path(folder, "part")
        plain = gated(model, None)
        cold = gated(model, full)
        warm = gated(model, full)
        gated(model, part, images=200)
        partly = gated(model, part)
    for verdict in (cold, warm, partly):
        if replace(verdict, cost=Cost()) != replace(plain, cost=Cost()):
            raise SystemExit("expected the same verdict with and without a cache, got another")
    costs = {"none": plain, "cold": cold, "warm": warm, "partly warm": partly}
    return {
        "robust accuracy": plain.measured,
        "costs": {name: asdict(verdict.cost) for name, verdict in costs.items()},
    }


def passes(cost: dict[str, Any]) -> int:
    """Forward and backward passes."""
    return int(cost["forward_passes"]) + int(cost["backward_passes"])


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one network")
    parser.add_argument("--output", type=Path, help="JSON file for the raw figures")
    arguments = parser.parse_args()
    sys.path.insert(0, str(EXAMPLE))
    train = importlib.import_module("digit_reader.train").train
    figures: dict[str, Any] = {}
    for kind in ("standard",) if arguments.quick else ("standard", "robust"):
        model = train(kind, digits("train"))
        row = rows(model)
        figures[kind] = row
        none = row["costs"]["none"]
        print(f"{kind} training: robust accuracy {row['robust accuracy']:.3f}")
        for label, cost in row["costs"].items():
            share, seconds = passes(cost) / passes(none), cost["seconds"] / none["seconds"]
            print(
                f"  {label:<12} {passes(cost):>8} passes ({share:.4f})  "
                f"{cost['seconds']:6.2f} s ({seconds:.3f})  "
                f"{cost['cached_images']} images taken"
            )
    if arguments.output is not None:
        document = {"machine": machine_facts(), "figures": figures}
        arguments.output.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
