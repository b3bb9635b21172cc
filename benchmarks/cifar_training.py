"""CIFAR-10 at Linf 8/255 with a ResNet-18: clean and robust accuracy, and time per update.

    python -m benchmarks.cifar_training FOLDER --device cuda              # four recipes
    python -m benchmarks.cifar_training FOLDER --quick                    # a small part, on a CPU

FOLDER (or the variable FGMF_CIFAR10) holds `cifar10-train.npz` and `cifar10-test.npz`: either
`images` and `labels`, as `fgmf.datasets.npz` reads them, or the images as JPEG files end to end:
`jpeg` (bytes), `offsets` (n + 1) and `labels`.

Shifts of up to 4 pixels and mirror images, under every recipe; SGD, one cycle, batches of 128;
bfloat16 and channels last on a GPU. One rate for all: nothing was tuned. Each recipe is a cell that
is kept in the benchmark cache; an interrupted run goes on from the last whole cell. Planned for
less than 20 minutes on a recent GPU (265 forward or backward passes over 50 000 images), and not
measured on one. `--only` names the recipes, `pgd-2` and `amo` too.

clean     all test images
robust    the worst case of the suite `standard` (`--quick`: `quick`) on the first so many
ms        wall time of an update, all of it, over the training without its first 10 updates
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import statistics
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from benchmarks.digit_study import say, write_result
from benchmarks.fashion_models import Shelf
from fgmf.backbones import ResNet, ResNetConfig
from fgmf.canonical import write_atomically
from fgmf.classifier import Classifier
from fgmf.datasets import Samples, npz
from fgmf.gates import RobustnessGate
from fgmf.training import (
    AmoRecipe,
    Augmentation,
    Callback,
    Engine,
    NFgsmRecipe,
    Optimization,
    PgdRecipe,
    Schedule,
    StandardRecipe,
    TrainingRun,
    TrainingSettings,
)

if TYPE_CHECKING:
    from fgmf.training import KeepingRecipe, Recipe

EPSILON = 8 / 255
VARIABLE = "FGMF_CIFAR10"
RESULT = Path(__file__).parent / "results" / "cifar_training.json"
WARM_UP = 10
USUAL = ("standard", "n-fgsm", "scor-pio-2", "pgd-7")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of everything."""

    network: ResNetConfig
    train: int
    robust: int
    test: int
    epochs: int
    average: float
    suite: str


WHOLE = Size(
    network=ResNetConfig.like_18(),
    train=50_000,
    robust=1000,
    test=10_000,
    epochs=10,
    average=0.99,
    suite="standard",
)
QUICK = Size(
    network=ResNetConfig(image_side=32, channels=3, widths=(8, 16, 32), blocks=(1, 1, 1)),
    train=1500,
    robust=100,
    test=1000,
    epochs=6,
    average=0.9,
    suite="quick",
)


def recipes(schedule: Schedule) -> dict[str, Recipe | KeepingRecipe]:
    """By name, in the order of the table."""
    return {
        "standard": StandardRecipe(schedule=schedule),
        "n-fgsm": NFgsmRecipe(epsilon=EPSILON, schedule=schedule),
        "pgd-2": PgdRecipe(epsilon=EPSILON, steps=2, schedule=schedule),
        "amo": AmoRecipe(epsilon=EPSILON, schedule=schedule),
        "scor-pio-2": AmoRecipe.scor_pio_2(EPSILON, schedule=schedule),
        "pgd-7": PgdRecipe(epsilon=EPSILON, schedule=schedule),
    }


def cifar(folder: Path, split: str, count: int) -> Samples:
    """The first so many images (n, 3, 32, 32) in [0, 1], and labels."""
    path = folder / f"cifar10-{split}.npz"
    with np.load(path, allow_pickle=False) as file:
        if "jpeg" not in file:
            found = npz(path)
            images = found.images[:count]
            images = images if images.is_floating_point() else images.float() / 255
            return Samples(images=images, labels=found.labels[:count])
        jpeg, offsets, labels = file["jpeg"], file["offsets"], file["labels"]
    pixels = [
        np.asarray(Image.open(io.BytesIO(jpeg[a:b].tobytes())).convert("RGB"))
        for a, b in pairwise(offsets[: count + 1].tolist())
    ]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    return Samples(
        images=images.float() / 255, labels=torch.from_numpy(labels[:count].astype(np.int64))
    )


