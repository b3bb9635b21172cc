"""Recipes side by side: accuracy, robustness, stability of explanations, curvature, time.

    python -m benchmarks.training_recipes --seeds 3 [NAME ...]

One small CNN on scikit-learn's digits, one schedule and one learning rate for all: nothing was
tuned, for any recipe (`defence_table` does that, on Fashion-MNIST). Every cell is kept in the
benchmark cache under a digest of its recipe, so an interrupted run goes on; the table shows what
there is. 1348 training images, 12 epochs, Linf 0.15.

clean       all 449 test images
robust      suite `standard`, first 200 test images
stability   mean cosine of integrated gradients (16 midpoints from black, of the predicted class) at
            an image and at the same image under uniform noise of half the budget, 200 images
negative    share of 200 images with negative curvature along one of 4 directions, step 1.5 (L2)
time        CPU seconds of training over those of standard training
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn.functional import cosine_similarity

from benchmarks.digit_study import write_result
from benchmarks.fashion_models import Shelf
from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.canonical import write_atomically
from fgmf.classifier import Classifier
from fgmf.curvature import CurvatureProbe, ImageLoss, measure_negative_curvature
from fgmf.datasets import Samples, digits
from fgmf.gates import RobustnessGate
from fgmf.scorpio import QuadraticAscent, Salience, Scorpio
from fgmf.sgam import Sgam, SgamConfig
from fgmf.training import (
    AmoRecipe,
    NFgsmRecipe,
    PgdRecipe,
    Schedule,
    ScorpioRecipe,
    SgamRecipe,
    StandardRecipe,
    train,
)

if TYPE_CHECKING:
    from fgmf.training import KeepingRecipe, Recipe

STABLE_IMAGES = 200
FIRST_SEED = 11
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What everything is measured on."""

    name: str
    epsilon: float
    network: ConvNetConfig
    schedule: Schedule
    train_images: int
    robust_images: int

    def samples(self, split: Literal["train", "test"]) -> Samples:
        found = digits(split)
        count = self.train_images if split == "train" else len(found)
        return Samples(images=found.images[:count], labels=found.labels[:count])


SETTINGS = {
    "digits": Setting(
        name="digits",
        epsilon=0.15,
        network=ConvNetConfig(image_side=8, hidden=64),
        schedule=Schedule(epochs=12, batch_size=64),
        train_images=1348,
        robust_images=200,
    ),
}


def recipes_for(setting: Setting) -> dict[str, Recipe | KeepingRecipe]:
    """By name, in the order of the table."""
    epsilon, schedule = setting.epsilon, setting.schedule
    ascent = QuadraticAscent(epsilon=epsilon, steps=1, bounds=(0.0, 1.0))
    amo = AmoRecipe(epsilon=epsilon, schedule=schedule)
    as_described = Scorpio(
        ascent=ascent,
        mode="double-backward",
        salience=Salience(method="integrated-gradients", baseline="zero", steps=2, share=0.3),
        psd_weight=1.0,
    )
    return {
        "standard": StandardRecipe(schedule=schedule),
        "n-fgsm": NFgsmRecipe(epsilon=epsilon, schedule=schedule),
        "pgd-7": PgdRecipe(epsilon=epsilon, schedule=schedule),
        "amo-plain": replace(amo, overshoot=1.0, label_smoothing=0.0),
        "amo": amo,
        "scor-pio-2": AmoRecipe.scor_pio_2(epsilon, schedule=schedule),
        "amo-rise-psd-keep": _with_terms(setting, weight=0.3, psd_weight=0.1, keep_weight=0.3),
        "amo-keep-only": _with_terms(setting, keep_weight=0.3),
        "amo-psd-only": _with_terms(setting, psd_weight=0.1),
        "amo-sgam": SgamRecipe(recipe=amo),
        "scorpio-v1": ScorpioRecipe(scorpio=Scorpio.v1(ascent), schedule=schedule),
        "as-described": ScorpioRecipe(scorpio=as_described, schedule=schedule),
    }


