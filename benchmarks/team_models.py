"""The Fashion-MNIST teams that `agent_teams` measures, and single networks for the same cost.

A team of a CNN, a ViT and a hybrid is trained for `EPOCHS` epochs in each of three ways. Each
network alone, from the same first weights, is trained for as many epochs as cost the same CPU time:
how much an epoch of each network costs was measured once and is written down here, so that weights
don't depend on the machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file

from benchmarks.fashion_models import EPSILON, Shelf
from fgmf.agents import Agent, Team
from fgmf.backbones import ConvNet, ConvNetConfig, HybridConfig, HybridNet, ViT, ViTConfig
from fgmf.datasets import Samples, fashion_mnist
from fgmf.training import NFgsmRecipe, Schedule, TeamRecipe, train

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from fgmf.training import KeepingRecipe, Recipe

NAMES = ("cnn", "vit", "hybrid")
WAYS = ("independent", "joint", "diverse")
EPOCHS = 6
ALONE = {"cnn": 17, "vit": 17, "hybrid": 20}
"""Epochs of each network alone that take the CPU time of `EPOCHS` epochs of all three."""
IMAGES = 6000
PEAK = 5e-3


def network(name: str) -> nn.Module:
    """One of the three, with its first weights."""
    if name == "cnn":
        return ConvNet(ConvNetConfig(widths=(8, 16), hidden=64), seed=1)
    if name == "vit":
        return ViT(ViTConfig(patch_side=7, width=48, depth=2, heads=4), seed=2)
    return HybridNet(HybridConfig(stem_widths=(8, 16, 32), depth=2), seed=3)


def new_team(rule: str = "mean-log-probability") -> Team:
    """All three, with their first weights."""
    return Team([Agent(name, network(name)) for name in NAMES], rule=rule)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What was trained, and what it cost.

    Attributes:
        model: In evaluation mode, frozen.
        seconds: CPU time of the training.
    """

    model: Any
    seconds: float


def team(way: str, rule: str = "mean-log-probability", *, images: int = IMAGES) -> Trained:
    """A team, trained in one way; agents of `independent` and `diverse` serve every rule."""
    inner = NFgsmRecipe(epsilon=EPSILON, schedule=Schedule(epochs=EPOCHS, peak_learning_rate=PEAK))
    made: Any = TeamRecipe(recipe=inner, way=way)
    kept = _kept(f"team-{way}", new_team(), made, images)
    deciding = new_team(rule)
    deciding.agents.load_state_dict(kept.model.agents.state_dict())
    return Trained(model=deciding.eval().requires_grad_(requires_grad=False), seconds=kept.seconds)


def alone(name: str, *, images: int = IMAGES) -> Trained:
    """A single network, trained for the CPU time of the whole team."""
    schedule = Schedule(epochs=ALONE[name], peak_learning_rate=PEAK)
    recipe = NFgsmRecipe(epsilon=EPSILON, schedule=schedule)
    return _kept(f"alone-{name}", network(name), recipe, images)


def digest_of(name: str, recipe: object, images: int) -> str:
    """Changes with everything that changes the weights."""
    words = f"{name} {recipe} {images} {[str(network(each).config) for each in NAMES]}"
    return hashlib.sha256(words.encode()).hexdigest()[:12]


def _kept(name: str, model: nn.Module, recipe: Recipe | KeepingRecipe, images: int) -> Trained:
    folder = Shelf.usual().folder / "teams"
    path = folder / f"{name}-{digest_of(name, recipe, images)}.safetensors"
    beside = path.with_suffix(".json")
    if not path.is_file() or not beside.is_file():
        used = fashion_mnist(split="train")
        samples = Samples(images=used.images[:images], labels=used.labels[:images])
        started = time.process_time()
        train(model, samples, recipe, seed=11)
        seconds = time.process_time() - started
        folder.mkdir(parents=True, exist_ok=True)
        _write(beside, json.dumps({"seconds": seconds}).encode())
        partial = path.with_suffix(f".{os.getpid()}")
        save_file(model.state_dict(), partial)
        partial.replace(path)
    model.load_state_dict(load_file(path))
    frozen = model.eval().requires_grad_(requires_grad=False)
    return Trained(model=frozen, seconds=json.loads(beside.read_text())["seconds"])


def _write(path: Path, contents: bytes) -> None:
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_bytes(contents)
    partial.replace(path)


def seconds_per_epoch(images: int = 2000) -> dict[str, float]:
    """CPU time of an epoch of each network: what `ALONE` was made from."""
    used = fashion_mnist(split="train")
    samples = Samples(images=used.images[:images], labels=used.labels[:images])
    recipe = NFgsmRecipe(epsilon=EPSILON, schedule=Schedule(epochs=2))
    found = {}
    for name in NAMES:
        started = time.process_time()
        train(network(name), samples, recipe, seed=11)
        found[name] = (time.process_time() - started) / 2
    return found
