"""Loss against CPU time of `CurvatureAware`, beside SGD, AdamW and published Hessian diagonals.

    python -m benchmarks.optimizer_study saddle linear
    python -m benchmarks.optimizer_study fashion [--only NAME ...]

saddle    f(x) = sum a_i x_i^2 / 2 + sum (y_i^4 / 4 - b_i y_i^2 / 2), 10 of each, a from 1 to 100,
          b from .1 to 1, from 1e-3 beside the saddle at 0; the least value is known
linear    |W3 W2 W1 - A|^2 / 2 of 8 x 8 matrices, weights of size .05 at the start: nearly a saddle
          of a network, whose Hessian has negative eigenvalues; the least value is 0
fashion   cross-entropy of a small CNN, 10 000 images of Fashion-MNIST; and `fashion-n-fgsm`

Every optimizer has the same grid of learning rates, times its own usual one; the rate is chosen by
the loss of other seeds (closed forms) or of 2000 validation images (Fashion-MNIST, one seed, which
is not among those reported). AdaHessian and SophiaH are those of the package pytorch-optimizer;
where it is missing, they are. Every cell is kept in the benchmark cache: a study goes on.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.digit_study import say, write_result
from benchmarks.fashion_models import Shelf
from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.canonical import write_atomically
from fgmf.datasets import fashion_mnist
from fgmf.scorpio import CurvatureAware, CurvatureWrapped
from fgmf.training import Schedule
from fgmf.training.perturbations import evaluating, noisy_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

GRID = {
    "closed form": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
    "network": (0.3, 1.0, 3.0, 10.0, 30.0),
}
"""Times an optimizer's usual rate."""
UPDATES = {"saddle": 300, "linear": 600}
BATCH, EPOCHS, TRAINED, VALIDATED = 128, 4, 10_000, 2_000
TUNING_SEED, SEEDS = 100, (1, 2, 3)
RESULT = Path(__file__).parent / "results" / "optimizer_study.json"


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """An optimizer, its usual rate, and whether its backward pass keeps the graph."""

    make: Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer]
    usual: float
    graph_every: int | None = None