def _with_terms(setting: Setting, **weights: float) -> AmoRecipe:
    """AMO with terms of the document instead of the path's, every fourth update."""
    terms = {"weight": 0.0, "psd_weight": 0.0, "keep_weight": 0.0, **weights}
    made = AmoRecipe.scor_pio_2(
        setting.epsilon, path_weight=0.0, schedule=setting.schedule, **terms
    )
    return replace(made, every=4)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One recipe and seed, measured."""

    setting: Setting
    name: str
    seed: int

    @property
    def path(self) -> Path:
        words = f"{recipes_for(self.setting)[self.name]!r} {self.setting}"
        digest = hashlib.sha256(words.encode()).hexdigest()[:12]
        file = f"{self.setting.name}-{self.name}-{self.seed}-{digest}.json"
        return Shelf.usual().folder / "training-recipes" / file

    def measured(self) -> dict[str, Any]:
        if not self.path.is_file():
            write_atomically(self.path, json.dumps(self._measure()).encode())
        found: dict[str, Any] = json.loads(self.path.read_text())
        return found

    def _measure(self) -> dict[str, Any]:
        setting = self.setting
        model: nn.Module = ConvNet(setting.network, seed=self.seed)
        if "sgam" in self.name:
            config = SgamConfig(grid_side=min(7, setting.network.image_side // 2))
            model = Sgam.wrap(model, channels=1, seed=self.seed, config=config)
        _warm_up(setting)
        started = time.process_time()
        recipe = recipes_for(setting)[self.name]
        report = train(model, setting.samples("train"), recipe, seed=self.seed)
        seconds = time.process_time() - started
        model.requires_grad_(requires_grad=False)
        test = setting.samples("test")
        return {
            "seconds": seconds,
            "passes": [report.cost.forward_passes, report.cost.backward_passes],
            "losses": list(report.losses),
            "clean": measure_clean(model, test),
            **measure_robust(model, test, setting),
            "stability": stability(model, test.images[:STABLE_IMAGES], setting.epsilon),
            "negative": _negative(model, test),
        }


def _warm_up(setting: Setting) -> None:
    """Let torch load what the first training of a process would pay for."""
    schedule = Schedule(epochs=1)
    found = setting.samples("train")
    some = Samples(images=found.images[:256], labels=found.labels[:256])
    recipe = PgdRecipe(epsilon=setting.epsilon, steps=1, schedule=schedule)
    train(ConvNet(setting.network), some, recipe)


def measure_clean(model: nn.Module, test: Samples) -> float:
    with torch.no_grad():
        right = [
            model(images).argmax(dim=1) == labels
            for images, labels in zip(test.images.split(500), test.labels.split(500), strict=True)
        ]
    return float(torch.cat(right).double().mean())


def measure_robust(model: nn.Module, test: Samples, setting: Setting) -> dict[str, Any]:
    count = setting.robust_images
    gate = RobustnessGate(
        name="recipes",
        norm="linf",
        epsilon=setting.epsilon,
        min_robust_accuracy=0.5,
        suite="standard",
        images=count,
    )
    images, labels = test.images[:count], test.labels[:count]
    verdict = gate.check(Classifier(model, bounds=(0, 1)), images, labels)
    if verdict.measured is None or verdict.interval is None:
        raise RuntimeError(f"no figure: {verdict.outcome}, {verdict.as_document()}")
    interval = [verdict.interval.lower, verdict.interval.upper]
    findings = [finding.name for finding in verdict.findings]
    return {"robust": verdict.measured, "interval": interval, "findings": findings}


def stability(model: nn.Module, images: torch.Tensor, epsilon: float) -> float:
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    moved = (images + epsilon / 2 * (2 * noise - 1)).clamp(0, 1)
    with torch.no_grad():
        classes = model(images).argmax(dim=1)
    maps = [integrated(model, at, classes).flatten(1) for at in (images, moved)]
    return float(cosine_similarity(*maps, dim=1).mean())


def integrated(model: nn.Module, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    total = torch.zeros_like(images)
    for j in range(16):
        at = ((j + 0.5) / 16 * images).requires_grad_()
        chosen = model(at).gather(1, classes[:, None]).sum()
        total += torch.autograd.grad(chosen, at)[0]
    return images * total / 16


def _negative(model: nn.Module, test: Samples) -> float:
    images, labels = test.images[:STABLE_IMAGES], test.labels[:STABLE_IMAGES]
    # A float32 difference of gradients over 1.5 rounds at about 1e-7.
    probe = CurvatureProbe(step=1.5, tolerance=1e-5)
    return measure_negative_curvature(ImageLoss(model=model, labels=labels), images, probe).share


def table(cells: dict[str, list[dict[str, Any]]]) -> str:
    """Means over the seeds that there are; spread of the robust accuracy where there are more."""
    lines = [
        "| recipe | seeds | time | clean | robust | stability | negative |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in cells.items():
        mean = {
            key: statistics.fmean(cell[key] for cell in found)
            for key in ("clean", "robust", "stability", "negative")
        }
        units = [cell["seconds"] for cell in cells.get("standard", [])]
        ratio = statistics.median(cell["seconds"] for cell in found)
        ratio /= statistics.median(units) if units else float("nan")
        robust = [cell["robust"] for cell in found]
        spread = f" ({min(robust):.3f}-{max(robust):.3f})" if len(found) > 1 else ""
        lines.append(
            f"| {name} | {len(found)} | {ratio:.2f} | {mean['clean']:.3f} "
            f"| {mean['robust']:.3f}{spread} | {mean['stability']:.3f} | {mean['negative']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    setting = SETTINGS["digits"]
    recipes = recipes_for(setting)
    seeds = range(FIRST_SEED, FIRST_SEED + arguments.seeds)
    for seed in seeds:
        for name in arguments.names or recipes:
            Cell(setting=setting, name=name, seed=seed).measured()
    kept: dict[str, list[dict[str, Any]]] = {}
    for name in recipes:
        there = [Cell(setting=setting, name=name, seed=seed) for seed in seeds]
        found = [cell.measured() for cell in there if cell.path.is_file()]
        if found:
            kept[name] = found
    print(table(kept))
    written = {name: repr(recipe) for name, recipe in recipes.items()}
    output = arguments.output or RESULTS / f"training_recipes_{setting.name}.json"
    write_result(output, "training_recipes", {"cells": kept, "recipes": written})


if __name__ == "__main__":
    main()
