"""Do verdicts and per-image outcomes depend on the batch size, the threads or the worker?

Both networks of the example are gated with eight run seeds, by the default attacks and by every
attack that draws, in Linf for even seeds and in L2 for odd ones. Each gate runs once in the first
setting and once in every other: other batch sizes, two torch threads, and, with the default
attacks, in two worker processes that share the gates. Compared are the whole report less its
cost, and for every image: its clean class, whether it is broken, by which attack and into which
class, undecided, failed, unverified.

For each difference: the image, the attacks, and how near the decision the logits are, as a share
of their spread (0 is the decision itself; rounding in float32 is about 1e-7).
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.digit_study import digit_images, reader_with, say, train_reader, write_result
from fgmf import Classifier
from fgmf.attacks.catalogue import CATALOGUE
from fgmf.gates import RobustnessGate, RunContext, robustness_check
from fgmf.robustness import measure_shared

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import nn

    from fgmf.attacks.criteria import Criterion
    from fgmf.datasets import Samples
    from fgmf.robustness import RobustnessMeasurement, RobustnessPlan
    from fgmf.types import Images

EPSILON = {"linf": 0.15, "l2": 1.0}
# Attacks that would take most of the time with their own parameters.
FEWER: dict[str, dict[str, int]] = {
    "boundary": {"steps": 50},
    "brendel-bethge": {"steps": 3},
    "hop-skip-jump": {"steps": 3, "initial_gradient_eval_steps": 20, "max_gradient_eval_steps": 40},
    "additive-noise": {"repeats": 10},
    "ddn": {"steps": 30},
    "adam-pgd": {"steps": 20},
    "pgd": {"steps": 20},
}
DRAWING_IMAGES = 150  # a sample that the seed draws
COMPILED = "brendel-bethge"  # its solver compiles for half a minute in each process


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a gate is run; none of it may be seen in the result."""

    batch_size: int
    threads: int = 1
    worker: bool = False

    def describe(self) -> str:
        where = ", in a worker process" if self.worker else ""
        return f"batch {self.batch_size}, {self.threads} threads{where}"


