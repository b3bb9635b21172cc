"""How much robust accuracy comes back after half of the units are gone, by several repairs.

For the robust networks of the export study, half of the channels, heads and hidden units removed:

    controls   the dense network as it was gated, and the same trained on as long as the repairs
    repairs    one change at a time: longer, other scores, gradual, other objectives, distillation

All repairs see the images that the dense network was trained on. PGD with 20 steps: on 1000 test
images that no training saw, for choosing ("choice"), and on the first 1000, for reporting.

`python -m benchmarks.export_repair` computes what is missing into the cache, then writes
`benchmarks/results/export_repair.json`; `--try hybrid amo` computes one.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from benchmarks.export_models import ARCHITECTURES, load, plan_of
from benchmarks.export_study import _PEAK, _accuracies, folder
from benchmarks.fashion_models import EPSILON, held_out
from fgmf.canonical import write_atomically
from fgmf.datasets import Samples, fashion_mnist
from fgmf.scorpio import QuadraticAscent, Salience, Scorpio
from fgmf.sparsity import (
    Pruner,
    PruningSchedule,
    compact,
    find_units,
    gradient_scores,
    magnitude_scores,
    prune_units,
)
from fgmf.training import AmoRecipe, NFgsmRecipe, Schedule, noisy_step, train

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from fgmf.sparsity import SparsityPattern
    from fgmf.training import KeepingRecipe, Recipe

SHARE = 0.5
EPOCHS = 10
RESULTS = Path(__file__).parent / "results" / "export_repair.json"


@dataclass(frozen=True, kw_only=True)
class DistilledRecipe:
    """N-FGSM, half of the loss being the divergence from the dense network on the moved images."""

    teacher: nn.Module = field(repr=False)
    schedule: Schedule
    weight: float = 0.5
    temperature: float = 2.0
    bounds: tuple[float, float] = (0.0, 1.0)
    passes: tuple[int, int] = (3, 2)

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        *,
        progress: float,  # noqa: ARG002 - the whole budget all the time
        draws: torch.Generator,
    ) -> torch.Tensor:
        moved = noisy_step(
            model, images, labels, noise=EPSILON, step=EPSILON, bounds=self.bounds, draws=draws
        )
        logits, heat = model(moved), self.temperature
        with torch.no_grad():
            wanted = softmax(self.teacher(moved) / heat, dim=1)
        apart = kl_div(log_softmax(logits / heat, dim=1), wanted, reduction="batchmean")
        hard = cross_entropy(logits, labels)
        return (1 - self.weight) * hard + self.weight * heat * heat * apart


def _n_fgsm(schedule: Schedule, _dense: nn.Module) -> Recipe | KeepingRecipe:
    return NFgsmRecipe(epsilon=EPSILON, warm_up=0.0, schedule=schedule)


def _amo(schedule: Schedule, _dense: nn.Module) -> Recipe | KeepingRecipe:
    return AmoRecipe(epsilon=EPSILON, warm_up=0.0, schedule=schedule)


def _scor_pio(schedule: Schedule, dense: nn.Module) -> Recipe | KeepingRecipe:
    penalty = Scorpio(
        ascent=QuadraticAscent(epsilon=EPSILON, steps=0, bounds=(0.0, 1.0)),
        salience=Salience(method="gradient", share=0.7),
        weight=0.3,
        psd_weight=0.1,
        keep_weight=0.3,
    )
    return replace(_amo(schedule, dense), penalty=penalty, every=4, share=0.25)


def _distilled(schedule: Schedule, dense: nn.Module) -> Recipe | KeepingRecipe:
    return DistilledRecipe(teacher=dense, schedule=schedule)


@dataclass(frozen=True, kw_only=True)
class Repair:
    """One try.

    Attributes:
        recipe: Makes the objective of the repair from a schedule and the dense network.
        epochs: Of the repair, on the images that the dense network was trained on.
        scores: ``gradient``: on the loss of the recipe; ``magnitude``.
        scope: As in `prune_units`.
        gradual: Prune over the first half of the repair instead of before it.
        pruned: False trains the dense network on: a control.
    """

    recipe: Callable[[Schedule, nn.Module], Recipe | KeepingRecipe] = _n_fgsm
    epochs: int = EPOCHS
    scores: str = "gradient"
    scope: str = "layer"
    gradual: bool = False
    pruned: bool = True


REPAIRS = {
    "dense": Repair(pruned=False, epochs=0),
    "dense, trained on": Repair(pruned=False),
    "dense, trained on by AMO": Repair(pruned=False, recipe=_amo),
    "brief": Repair(epochs=2),
    "longer": Repair(),
    "magnitude": Repair(scores="magnitude"),
    "global": Repair(scope="global"),
    "gradual": Repair(gradual=True),
    "AMO": Repair(recipe=_amo),
    "AMO, gradual": Repair(recipe=_amo, gradual=True),
    "SCOR-PIO": Repair(recipe=_scor_pio),
    "distilled": Repair(recipe=_distilled),
}
FEW = ("dense", "dense, trained on", "longer")


def repairs_of(architecture: str) -> tuple[str, ...]:
    """Return the names of what is tried: all on the hybrid, where two epochs were not enough."""
    return tuple(REPAIRS) if architecture == "hybrid" else FEW


def outcome(architecture: str, name: str) -> dict:
    """Return what a try came to, from the cache where it is there."""
    slug = name.replace(", ", "-").replace(" ", "-").lower()
    path = folder() / f"repair-{architecture}-{slug}.json"
    if not path.is_file():
        found = _measured(architecture, REPAIRS[name])
        write_atomically(path, json.dumps(found, indent=1).encode())
    return {"architecture": architecture, "repair": name, **json.loads(path.read_text())}


def _measured(architecture: str, repair: Repair) -> dict:
    started = time.process_time()
    count = plan_of(architecture, "robust").images
    everything = fashion_mnist(split="train")
    used = Samples(images=everything.images[:count], labels=everything.labels[:count])
    dense = load(architecture, "robust")
    network = copy.deepcopy(dense)
    if repair.epochs:
        schedule = Schedule(epochs=repair.epochs, peak_learning_rate=_PEAK[architecture])
        dense.requires_grad_(requires_grad=False)
        recipe = repair.recipe(schedule, dense)
        network = _repaired(network, used, recipe, repair)
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "choice": _accuracies(network, held_out(8000, 9000)),
        "test": _accuracies(network, held_out(0, 1000)),
        "cpu_seconds": time.process_time() - started,
    }


def _repaired(
    network: nn.Module, used: Samples, recipe: Recipe | KeepingRecipe, repair: Repair
) -> nn.Module:
    if not repair.pruned:
        train(network, used, recipe, seed=5)
        return network.eval()
    found, shown = find_units(network, used.images[:2]), held_out(0, 64).images

    def choose(model: nn.Module, share: float) -> SparsityPattern:
        if repair.scores == "magnitude":
            scores = magnitude_scores(model)
        else:
            scores = gradient_scores(model, used, recipe, image_count=512, seed=1)
        return prune_units(model, found, scores, share, scope=repair.scope)

    if repair.gradual:
        pruner = Pruner(network, choose, PruningSchedule(final_share=SHARE, end=0.5, rounds=6))
        with pruner.holding():
            train(network, used, recipe, seed=5, on_progress=pruner)
        return compact(network.eval(), shown, pattern=pruner.pattern).model
    smaller = compact(network, shown, pattern=choose(network, SHARE)).model
    train(smaller, used, recipe, seed=5)
    return smaller.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--try", nargs=2, metavar=("NETWORK", "REPAIR"), dest="attempt")
    parser.add_argument("--network", choices=ARCHITECTURES, action="append")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [tuple(asked.attempt)] if asked.attempt else None
    if wanted is None:
        networks = asked.network or ARCHITECTURES
        wanted = [(each, name) for each in networks for name in repairs_of(each)]
    rows = []
    for each in wanted:
        row = outcome(*each)
        rows.append(row)
        choice, test = row["choice"], row["test"]
        print(
            f"{row['architecture']:<7} {row['repair']:<26} {row['parameters']:>7} "
            f"choice {choice['robust_accuracy']:.3f} test clean {test['clean_accuracy']:.3f} "
            f"robust {test['robust_accuracy']:.3f}  {row['cpu_seconds']:6.0f} s",
            flush=True,
        )
    if not asked.attempt and not asked.network:
        write_atomically(RESULTS, (json.dumps({"tries": rows}, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
