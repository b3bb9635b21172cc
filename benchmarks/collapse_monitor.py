"""Does the collapse monitor flag single-step training that collapses, and no other?

    python -m benchmarks.collapse_monitor            # trains what is missing, prints the tables
    python -m benchmarks.collapse_monitor --tables   # only prints what is kept

Small networks are trained by FGSM without a random start, by N-FGSM and by PGD, on digits and on
Fashion-MNIST, without averaged weights and without a growing budget, so that FGSM can collapse. The
monitor looks at 128 training images, other ones each time, at 24 points of every training.

The truth of a run is measured apart from the monitor, on 300 test images after the training:
accuracy under one full step less that under PGD with 50 steps and 3 random starts. From 0.2 on a
run has collapsed, up to 0.1 it has not; between the two it is left out.

The limits are chosen on seed 0 alone; the tables are about the other seeds. Rows are kept one by
one: an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from benchmarks.pairing import machine_facts
from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.datasets import Samples, digits, fashion_mnist
from fgmf.threat import ThreatModel
from fgmf.training import NFgsmRecipe, PgdRecipe, Schedule, train
from fgmf.training.collapse import CollapseLimits, CollapseMonitor
from fgmf.training.collapse_signals import CollapseSignals
from fgmf.verdict import Cost

if TYPE_CHECKING:
    from torch import nn

    from fgmf.training import Recipe
    from fgmf.training.loop import TrainingProgress

RESULT = Path(__file__).resolve().parent / "results" / "collapse_monitor.json"
COLLAPSED: Final = 0.2
HEALTHY: Final = 0.1
CALIBRATION: Final = 0
_LOOKS: Final = 24
_JUDGED: Final = 300


@dataclass(frozen=True, kw_only=True)
class Course:
    """One training."""

    data: str
    epsilon: float
    recipe: str
    seed: int

    @property
    def name(self) -> str:
        """Of its row."""
        return f"{self.data} {self.epsilon:g} {self.recipe} {self.seed}"


COURSES: Final = tuple(
    Course(data=data, epsilon=epsilon, recipe=recipe, seed=seed)
    for seed in range(3)
    for data, epsilon in (("digits", 0.15), ("digits", 0.25), ("fashion", 0.1), ("fashion", 0.15))
    for recipe in ("fgsm", "n-fgsm", "pgd")
    if seed < 2 or data == "digits"
)


def images_of(data: str) -> tuple[Samples, Samples]:
    """Training and test images."""
    if data == "digits":
        return digits("train"), digits("test")
    parts = fashion_mnist(split="train"), fashion_mnist(split="test")
    return tuple(Samples(images=p.images[:4000], labels=p.labels[:4000]) for p in parts)  # type: ignore[return-value] # two of them


def recipe_of(course: Course) -> Recipe:
    """The objective, on one schedule for all."""
    schedule = Schedule(
        epochs=25 if course.data == "digits" else 8,
        batch_size=64,
        peak_learning_rate=1e-2 if course.data == "digits" else 6e-3,
        average_decay=None,
    )
    if course.recipe == "pgd":
        return PgdRecipe(epsilon=course.epsilon, schedule=schedule)
    noise = 0.0 if course.recipe == "fgsm" else 2.0
    return NFgsmRecipe(epsilon=course.epsilon, noise=noise, warm_up=0.0, schedule=schedule)


def ran(course: Course) -> dict[str, Any]:
    """Train, observe, and measure the truth."""
    started = time.process_time()
    training, test = images_of(course.data)
    side = training.images.shape[-1]
    config = ConvNetConfig(image_side=side, channels=1, num_classes=10, widths=(16, 32), hidden=128)
    model = ConvNet(config, seed=course.seed)
    recipe = recipe_of(course)
    monitor = CollapseMonitor(
        threat=ThreatModel(norm="linf", epsilon=course.epsilon), max_images=128
    )
    seen: list[dict[str, Any]] = []

    def look(progress: TrainingProgress) -> None:
        every = max(1, progress.steps // _LOOKS)
        if progress.step % every:
            return
        rows = (torch.arange(128) + 128 * (progress.step // every)) % len(training)
        report = monitor.observe(progress.step, model, training.images[rows], training.labels[rows])
        seen.append({"step": progress.step, **_values(report.signals)})

    train(model, training, recipe, seed=course.seed, on_progress=look)
    return {
        "data": course.data,
        "epsilon": course.epsilon,
        "recipe": course.recipe,
        "seed": course.seed,
        **truth_of(model, test, course.epsilon),
        "seen": seen,
        "seconds": round(time.process_time() - started, 1),
    }


def _values(signals: CollapseSignals) -> dict[str, float]:
    names = ("gap", "iterative_accuracy", "alignment", "distortion", "curvature")
    return {name: round(getattr(signals, name), 4) for name in names}


def truth_of(model: nn.Module, test: Samples, epsilon: float) -> dict[str, float]:
    """Accuracy when the training is over: clean, one step, PGD-50 with 3 starts."""
    images, labels = test.images[:_JUDGED], test.labels[:_JUDGED]
    draws = torch.Generator().manual_seed(5)
    lower, upper = (images - epsilon).clamp(0, 1), (images + epsilon).clamp(0, 1)

    def slope(points: torch.Tensor) -> torch.Tensor:
        leaf = points.clone().requires_grad_()
        torch.nn.functional.cross_entropy(model(leaf), labels, reduction="sum").backward()
        if leaf.grad is None:
            raise RuntimeError("expected a gradient")
        return leaf.grad.sign()

    def right(points: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model(points).argmax(dim=1) == labels

    model.eval()
    kept = torch.ones(len(images), dtype=torch.bool)
    for _ in range(3):
        points = lower + (upper - lower) * torch.rand(images.shape, generator=draws)
        for _ in range(50):
            points = (points + epsilon / 10 * slope(points)).clamp(lower, upper)
        kept &= right(points)
    one_step = (images + epsilon * slope(images)).clamp(lower, upper)
    accuracies = {"clean": right(images), "one_step": right(one_step), "pgd_50": kept}
    return {name: round(float(v.double().mean()), 4) for name, v in accuracies.items()}


def first_alarm(row: dict[str, Any], limits: CollapseLimits) -> int | None:
    """Number of the observation, from 1, at which the monitor first alarms; None: never."""
    monitor = CollapseMonitor(
        threat=ThreatModel(norm="linf", epsilon=row["epsilon"]), limits=limits
    )
    for number, values in enumerate(row["seen"], start=1):
        signals = CollapseSignals(
            **{k: v for k, v in values.items() if k != "step"}, image_count=128, cost=Cost()
        )
        if monitor.judge(number, signals).alarms:
            return number
    return None


def collapsed(row: dict[str, Any]) -> bool | None:
    """The truth; None where it lies between."""
    gap = row["one_step"] - row["pgd_50"]
    return True if gap >= COLLAPSED else False if gap <= HEALTHY else None


def tables(rows: list[dict[str, Any]]) -> str:
    """Every run with its first alarm, and how often the monitor is right."""
    lines = ["| run | clean | one step | PGD-50 | collapsed | first alarm |", "|" + " --- |" * 6]
    for row in sorted(rows, key=lambda r: (r["data"], r["epsilon"], r["recipe"], r["seed"])):
        alarm, truth = first_alarm(row, CollapseLimits()), collapsed(row)
        said = {True: "yes", False: "no", None: "between"}[truth]
        when = "never" if alarm is None else f"{alarm} of {len(row['seen'])}"
        name = f"{row['data']} {row['epsilon']:g} {row['recipe']}, seed {row['seed']}"
        lines.append(
            f"| {name} | {row['clean']:.3f} | {row['one_step']:.3f} | {row['pgd_50']:.3f} | "
            f"{said} | {when} |"
        )
    judged = [row for row in rows if row["seed"] != CALIBRATION and collapsed(row) is not None]
    lines += ["", "| judged by | collapsed, flagged | not collapsed, flagged |", "|" + " --- |" * 3]
    for name, limits in variants().items():
        counts = {True: [0, 0], False: [0, 0]}
        for row in judged:
            place = counts[bool(collapsed(row))]
            place[0] += first_alarm(row, limits) is not None
            place[1] += 1
        lines.append("| {} | {} of {} | {} of {} |".format(name, *counts[True], *counts[False]))
    return "\n".join(lines)


def variants() -> dict[str, CollapseLimits]:
    """The default, and each signal alone."""
    alone = CollapseLimits(gap=None, curvature=1e9)
    return {
        "the default": CollapseLimits(),
        "gap above 0.09": CollapseLimits(gap=0.09),
        "gap above 0.2": CollapseLimits(gap=0.2),
        "alignment below 0.6": replace(alone, alignment=0.6),
        "distortion below 0.815": replace(alone, distortion=0.815),
    }


def main() -> None:
    """Train what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", action="store_true", help="only print what is kept")
    parser.add_argument("--only", nargs="+", help="words that the name of a run must hold")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, Any] = {}
    if options.output.is_file():
        rows = json.loads(options.output.read_text(encoding="utf-8"))["rows"]
    for course in () if options.tables else COURSES:
        wanted = options.only is None or all(w in course.name.split() for w in options.only)
        if course.name in rows or not wanted:
            continue
        rows[course.name] = ran(course)
        document = {"question": __doc__, "rows": rows, "machine": machine_facts()}
        partial = options.output.with_suffix(".partial")
        partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        partial.replace(options.output)
        print(course.name, {k: v for k, v in rows[course.name].items() if k != "seen"}, flush=True)
    print(tables(list(rows.values())))


if __name__ == "__main__":
    main()
