"""The Fashion-MNIST networks that the benchmarks attack, trained once and kept.

    nets = Shelf().load("pgd")              # trains it if the shelf has none

They are small, so that full AutoAttack on a thousand images is minutes on one core. Weights are
kept as safetensors outside the repository, under a name that holds a digest of the architecture,
the recipe, the data and the seed: another recipe never finds old weights.

`python -m benchmarks.fashion_models` trains all of them.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from fgmf.backbones import ConvNet, ConvNetConfig, HybridConfig, HybridNet, ViT, ViTConfig
from fgmf.datasets import Samples, fashion_mnist
from fgmf.training import NFgsmRecipe, PgdRecipe, Schedule, StandardRecipe, TradesRecipe, train

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.training import Recipe

EPSILON = 0.1
CACHE_VARIABLE = "FGMF_BENCHMARK_CACHE"
NOISE = 0.05

_CONV = ConvNetConfig(widths=(8, 16), hidden=64)
_VIT = ViTConfig(patch_side=7, width=48, depth=2, heads=4)
_HYBRID = HybridConfig(stem_widths=(8, 16, 32), depth=2)


class NoisyInput(nn.Module):
    """A network behind Gaussian noise, drawn anew in every forward pass: a random model.

    Args:
        network: What sees the noisy images.
        deviation: Of the noise, in the units of the images.
    """

    def __init__(self, network: nn.Module, *, deviation: float = NOISE) -> None:
        super().__init__()
        self.network, self.deviation = network, deviation

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, c, h, w) to logits (n, classes), other ones each time."""
        logits: torch.Tensor = self.network(images + self.deviation * torch.randn_like(images))
        return logits


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one network comes about.

    Attributes:
        build: Makes the network with its first weights.
        recipe: How it is trained.
        images: First training images that are used.
        random: Behind noise at evaluation.
    """

    build: Callable[[], nn.Module]
    recipe: Recipe
    images: int = 15000
    random: bool = False

    @property
    def digest(self) -> str:
        """Changes with everything that changes the weights."""
        network = self.build()
        config = getattr(network, "config", None)
        words = f"{type(network).__name__} {config} {self.recipe} {self.images}"
        return hashlib.sha256(words.encode()).hexdigest()[:12]


def _conv() -> nn.Module:
    return ConvNet(_CONV, seed=1)


def _vit() -> nn.Module:
    return ViT(_VIT, seed=2)


def _hybrid() -> nn.Module:
    return HybridNet(_HYBRID, seed=3)


_SHORT = Schedule(epochs=8, peak_learning_rate=6e-3)
_BRIEF = Schedule(epochs=10, peak_learning_rate=4e-3)
_LONG = Schedule(epochs=16, peak_learning_rate=3e-3)

PLANS: dict[str, Plan] = {
    "undefended": Plan(build=_conv, recipe=StandardRecipe(schedule=_SHORT)),
    "n-fgsm": Plan(build=_conv, recipe=NFgsmRecipe(epsilon=EPSILON, schedule=_SHORT)),
    "pgd-7": Plan(build=_conv, recipe=PgdRecipe(epsilon=EPSILON, schedule=_SHORT)),
    "trades": Plan(build=_conv, recipe=TradesRecipe(epsilon=EPSILON, schedule=_SHORT)),
    "vit": Plan(build=_vit, recipe=NFgsmRecipe(epsilon=EPSILON, schedule=_LONG)),
    "hybrid": Plan(build=_hybrid, recipe=NFgsmRecipe(epsilon=EPSILON, schedule=_LONG)),
    # For explanations: half a minute of training each.
    "vit-undefended": Plan(build=_vit, recipe=StandardRecipe(schedule=_BRIEF), images=10000),
    "vit-brief": Plan(
        build=_vit, recipe=NFgsmRecipe(epsilon=EPSILON, schedule=_BRIEF), images=10000
    ),
    "hybrid-undefended": Plan(build=_hybrid, recipe=StandardRecipe(schedule=_BRIEF), images=10000),
    "hybrid-brief": Plan(
        build=_hybrid, recipe=NFgsmRecipe(epsilon=EPSILON, schedule=_BRIEF), images=10000
    ),
    "noisy": Plan(build=_conv, recipe=NFgsmRecipe(epsilon=EPSILON, schedule=_SHORT), random=True),
}


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Where trained weights are kept.

    Attributes:
        folder: Made if missing.
    """

    folder: Path

    @classmethod
    def usual(cls) -> Shelf:
        """The folder that ``FGMF_BENCHMARK_CACHE`` names, else one in the user's cache."""
        named = os.environ.get(CACHE_VARIABLE)
        return cls(folder=Path(named) if named else Path.home() / ".cache" / "fgmf-benchmarks")

    def load(self, name: str) -> nn.Module:
        """Return a trained network in evaluation mode with frozen parameters."""
        return self.take(PLANS[name])

    def take(self, plan: Plan) -> nn.Module:
        """Return the network of a plan, trained, in evaluation mode with frozen parameters."""
        network = plan.build()
        path = self.folder / f"fashion-{plan.digest}.safetensors"
        if path.is_file():
            network.load_state_dict(load_file(path))
        else:
            _trained(network, plan)
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}")
            save_file(network.state_dict(), partial)
            partial.replace(path)
        model = NoisyInput(network) if plan.random else network
        return model.eval().requires_grad_(requires_grad=False)


def held_out(start: int, stop: int) -> Samples:
    """Return test images by their place: figures are reported on the first 1000 alone."""
    samples = fashion_mnist(split="test")
    return Samples(images=samples.images[start:stop], labels=samples.labels[start:stop])


def _trained(network: nn.Module, plan: Plan) -> None:
    samples = fashion_mnist(split="train")
    used = Samples(images=samples.images[: plan.images], labels=samples.labels[: plan.images])
    train(network, used, plan.recipe, seed=11)


def main() -> None:
    """Train what is missing, and say how accurate each is on 2000 test images."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    samples = held_out(8000, 10000)
    for name in PLANS:
        started = time.process_time()
        model = Shelf.usual().load(name)
        seconds = time.process_time() - started
        with torch.no_grad():
            right = model(samples.images).argmax(dim=1) == samples.labels
        print(f"{name:<12} clean {right.double().mean():.3f}  {seconds:6.1f} s CPU", flush=True)


if __name__ == "__main__":
    main()
