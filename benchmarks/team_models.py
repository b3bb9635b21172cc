"""The teams that `agent_teams` measures, and single networks for the same cost.

A team of a CNN, a ViT and a hybrid is trained in each of three ways; `joint` through the mean of
log-probabilities, and for a rule that has something to train through this rule. Each network alone,
from the same first weights, is trained for as many epochs as cost the same CPU time as all three
trained independently: how much an epoch of each network costs was measured once and is written down
here, so that weights don't depend on the machine.

fashion    6000 images of Fashion-MNIST, Linf 0.1, the first 500 test images
digits     1348 digits of scikit-learn, Linf 0.1, all 449 test images: minutes in all
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from safetensors.torch import load_file, save_file

from benchmarks.fashion_models import Shelf
from fgmf.agents import RULES, Agent, Team
from fgmf.backbones import ConvNet, ConvNetConfig, HybridConfig, HybridNet, ViT, ViTConfig
from fgmf.datasets import Samples, digits, fashion_mnist
from fgmf.training import NFgsmRecipe, Schedule, TeamRecipe, train

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

    from fgmf.training import KeepingRecipe, Recipe

ALIGNMENT = 1.5
"""Weight of the alignment of gradients in `diverse`."""
NAMES = ("cnn", "vit", "hybrid")
WAYS: tuple[Literal["independent", "joint", "diverse"], ...] = ("independent", "joint", "diverse")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What was trained, and what it cost.

    Attributes:
        model: In evaluation mode, frozen.
        seconds: CPU time of the training.
    """

    model: Any
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Study:
    """One data set, with the sizes that go with it.

    Attributes:
        data: Its name.
        images: First training images that are used.
        epochs: Of the teams.
        alone: Epochs of each network alone that take the CPU time of `epochs` of all three.
        peak: Highest learning rate.
        batch: Images per update.
        epsilon: Budget in Linf.
        measured: Test images.
    """

    data: Literal["fashion", "digits"]
    images: int
    epochs: int
    alone: Mapping[str, int]
    peak: float
    batch: int
    epsilon: float
    measured: int

    def network(self, name: str) -> nn.Module:
        """One of the three, with its first weights."""
        small = self.data == "digits"
        if name == "cnn":
            config = ConvNetConfig(image_side=8, widths=(8, 16), hidden=32)
            return ConvNet(config if small else ConvNetConfig(widths=(8, 16), hidden=64), seed=1)
        if name == "vit":
            chosen = ViTConfig(image_side=8, patch_side=2, width=32, depth=2, heads=4)
            large = ViTConfig(patch_side=7, width=48, depth=2, heads=4)
            return ViT(chosen if small else large, seed=2)
        tiny = HybridConfig(image_side=8, stem_widths=(16, 32), depth=2)
        return HybridNet(tiny if small else HybridConfig(stem_widths=(8, 16, 32), depth=2), seed=3)

    def new_team(self, rule: str = "mean-log-probability") -> Team:
        """All three, with their first weights."""
        return Team([Agent(name, self.network(name)) for name in NAMES], rule=rule)

    def training_set(self) -> Samples:
        """What they are trained on."""
        found = digits("train") if self.data == "digits" else fashion_mnist(split="train")
        return Samples(images=found.images[: self.images], labels=found.labels[: self.images])

    def test_set(self, count: int | None = None) -> Samples:
        """What they are measured on; the first so many."""
        found = digits("test") if self.data == "digits" else fashion_mnist(split="test")
        used = min(self.measured, count or self.measured)
        return Samples(images=found.images[:used], labels=found.labels[:used])

    def team(self, way: str, rule: str = "mean-log-probability") -> Trained:
        """A team, trained in one way; agents serve every rule that has nothing to train."""
        made: Any = TeamRecipe(recipe=self._defence(self.epochs), way=way, weight=ALIGNMENT)  # type: ignore[arg-type]
        if way == "joint" and RULES[rule].trained:  # type: ignore[index]
            return self._kept(f"team-{way}-{rule}", self.new_team(rule), made)
        kept = self._kept(f"team-{way}", self.new_team(), made)
        deciding = self.new_team(rule)
        deciding.agents.load_state_dict(kept.model.agents.state_dict())
        frozen = deciding.eval().requires_grad_(requires_grad=False)
        return Trained(model=frozen, seconds=kept.seconds)

    def single(self, name: str) -> Trained:
        """A network alone, trained for the CPU time of the whole team."""
        return self._kept(f"alone-{name}", self.network(name), self._defence(self.alone[name]))

    def seconds_per_epoch(self) -> dict[str, float]:
        """CPU time of an epoch of each network: what `alone` was made from."""
        found = {}
        for name in NAMES:
            started = time.process_time()
            train(self.network(name), self.training_set(), self._defence(2), seed=11)
            found[name] = (time.process_time() - started) / 2
        return found

    def quick(self) -> Study:
        """The same in a few seconds, for those who want to see that it runs."""
        return replace(self, images=300, epochs=2, alone=dict.fromkeys(NAMES, 2), measured=20)

    def _defence(self, epochs: int) -> NFgsmRecipe:
        schedule = Schedule(epochs=epochs, peak_learning_rate=self.peak, batch_size=self.batch)
        return NFgsmRecipe(epsilon=self.epsilon, schedule=schedule)

    def _kept(self, name: str, model: nn.Module, recipe: Recipe | KeepingRecipe) -> Trained:
        configs = [str(self.network(each).config) for each in NAMES]
        words = f"{self.data} {name} {recipe} {self.images} {configs}"
        digest = hashlib.sha256(words.encode()).hexdigest()[:12]
        path = Shelf.usual().folder / "teams" / f"{self.data}-{name}-{digest}.safetensors"
        beside = path.with_suffix(".json")
        if not path.is_file() or not beside.is_file():
            started = time.process_time()
            train(model, self.training_set(), recipe, seed=11)
            seconds = time.process_time() - started
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(beside, json.dumps({"seconds": seconds}).encode())
            partial = path.with_suffix(f".{os.getpid()}")
            save_file(model.state_dict(), partial)
            partial.replace(path)
        model.load_state_dict(load_file(path))
        frozen = model.eval().requires_grad_(requires_grad=False)
        return Trained(model=frozen, seconds=json.loads(beside.read_text())["seconds"])


STUDIES = {
    "fashion": Study(
        data="fashion",
        images=6000,
        epochs=10,
        alone={"cnn": 31, "vit": 28, "hybrid": 31},
        peak=3e-3,
        batch=64,
        epsilon=0.1,
        measured=500,
    ),
    "digits": Study(
        data="digits",
        images=1348,
        epochs=14,
        alone={"cnn": 67, "vit": 32, "hybrid": 40},
        peak=3e-3,
        batch=32,
        epsilon=0.1,
        measured=449,
    ),
}


def _write(path: Path, contents: bytes) -> None:
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_bytes(contents)
    partial.replace(path)