class Clock(Callback):
    """When each update ended, with the device's work done."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.times: list[float] = []

    def after_update(self, run: TrainingRun) -> None:  # noqa: ARG002 - of the interface
        if self._device.startswith("cuda"):
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())

    @property
    def milliseconds(self) -> float:
        """Median time of an update."""
        times = self.times[WARM_UP:] if len(self.times) > 2 * WARM_UP else self.times
        return 1000 * statistics.median(after - before for before, after in pairwise(times))


def measured(
    name: str, seed: int, size: Size, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Train by one recipe, and attack."""
    schedule = Schedule(
        epochs=options.epochs or size.epochs,
        peak_learning_rate=options.rate,
        weight_decay=5e-4,
        average_decay=size.average,
    )
    recipe, device = recipes(schedule)[name], str(options.device)
    on_gpu = device.startswith("cuda")
    what = f"{size}-{recipe!r}-{seed}-{on_gpu}-{torch.cuda.get_device_name() if on_gpu else 'cpu'}"
    digest = hashlib.sha256(what.encode()).hexdigest()[:16]
    path = Shelf.usual().folder / "cifar" / f"{name}-{seed}-{digest}.json"
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text())
        return kept
    model, clock = ResNet(size.network, seed=seed), Clock(device)
    settings = TrainingSettings(
        seed=seed,
        optimization=Optimization(name="sgd"),
        engine=Engine(
            device=device,
            mixed_precision="bfloat16" if on_gpu else None,
            channels_last=on_gpu,
        ),
        augmentation=Augmentation(),
        callbacks=[clock],
    )
    began = time.perf_counter()
    report = TrainingRun(model, cifar(folder, "train", size.train), recipe, settings).finish()
    seconds = time.perf_counter() - began
    test = cifar(folder, "test", size.test)
    gate = RobustnessGate(
        name="robust",
        norm="linf",
        epsilon=EPSILON,
        min_robust_accuracy=0.0,
        suite=size.suite,
        images=size.robust,
    )
    classifier = Classifier(model, bounds=(0, 1), device=device)
    verdict = gate.check(classifier, test.images[: size.robust], test.labels[: size.robust])
    interval = verdict.interval
    with torch.no_grad():
        right = sum(
            int((model(x.to(device)).argmax(dim=1).cpu() == y).sum())
            for x, y in zip(test.images.split(500), test.labels.split(500), strict=True)
        )
    found = {
        "recipe": name,
        "seed": seed,
        "updates": report.steps,
        "ms": clock.milliseconds,
        "training_seconds": seconds,
        "clean": right / len(test),
        "robust": verdict.measured,
        "interval": None if interval is None else [interval.lower, interval.upper],
        "reason": verdict.reason,
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(found).encode())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=os.environ.get(VARIABLE), type=Path)
    parser.add_argument("--quick", action="store_true", help="a small part, for a CPU")
    parser.add_argument("--only", nargs="+", choices=list(recipes(Schedule())))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.folder is None or not (options.folder / "cifar10-train.npz").exists():
        parser.error(
            f"expected a folder with cifar10-train.npz and cifar10-test.npz, or {VARIABLE}"
        )
    if options.device == "cpu":
        torch.set_num_threads(1)
    size, found = QUICK if options.quick else WHOLE, []
    print("| recipe | seed | ms | clean | robust |\n|" + " --- |" * 5)
    for name in options.only or USUAL:
        for seed in range(options.seeds):
            say(f"{name}, seed {seed}")
            cell = measured(name, seed, size, options.folder, options)
            found.append(cell)
            robust = f"none: {cell['reason'].partition(':')[0]}"
            if cell["interval"] is not None:
                low, high = cell["interval"]
                robust = f"{cell['robust']:.3f} [{low:.3f}, {high:.3f}]"
            print(f"| {name} | {seed} | {cell['ms']:.1f} | {cell['clean']:.3f} | {robust} |")
            write_result(options.output, "cifar_training", {"size": str(size), "cells": found})


if __name__ == "__main__":
    main()