FIRST = Setting(batch_size=128)
WORKER = Setting(batch_size=128, worker=True)
OTHERS = (
    Setting(batch_size=17),
    Setting(batch_size=64, threads=2),
    Setting(batch_size=449, threads=2),
    WORKER,
)
QUICK = OTHERS[:2]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One gate of the study."""

    model: str
    seed: int
    attacks: str
    norm: str

    def describe(self) -> str:
        return f"{self.model}, {self.attacks} attacks, {self.norm}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one run of a gate says: its report, and a row and an example for each image."""

    report: dict[str, Any]
    rows: list[dict[str, Any]]
    examples: dict[int, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that two runs of a gate do not agree on."""

    question: str
    setting: str
    what: str
    first: str
    other: str
    nearness: float | None = None

    def describe(self) -> str:
        near = "" if self.nearness is None else f" ({self.nearness:.1e} of the spread apart)"
        what = f"{self.question}: {self.setting}: {self.what}"
        return f"{what}: {self.first} then {self.other}{near}"


def questions(seeds: int) -> list[Question]:
    return [
        Question(model=model, seed=seed, attacks=attacks, norm=("linf", "l2")[seed % 2])
        for model in ("standard", "robust")
        for seed in range(seeds)
        for attacks in ("default", "drawing")
    ]


def drawing_attacks(norm: str, *, compiled: bool) -> tuple[dict[str, Any], ...]:
    """Every attack of the catalogue that draws; those that look hardest last."""
    names = [e.name for e in CATALOGUE.values() if e.random and norm in e.norms]
    names = [name for name in names if compiled or name != COMPILED]
    names.sort(key=lambda name: CATALOGUE[name].needs_gradient)
    return tuple({"name": name, **FEWER.get(name, {})} for name in names)


@contextlib.contextmanager
def recorded() -> Iterator[list[RobustnessMeasurement]]:
    """Keep what the gates measure image by image, with an example for every broken image."""
    kept: list[RobustnessMeasurement] = []

    def measure(
        classifier: Classifier,
        images: Images,
        criterion: Criterion,
        plan: RobustnessPlan,
        **options: Any,
    ) -> RobustnessMeasurement:
        whole = replace(plan, example_limit=len(images))
        kept.append(measure_shared(classifier, images, criterion, whole, **options))
        return kept[-1]

    with patch.object(robustness_check, "measure_shared", measure):
        yield kept


def ask(
    question: Question, setting: Setting, model: nn.Module, samples: Samples, *, compiled: bool
) -> Answer:
    """Run one gate in one setting."""
    gate = RobustnessGate(
        norm=question.norm,
        epsilon=EPSILON[question.norm],
        min_robust_accuracy=0.5,
        images="all" if question.attacks == "default" else DRAWING_IMAGES,
        attacks=drawing_attacks(question.norm, compiled=compiled)
        if question.attacks == "drawing"
        else (),
    )
    classifier = Classifier(model, bounds=(0, 1), device="cpu", batch_size=setting.batch_size)
    before = torch.get_num_threads()
    torch.set_num_threads(setting.threads)
    try:
        with recorded() as kept:
            verdict = gate.check(
                classifier,
                samples.images,
                samples.labels,
                context=RunContext(run_seed=question.seed),
            )
    finally:
        torch.set_num_threads(before)
    report = verdict.as_document()
    del report["cost"]
    if not kept:
        raise SystemExit(f"{question.describe()}: not measured: {verdict.reason}")
    return Answer(
        report=report,
        rows=rows_of(kept[0]),
        examples={example.position: example.image.numpy() for example in kept[0].examples},
    )


def rows_of(measurement: RobustnessMeasurement) -> list[dict[str, Any]]:
    """The whole outcome of each image."""
    found = {example.position: example for example in measurement.examples}
    rows = []
    for at in range(len(measurement.labels)):
        example = found.get(at)
        rows.append(
            {
                "class": int(measurement.predicted[at]),
                "broken": bool(measurement.broken[at]),
                "by": None if example is None else example.attack,
                "into": None if example is None else example.predicted,
                "undecided": bool(measurement.undecided[at]),
                "failed": [r.plan.label for r in measurement.records if at in r.failures],
                "unverified": [r.plan.label for r in measurement.records if at in r.unverified],
                "no start": [r.plan.label for r in measurement.records if at in r.no_start],
            }
        )
    return rows


def differences(
    question: Question, setting: Setting, first: Answer, other: Answer, model: nn.Module
) -> list[Difference]:
    """What two answers to one question do not agree on."""
    names = {"question": question.describe(), "setting": setting.describe()}
    found = []
    for at, (a, b) in enumerate(zip(first.rows, other.rows, strict=True)):
        if a != b:
            keys = [key for key in a if a[key] != b[key]]
            examples = [x.examples[at] for x in (first, other) if at in x.examples]
            near = min((nearness(model, example) for example in examples), default=None)
            shown = ({key: row[key] for key in keys} for row in (a, b))
            one, two = (str(part) for part in shown)
            found.append(
                Difference(**names, what=f"image {at}", first=one, other=two, nearness=near)
            )
    for key in first.report.keys() | other.report.keys():
        one, two = first.report.get(key), other.report.get(key)
        if one != two:
            found.append(
                Difference(**names, what=f"report: {key}", first=_short(one), other=_short(two))
            )
    return found


def nearness(model: nn.Module, image: np.ndarray) -> float:
    """How far the two highest logits are apart, as a share of the spread of all."""
    with torch.no_grad():
        logits = model(torch.from_numpy(image)[None])[0].double().sort(descending=True).values
    return float((logits[0] - logits[1]) / (logits[0] - logits[-1]))


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 400 else text[:400] + " …"


def _ask_in_worker(
    question: Question, weights: Mapping[str, np.ndarray], samples: int, compiled: bool
) -> tuple[int, Answer]:
    torch.set_num_threads(1)
    model = reader_with(weights)
    return os.getpid(), ask(question, FIRST, model, digit_images(samples), compiled=compiled)


@dataclass(kw_only=True)
class Study:
    """The comparisons so far."""

    models: Mapping[str, nn.Module]
    samples: Samples
    compiled: bool
    firsts: dict[Question, Answer] = field(default_factory=dict)
    found: list[Difference] = field(default_factory=list)
    comparisons: int = 0
    images: int = 0
    examples: int = 0
    moved_examples: int = 0

    def run(self, asked: Sequence[Question], settings: Sequence[Setting]) -> None:
        """Answer every question in the first setting, then in the others."""
        for number, question in enumerate(asked, 1):
            self.firsts[question] = self._ask(question, FIRST)
            for setting in settings:
                if not setting.worker:
                    self.compare(question, setting, self._ask(question, setting))
            say(f"{number}/{len(asked)} {question.describe()}: {len(self.found)} differences")
        if WORKER in settings:
            self._run_workers([question for question in asked if question.attacks == "default"])

    def compare(self, question: Question, setting: Setting, other: Answer) -> None:
        first = self.firsts[question]
        both = first.examples.keys() & other.examples.keys()
        self.comparisons += 1
        self.images += len(first.rows)
        self.examples += len(both)
        self.moved_examples += sum(
            not np.array_equal(first.examples[at], other.examples[at]) for at in both
        )
        model = self.models[question.model]
        self.found.extend(differences(question, setting, first, other, model))

    def _ask(self, question: Question, setting: Setting) -> Answer:
        model = self.models[question.model]
        return ask(question, setting, model, self.samples, compiled=self.compiled)

    def _run_workers(self, asked: Sequence[Question]) -> None:
        """Two fresh processes share the questions out."""
        weights = {
            name: {key: value.numpy() for key, value in model.state_dict().items()}
            for name, model in self.models.items()
        }
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max_workers=2, mp_context=context) as pool:
            rest = len(self.samples), self.compiled
            futures = [pool.submit(_ask_in_worker, q, weights[q.model], *rest) for q in asked]
            processes = set()
            for question, future in zip(asked, futures, strict=True):
                process, answer = future.result()
                processes.add(process)
                self.compare(question, WORKER, answer)
        say(f"{len(processes)} workers: {len(self.found)} differences")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8, help="run seeds, from 0")
    parser.add_argument("--quick", action="store_true", help="one seed, few images and epochs")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    epochs = 4 if options.quick else None
    study = Study(
        models={name: train_reader(name, epochs=epochs) for name in ("standard", "robust")},
        samples=digit_images(60 if options.quick else None),
        compiled=not options.quick,
    )
    asked = questions(1 if options.quick else options.seeds)
    settings = QUICK if options.quick else OTHERS
    study.run(asked, settings)
    print(f"first setting: {FIRST.describe()}")
    print(f"others: {'; '.join(setting.describe() for setting in settings)}")
    print(f"gates: {len(asked)}, on {len(study.samples)} images; drawing: {DRAWING_IMAGES}")
    print(f"comparisons of whole reports: {study.comparisons}, image outcomes: {study.images}")
    print(
        f"examples compared: {study.examples}, of them not the same to the bit: "
        f"{study.moved_examples}"
    )
    print(f"differences: {len(study.found)}")
    for difference in study.found:
        print("  " + difference.describe())
    if options.output is not None:
        result = {
            "epsilon": EPSILON,
            "attacks": {norm: drawing_attacks(norm, compiled=study.compiled) for norm in EPSILON},
            "first": asdict(FIRST),
            "others": [asdict(setting) for setting in settings],
            "gates": len(asked),
            "images": {"default": len(study.samples), "drawing": DRAWING_IMAGES},
            "comparisons": study.comparisons,
            "image_outcomes": study.images,
            "examples": study.examples,
            "examples_not_equal_to_the_bit": study.moved_examples,
            "measured": {q.describe(): a.report["measured"] for q, a in study.firsts.items()},
            "differences": [asdict(difference) for difference in study.found],
        }
        write_result(options.output, __doc__ or "", result)


if __name__ == "__main__":
    main()