def published(name: str, **settings: Any) -> Callable[..., torch.optim.Optimizer]:
    """An optimizer of the package pytorch-optimizer."""

    def make(parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = getattr(importlib.import_module("pytorch_optimizer"), name)(
            parameters, lr=rate, **settings
        )
        return made

    return make


CONTESTANTS = {
    "sgd": Contestant(
        make=lambda p, r: torch.optim.SGD(p, lr=r, momentum=0.9, nesterov=True), usual=0.05
    ),
    "adamw": Contestant(make=lambda p, r: torch.optim.AdamW(p, lr=r, weight_decay=0.0), usual=4e-3),
    "curvature-aware": Contestant(make=lambda p, r: CurvatureAware(p, lr=r), usual=4e-3),
    "curvature-aware, secant": Contestant(
        make=lambda p, r: CurvatureAware(p, lr=r, mode="secant"), usual=4e-3
    ),
    "curvature-aware around sgd": Contestant(
        make=lambda p, r: CurvatureWrapped(torch.optim.SGD(p, lr=r, momentum=0.9)), usual=1e-3
    ),
    "adahessian": Contestant(
        make=published("AdaHessian", update_period=1), usual=0.05, graph_every=1
    ),
    "sophia-h": Contestant(make=published("SophiaH", update_period=10), usual=0.1, graph_every=10),
}


def saddle(seed: int) -> tuple[list[nn.Parameter], Callable[[], torch.Tensor], float, float]:
    """Parameters, the loss, its least value, and the height that gaps are told in.

    That is how far the loss falls from the saddle: the stiff directions alone are no success.
    """
    draws = torch.Generator().manual_seed(seed)
    stiff, downward = torch.logspace(0, 2, 10).double(), torch.logspace(-1, 0, 10).double()
    x = nn.Parameter(torch.randn(10, generator=draws).double())
    y = nn.Parameter(1e-3 * torch.randn(10, generator=draws).double())

    def loss() -> torch.Tensor:
        return (stiff * x**2).sum() / 2 + (y**4 / 4 - downward * y**2 / 2).sum()

    height = float((downward**2).sum()) / 4
    return [x, y], loss, -height, height


def linear(seed: int) -> tuple[list[nn.Parameter], Callable[[], torch.Tensor], float, float]:
    """The same: a target with singular values from .3 to 3."""
    draws = torch.Generator().manual_seed(seed)
    left, right = (
        torch.linalg.qr(torch.randn(8, 8, generator=draws).double())[0] for _ in range(2)
    )
    target = left @ torch.diag(torch.linspace(0.3, 3.0, 8).double()) @ right
    weights = [nn.Parameter(0.05 * torch.randn(8, 8, generator=draws).double()) for _ in range(3)]

    def loss() -> torch.Tensor:
        return (weights[2] @ weights[1] @ weights[0] - target).square().sum() / 2

    return weights, loss, 0.0, float(target.square().sum()) / 2


CLOSED = {"saddle": saddle, "linear": linear}


def update(
    optimizer: torch.optim.Optimizer, loss_of: Callable[[], torch.Tensor], graph: bool
) -> float:
    """One step, with an estimate of the curvature where it is due."""
    if isinstance(optimizer, CurvatureAware | CurvatureWrapped) and optimizer.due():
        optimizer.update_curvature(loss_of)
    optimizer.zero_grad(set_to_none=True)
    loss = loss_of()
    loss.backward(create_graph=graph)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if not graph:
        nn.utils.clip_grad_norm_(parameters, 5.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def closed_form(problem: str, name: str, rate: float, seed: int) -> dict[str, Any]:
    """Gap to the least value over time."""
    contestant = CONTESTANTS[name]
    parameters, loss_of, least, height = CLOSED[problem](seed)
    optimizer = contestant.make(parameters, rate)
    began, gaps, times = time.process_time(), [], []
    for step in range(UPDATES[problem]):
        graph = contestant.graph_every is not None and step % contestant.graph_every == 0
        gaps.append((update(optimizer, loss_of, graph) - least) / height)
        times.append(time.process_time() - began)
    sound = [gap if math.isfinite(gap) else math.inf for gap in gaps]
    reached = next((i for i, gap in enumerate(sound) if gap < 0.01), None)
    last = min(sound[-1], 1e9)
    return {
        "rate": rate,
        "gap": last,
        "judged": last if reached is None else reached - UPDATES[problem],
        "updates_to_1_percent": reached,
        "ms_to_1_percent": None if reached is None else 1000 * times[reached],
        "ms_per_update": 1000 * times[-1] / UPDATES[problem],
        "curve": [[1000 * times[at], min(sound[at], 1e9)] for at in range(0, UPDATES[problem], 20)],
    }


def fashion(problem: str, name: str, rate: float, seed: int) -> dict[str, Any]:
    """Losses after each epoch, and the CPU seconds by then."""
    contestant, samples = CONTESTANTS[name], fashion_mnist(split="train")
    test = fashion_mnist(split="test")
    images, labels = samples.images[:TRAINED], samples.labels[:TRAINED]
    held = slice(TRAINED, TRAINED + VALIDATED)
    model = ConvNet(ConvNetConfig(widths=(8, 16), hidden=64), seed=seed)
    optimizer = contestant.make(model.parameters(), rate)
    schedule = Schedule(epochs=EPOCHS, peak_learning_rate=rate)
    order, noise = (torch.Generator().manual_seed(seed + k) for k in (0, 1000))
    planned, step, seconds, curve = EPOCHS * -(-TRAINED // BATCH), 0, 0.0, []
    for _ in range(EPOCHS):
        model.train()
        began, total = time.process_time(), 0.0
        for batch in torch.randperm(TRAINED, generator=order).split(BATCH):
            x, y = images[batch], labels[batch]
            if problem == "fashion-n-fgsm":
                x = noisy_step(model, x, y, noise=0.1, step=0.1, bounds=(0.0, 1.0), draws=noise)
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate((step + 0.5) / planned)
            graph = contestant.graph_every is not None and step % contestant.graph_every == 0
            total += len(batch) * update(
                optimizer, lambda x=x, y=y: cross_entropy(model(x), y), graph
            )
            step += 1
        seconds += time.process_time() - began
        with evaluating(model), torch.no_grad():
            judged = float(cross_entropy(model(samples.images[held]), samples.labels[held]))
            accuracy = float((model(test.images).argmax(dim=1) == test.labels).float().mean())
        curve.append(
            {
                "seconds": seconds,
                "train_loss": total / TRAINED,
                "validation_loss": judged,
                "test_accuracy": accuracy,
            }
        )
    last = curve[-1]["validation_loss"]
    return {"rate": rate, "judged": last if math.isfinite(last) else 1e9, "curve": curve}


def cell(problem: str, name: str, rate: float, seed: int) -> dict[str, Any]:
    """Measure, or take what was measured before."""
    settings = [EPOCHS, TRAINED] if problem.startswith("fashion") else UPDATES[problem]
    label = f"{problem}-{name}-{rate:g}-{seed}-{settings}".replace(" ", "").replace(",", "-")
    path = Shelf.usual().folder / "optimizers" / f"{label}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    measure = closed_form if problem in CLOSED else fashion
    found = measure(problem, name, rate, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(found).encode())
    return found


def one(problem: str, name: str, *, quick: bool) -> dict[str, Any]:
    """Tune an optimizer on one seed (closed forms: three), and measure it on others."""
    grid = GRID["closed form" if problem in CLOSED else "network"]
    rates = [factor * CONTESTANTS[name].usual for factor in grid]
    tuning = [TUNING_SEED + k for k in range(3 if problem in CLOSED and not quick else 1)]
    judged = {
        rate: statistics.median(cell(problem, name, rate, seed)["judged"] for seed in tuning)
        for rate in rates
    }
    best = min(judged, key=lambda rate: judged[rate])
    say(f"{problem}, {name}: rate {best:g} of {judged}")
    seeds = range(1, 11) if problem in CLOSED and not quick else SEEDS
    return {
        "rate": best,
        "edge_of_the_grid": best in (rates[0], rates[-1]),
        "tuned": {f"{rate:g}": value for rate, value in judged.items()},
        "cells": [cell(problem, name, best, seed) for seed in seeds],
    }


def mean_range(values: list[float]) -> str:
    """Mean, and lowest and highest."""
    return f"{statistics.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def table(problem: str, found: dict[str, Any]) -> str:
    """Markdown."""
    if problem in CLOSED:
        lines = ["| optimizer | rate | reached 1 % | updates | ms | last gap |", "|" + " --- |" * 6]
        for name, entry in found.items():
            cells = entry["cells"]
            done = [c for c in cells if c["updates_to_1_percent"] is not None]
            row = [name, f"{entry['rate']:g}", f"{len(done)} of {len(cells)}"]
            row += [
                f"{statistics.median(c[key] for c in done):.0f}" if done else "-"
                for key in ("updates_to_1_percent", "ms_to_1_percent")
            ]
            row.append(f"{statistics.median(c['gap'] for c in cells):.1e}")
            lines.append(f"| {' | '.join(row)} |")
        return "\n".join(lines)
    head = ["optimizer", "rate", "CPU s", "training loss", "validation loss", "test accuracy"]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * 6]
    for name, entry in found.items():
        ends = [c["curve"][-1] for c in entry["cells"]]
        row = [name, f"{entry['rate']:g}", f"{statistics.mean(e['seconds'] for e in ends):.1f}"]
        row += [
            mean_range([e[key] for e in ends])
            for key in ("train_loss", "validation_loss", "test_accuracy")
        ]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problems", nargs="+", help="saddle, linear, fashion, fashion-n-fgsm")
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS))
    parser.add_argument("--quick", action="store_true", help="fewer seeds of closed forms")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = json.loads(options.output.read_text())["problems"] if options.output.exists() else {}
    for problem in options.problems:
        found = kept.setdefault(problem, {})
        for name in options.only or CONTESTANTS:
            try:
                found[name] = one(problem, name, quick=options.quick)
            except ModuleNotFoundError as missing:
                say(f"{name}: {missing.name} is missing")
            write_result(options.output, "optimizer_study", {"problems": kept})
        print(f"\n{problem}\n\n{table(problem, found)}")


if __name__ == "__main__":
    main()
