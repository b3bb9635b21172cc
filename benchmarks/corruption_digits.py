"""What do common corruptions do to a standard and to an adversarially trained network?

Trains both networks of `examples/digits` and gates them on all 449 test images: under all twelve
corruptions at all five severities, under the nine of a gate that names none at severities 1 and 3,
and under those of the nine that move nothing. Prints clean accuracy, the worst case and the mean
with their intervals, and accuracy by corruption and severity.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.pairing import machine_facts
from fgmf import Classifier
from fgmf.corruptions import CORRUPTIONS, DEFAULT_CORRUPTIONS, SEVERITIES
from fgmf.datasets import digits
from fgmf.gates import CorruptionGate
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from fgmf.verdict import Verdict

QUESTIONS: dict[str, tuple[Sequence[str], Sequence[int]]] = {
    "everything": (tuple(CORRUPTIONS), SEVERITIES),
    "the nine at severities 1, 3": (DEFAULT_CORRUPTIONS, (1, 3)),
    "seven that move nothing at severities 1, 3": (
        tuple(name for name in DEFAULT_CORRUPTIONS if name not in {"rotation", "translation"}),
        (1, 3),
    ),
}
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "digits"


def trained(kind: str) -> nn.Module:
    """Train one network of the example, as its own script does."""
    sys.path.insert(0, str(EXAMPLE))
    model: nn.Module = importlib.import_module("digit_reader.train").train(kind, digits("train"))
    return model


def gated(model: nn.Module, names: Sequence[str], severities: Sequence[int]) -> Verdict:
    """Gate a network with thresholds that everything meets: only the figures count."""
    gate = CorruptionGate(
        min_corruption_accuracy=0.0,
        min_mean_corruption_accuracy=0.0,
        min_clean_accuracy=0.0,
        corruptions=tuple(names),  # type: ignore[arg-type]
        severities=tuple(severities),  # type: ignore[arg-type]
        images="all",
    )
    samples = digits("test")
    classifier = Classifier(model, bounds=(0, 1), device="cpu")
    verdict = gate.check(classifier, samples.images, samples.labels)
    if verdict.outcome is Outcome.ERROR:
        raise SystemExit(f"the gate could not be measured: {verdict.reason}")
    return verdict


def show(kind: str, verdict: Verdict) -> None:
    """Print the rows of the tables in docs/measurements.md."""
    print(f"\n{kind}, {verdict.image_count} images")
    for condition in verdict.conditions:
        interval = condition.interval
        assert interval is not None
        words = f"{condition.measured:.3f} [{interval.lower:.3f}, {interval.upper:.3f}]"
        print(f"  {condition.quantity:<26} {words}")
    rows: Any = verdict.evidence["corruptions"]
    for row in rows:
        levels = "  ".join(f"{share:.3f}" for share in row["by_severity"].values())
        print(f"  {row['title']:<16} {row['accuracy']:.3f}   {levels}")
    cost = verdict.cost
    print(f"  {cost.forward_passes} forward passes, {cost.seconds:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="write the verdicts here, as JSON")
    output = parser.parse_args().output
    verdicts = {}
    for kind in ("standard", "robust"):
        model = trained(kind)
        for title, (names, severities) in QUESTIONS.items():
            verdicts[f"{kind} training, {title}"] = gated(model, names, severities)
    for kind, verdict in verdicts.items():
        show(kind, verdict)
    if output is not None:
        document = {
            "question": __doc__,
            "verdicts": {kind: verdict.as_document() for kind, verdict in verdicts.items()},
            "machine": machine_facts(),
        }
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
