"""The Fashion-MNIST networks that the export study prunes: large enough to have something to lose.

    network = load("cnn", "robust")          # trains it if the shelf has none

`python -m benchmarks.export_models` trains all of them; `cnn robust` trains one.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import nn

from benchmarks.fashion_models import EPSILON, PLANS, Plan, Shelf, held_out
from fgmf.backbones import ConvNet, ConvNetConfig, ViT, ViTConfig
from fgmf.training import NFgsmRecipe, Recipe, Schedule, StandardRecipe

ARCHITECTURES = ("cnn", "vit", "hybrid")
KINDS = ("standard", "robust")
IMAGES = 4000
_EPOCHS = {"cnn": 6, "vit": 8}
_PEAK = {"cnn": 4e-3, "vit": 2e-3}


def build(architecture: str) -> nn.Module:
    """Return an untrained network."""
    if architecture == "cnn":
        return ConvNet(ConvNetConfig(widths=(48, 96), hidden=128), seed=1)
    if architecture == "vit":
        return ViT(ViTConfig(width=96, heads=8, depth=2, mlp_ratio=4, patch_side=4), seed=2)
    return PLANS["hybrid"].build()


def recipe_of(kind: str, schedule: Schedule) -> Recipe:
    """Return the recipe of a kind of network, for training and for fine-tuning."""
    if kind == "standard":
        return StandardRecipe(schedule=schedule)
    return NFgsmRecipe(epsilon=EPSILON, schedule=schedule)


def plan_of(architecture: str, kind: str) -> Plan:
    """Return how a network is trained."""
    if architecture == "hybrid":  # large enough as the other benchmarks have it
        return PLANS["hybrid" if kind == "robust" else "hybrid-undefended"]
    schedule = Schedule(epochs=_EPOCHS[architecture], peak_learning_rate=_PEAK[architecture])
    return Plan(build=lambda: build(architecture), recipe=recipe_of(kind, schedule), images=IMAGES)


def load(architecture: str, kind: str) -> nn.Module:
    """Return a trained network in evaluation mode; its parameters can be trained on."""
    network = Shelf.usual().take(plan_of(architecture, kind))
    return network.requires_grad_(requires_grad=True)


def main() -> None:
    """Train what is missing, and say how accurate each is on 2000 test images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architecture", nargs="?", choices=ARCHITECTURES)
    parser.add_argument("kind", nargs="?", choices=KINDS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    samples = held_out(8000, 10000)
    for architecture in [asked.architecture] if asked.architecture else ARCHITECTURES:
        for kind in [asked.kind] if asked.kind else KINDS:
            started = time.process_time()
            network = load(architecture, kind)
            seconds = time.process_time() - started
            with torch.no_grad():
                right = network(samples.images).argmax(dim=1) == samples.labels
            print(
                f"{architecture:<7} {kind:<9} clean {right.double().mean():.3f}  {seconds:6.1f} s"
            )


if __name__ == "__main__":
    main()
