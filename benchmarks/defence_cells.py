"""One cell of `defence_table`: a network trained by a defence, and all that is measured of it.

A cell is a file in `results/defences`, committed, and weights in the benchmark cache. What a cell
has is not measured again, unless its recipe, network or images have changed: the name of its file
holds a digest of them. What is missing is added to the same file.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks.defence_recipes import EPOCHS, EPSILON, ROWS, Backbone, new_network
from benchmarks.fashion_models import Shelf
from benchmarks.training_recipes import integrated, measure_clean, stability
from fgmf.backbones import SpikingNet
from fgmf.canonical import write_atomically
from fgmf.classifier import Classifier
from fgmf.curvature import (
    CurvatureProbe,
    ImageLoss,
    InputCurvature,
    lanczos,
    measure_negative_curvature,
    random_directions,
)
from fgmf.datasets import Samples, fashion_mnist
from fgmf.faithfulness.measuring import measure_metric
from fgmf.faithfulness.scores import ExplainedImages, MetricPlan
from fgmf.gates import GradientMaskingGate, RobustnessGate
from fgmf.sgam import VARIANTS, Sgam
from fgmf.training import Engine, Schedule, Teacher, TrainingRun, TrainingSettings
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.training import KeepingRecipe, Recipe

CELLS = Path(__file__).parent / "results" / "defences"
VALIDATION = (10_000, 11_000)
"""Of the training images: none of the 10 000 that the cells are trained on. The cells with all
60 000 are trained on them too, with the rates that were chosen before."""
EXPLAINED = 500
MASKING_IMAGES = 128
CURVED = 64


@cache
def _images(split: str) -> Samples:
    return fashion_mnist(split=split)  # type: ignore[arg-type]


def some(split: str, begin: int, end: int | None) -> Samples:
    """Some images in their order."""
    found = _images(split)
    return Samples(images=found.images[begin:end], labels=found.labels[begin:end])


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A network, a defence, a seed, a learning rate and a number of training images."""

    backbone: Backbone
    defence: str
    rate: float
    seed: int
    images: int = 10_000

    def recipe(self) -> Recipe | KeepingRecipe:
        """What it is trained by; trains the teacher where it needs one."""
        defence = ROWS[self.defence]
        schedule = Schedule(epochs=EPOCHS, peak_learning_rate=self.rate)
        if not defence.teacher:
            return defence.make(schedule, None)
        by = replace(self, defence=defence.teacher, rate=TEACHER_RATE)
        by.trained()
        return defence.make(schedule, Teacher(name=str(by), model=by.model()))

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return CELLS / f"{self._name()}.json"

    @property
    def weights(self) -> Path:
        """Where its weights are."""
        return Shelf.usual().folder / "defences" / f"{self._name()}.safetensors"

    def _name(self) -> str:
        network = new_network(self.backbone, ROWS[self.defence], 0)
        schedule = Schedule(epochs=EPOCHS, peak_learning_rate=self.rate)
        teacher = Teacher(name=ROWS[self.defence].teacher, model=network)
        words = f"{ROWS[self.defence].make(schedule, teacher)!r} {network!r} {self.images}"
        digest = hashlib.sha256(words.encode()).hexdigest()[:8]
        rate = f"{self.rate:g}"
        row = self.defence.replace(", ", "-").replace(" ", "-").replace("'", "")
        return f"{self.backbone}-{row}-{self.images}-{rate}-{self.seed}-{digest}"

    def found(self) -> dict[str, Any]:
        """What is known of it."""
        if not self.path.is_file():
            return {}
        known: dict[str, Any] = json.loads(self.path.read_text())
        return known

    def trained(self) -> None:
        """Train it if it was not, and keep what that cost."""
        known = self.found()
        if "training" in known and self.weights.is_file():
            return
        network = new_network(self.backbone, ROWS[self.defence], self.seed)
        recipe = self.recipe()
        samples = some("train", 0, self.images)
        before = _peak_memory(forget=True)
        begun = time.process_time()
        # Channels last: the same within rounding, in little more than half the time here.
        settings = TrainingSettings(seed=self.seed, engine=Engine(channels_last=True))
        report = TrainingRun(network, samples, recipe, settings).finish()
        seconds = time.process_time() - begun
        above = _peak_memory() - before
        self.weights.parent.mkdir(parents=True, exist_ok=True)
        partial = self.weights.with_suffix(".partial")
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, partial)
        partial.replace(self.weights)
        training = {
            "recipe": repr(recipe),
            "seconds": round(seconds, 1),
            "passes": [report.cost.forward_passes, report.cost.backward_passes],
            "peak memory, MB above the images": round(above),
            "last loss": report.losses[-1],
            "weights": hashlib.sha256(self.weights.read_bytes()).hexdigest(),
        }
        self._keep({"training": training})

    def model(self) -> nn.Module:
        """The trained network, frozen."""
        network = new_network(self.backbone, ROWS[self.defence], self.seed)
        network.load_state_dict(load_file(self.weights))
        channels_last: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return channels_last.eval().requires_grad_(requires_grad=False)

    def measured(self, what: str, *, count: int = 0) -> None:
        """Measure one thing if it was not: a key of `MEASURES`."""
        name = f"{what} {count}" if count else what
        if name not in self.found():
            self.trained()
            self._keep({name: MEASURES[what](self.model(), count)})

    def _keep(self, more: dict[str, Any]) -> None:
        CELLS.mkdir(parents=True, exist_ok=True)
        whole = {**self.found(), **more}
        text = json.dumps(whole, indent=1, sort_keys=True) + "\n"
        write_atomically(self.path, text.encode())


