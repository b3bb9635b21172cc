"""What does the gate say of networks whose single-step training has collapsed in earnest?

    python -m benchmarks.masking_collapse            # trains what is missing, prints the table
    python -m benchmarks.masking_collapse --tables   # only prints what is kept

The specimens of label leak in `tests/specimens` are mild cases. Here small networks are trained on
digits by FGSM without a random start, by N-FGSM and by PGD at large budgets, as in
`collapse_monitor`, and the gate examines each after its training, on 160 test images. The truth is
that of `collapse_monitor`: one-step accuracy 20 points above PGD-50 is a collapse, up to 10 none.

These networks are no held-out ones: the limit of `one-step-turns` was moved from .4 to the .5 that
honest specimens stay above after the first two of them had been called clean. Rows are kept one by
one: an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from benchmarks.collapse_monitor import Course, collapsed, images_of, recipe_of, truth_of
from benchmarks.masking_detectors import DETECTORS, source_digest
from benchmarks.masking_specimens import specimens_module
from benchmarks.pairing import machine_facts
from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.threat import ThreatModel
from fgmf.training import train

if TYPE_CHECKING:
    from torch import nn

RESULT = Path(__file__).resolve().parent / "results" / "masking_collapse.json"
_IMAGES: Final = 160
COURSES: Final = tuple(
    Course(data="digits", epsilon=epsilon, recipe=recipe, seed=seed)
    for recipe in ("fgsm", "pgd", "n-fgsm")
    for epsilon in (0.25, 0.2, 0.15)
    for seed in range(3)
    if recipe == "fgsm" or epsilon < 0.25 or seed == 0
)


def examined(course: Course) -> dict[str, Any]:
    """Train, let the gate look, and measure the truth."""
    started = time.process_time()
    training, test = images_of(course.data)
    model = _trained(course, training)
    threat = ThreatModel(norm="linf", epsilon=course.epsilon)
    subject = specimens_module("value").Subject(
        model=model, images=test.images[:_IMAGES], labels=test.labels[:_IMAGES], threat=threat
    )
    finding = DETECTORS["gate"](subject)
    return {
        "data": course.data,
        "epsilon": course.epsilon,
        "recipe": course.recipe,
        "seed": course.seed,
        **truth_of(model, test, course.epsilon),
        "verdict": finding.verdict,
        "mechanisms": list(finding.mechanisms),
        "passes_over_pgd40": round(finding.passes / (80 * finding.images), 3),
        "reason": finding.reason,
        "source": source_digest("gate"),
        "seconds": round(time.process_time() - started, 1),
    }


def _trained(course: Course, training: Any) -> nn.Module:  # noqa: ANN401 - samples
    config = ConvNetConfig(image_side=8, channels=1, num_classes=10, widths=(16, 32), hidden=128)
    model = ConvNet(config, seed=course.seed)
    train(model, training, recipe_of(course), seed=course.seed)
    return model.eval().requires_grad_(requires_grad=False)


def tables(rows: list[dict[str, Any]]) -> str:
    """Every run, and what the gate says."""
    lines = [
        "| run | clean | one step | PGD-50 | collapsed | the gate says | mechanisms | x PGD-40 |",
        "|" + " --- |" * 8,
    ]
    for row in sorted(rows, key=lambda r: (r["recipe"], r["epsilon"], r["seed"])):
        said = {True: "yes", False: "no", None: "between"}[collapsed(row)]
        lines.append(
            f"| {row['recipe']} at {row['epsilon']:g}, seed {row['seed']} | {row['clean']:.3f} | "
            f"{row['one_step']:.3f} | {row['pgd_50']:.3f} | {said} | {row['verdict']} | "
            f"{', '.join(row['mechanisms']) or '-'} | {row['passes_over_pgd40']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Train what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", action="store_true", help="only print what is kept")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, Any] = {}
    if options.output.is_file():
        rows = json.loads(options.output.read_text(encoding="utf-8"))["rows"]
    for course in () if options.tables else COURSES:
        known = rows.get(course.name, {}).get("source") == source_digest("gate")
        if known:
            continue
        rows[course.name] = examined(course)
        document = {"question": __doc__, "rows": rows, "machine": machine_facts()}
        partial = options.output.with_suffix(".partial")
        partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        partial.replace(options.output)
        print(course.name, rows[course.name]["verdict"], flush=True)
    print(tables(list(rows.values())))


if __name__ == "__main__":
    main()