def _peak_memory(*, forget: bool = False) -> float:
    """Largest resident size of this process in MB, from now on if it is to forget; Linux only."""
    if forget:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(each for each in status.splitlines() if each.startswith("VmHWM"))
    return float(line.split()[1]) / 1024


SURROGATES = ("gradient-inconsistent",)


def surrogates(model: nn.Module) -> bool:
    """Spikes have no derivative: what training puts in its place does not say how answers change,
    and the gate refuses that. Its attacks without gradients count there.
    """
    return any(isinstance(module, SpikingNet) for module in model.modules())


class Cooled(nn.Module):
    """The same answers with logits that float32 can tell apart; the gate refuses the others."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(images) / TEMPERATURE
        return logits


TEMPERATURE = 20.0
"""That `hot` and `defensive-distillation` were trained at."""
TEACHER_RATE = 6e-3
"""Of all teachers."""


def _validation(model: nn.Module, _: int) -> dict[str, float]:
    samples = some("train", *VALIDATION)
    robust = _robust(model, samples, "quick")
    return {"clean": measure_clean(model, samples), "robust": robust["share"]}


def _clean(model: nn.Module, _: int) -> float:
    return measure_clean(model, some("test", 0, None))


def _test(model: nn.Module, count: int) -> dict[str, Any]:
    return _robust(model, some("test", 0, count), "standard")


def _robust(model: nn.Module, samples: Samples, suite: str) -> dict[str, Any]:
    gate = RobustnessGate(
        name="defences",
        norm="linf",
        epsilon=EPSILON,
        min_robust_accuracy=0.5,
        suite=suite,  # type: ignore[arg-type]
        images="all",
        waive=SURROGATES if surrogates(model) else (),
    )
    begun = time.process_time()
    verdict = gate.check(Classifier(model, bounds=(0, 1)), samples.images, samples.labels)
    saturated = "saturated-logits" in verdict.reason
    if verdict.outcome is Outcome.ERROR and saturated and not isinstance(model, Cooled):
        return {**_robust(Cooled(model), samples, suite), "refused": verdict.reason}
    if verdict.measured is None or verdict.interval is None or verdict.outcome is Outcome.ERROR:
        raise RuntimeError(f"expected a figure, got {verdict.outcome}: {verdict.reason}")
    return {
        "share": verdict.measured,
        "interval": [verdict.interval.lower, verdict.interval.upper],
        "findings": [finding.name for finding in verdict.findings],
        "seconds": round(time.process_time() - begun, 1),
    }


def _masking(model: nn.Module, _: int) -> dict[str, Any]:
    gate = GradientMaskingGate(name="defences", norm="linf", epsilon=EPSILON, images="all")
    samples = some("test", 0, MASKING_IMAGES)
    verdict = gate.check(Classifier(model, bounds=(0, 1)), samples.images, samples.labels)
    if verdict.outcome is Outcome.ERROR and not verdict.findings:
        raise RuntimeError(f"expected a verdict, got {verdict.reason}")
    return {
        "outcome": str(verdict.outcome),
        "reason": verdict.reason,
        "findings": [finding.name for finding in verdict.findings],
    }


def _stable(model: nn.Module, _: int) -> float:
    return stability(model, some("test", 0, EXPLAINED).images, EPSILON)


def _deletion(model: nn.Module, _: int) -> dict[str, float]:
    """Mean answer while pixels become black: in the order of the map, and in random order."""
    images = some("test", 0, EXPLAINED).images
    with torch.no_grad():
        classes = model(images).argmax(dim=1)
    maps = integrated(model, images, classes).sum(dim=1)
    noise = torch.rand(maps.shape, generator=torch.Generator().manual_seed(1))
    plan = MetricPlan(metric="deletion", replacement="black")
    means = []
    for each in (maps, noise):
        explained = ExplainedImages(images=images, targets=classes, maps=each)
        scores = measure_metric(plan, Classifier(model, bounds=(0, 1)), explained)
        means.append(float(scores.values.mean()))
    return {"map": means[0], "random": means[1], "gain": means[1] - means[0]}


def _curvature(model: nn.Module, _: int) -> dict[str, float]:
    """Share of images with negative curvature, and the largest curvature of the loss."""
    samples = some("test", 0, CURVED)
    loss_of = ImageLoss(model=model, labels=samples.labels)
    # A float32 difference of gradients over 1.5 rounds at about 1e-7.
    probe = CurvatureProbe(step=1.5, tolerance=1e-5)
    negative = measure_negative_curvature(loss_of, samples.images, probe).share
    products = InputCurvature(loss_of, samples.images, mode="finite-difference")
    start = random_directions(samples.images, seed=0)
    largest = lanczos(products, start, iterations=10).values[:, 0]
    return {"negative": negative, "largest": float(largest.median())}


def _variants(model: nn.Module, count: int) -> dict[str, float]:
    """Robust accuracy of every variant of the mask on the same weights, each attacked itself."""
    if not isinstance(model, Sgam):
        raise TypeError(f"expected a model behind a saliency mask, got {type(model).__name__}")
    model.layer.record_mean_saliency(some("train", 0, 2000).images)
    found = {}
    for variant in VARIANTS:
        model.layer.use_variant(variant)
        found[variant] = _test(model, count)["share"]
    return found


MEASURES: dict[str, Callable[[nn.Module, int], Any]] = {
    "validation": _validation,
    "clean": _clean,
    "robust": _test,
    "masking": _masking,
    "stability": _stable,
    "deletion": _deletion,
    "curvature": _curvature,
    "variants": _variants,
}
