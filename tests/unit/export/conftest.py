"""One pruned, compacted, exported model of the digits, made once for the tests of this room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.classifier import Classifier
from fgmf.datasets import digits
from fgmf.export import Exported, ExportSettings, export_onnx
from fgmf.sparsity import compact, find_units, fine_tune, gradient_scores, keep_highest, prune_units
from fgmf.training import NFgsmRecipe, Schedule, train

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

EPSILON = 0.1
_CONFIG = ConvNetConfig(image_side=8, widths=(8, 16), hidden=32, norm="batch")


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A model on its way from training to a file."""

    trained: nn.Module
    compacted: nn.Module
    classifier: Classifier
    exported: Exported


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """Train, prune half of the units, fine-tune, compact, prune single weights, export."""
    samples = digits("train")
    recipe = NFgsmRecipe(epsilon=EPSILON, schedule=Schedule(epochs=4))
    model = ConvNet(_CONFIG, seed=1)
    train(model, samples, recipe, seed=1)
    found = find_units(model, samples.images[:2])
    pattern = prune_units(model, found, gradient_scores(model, samples, recipe), 0.5)
    fine_tune(model, samples, recipe, pattern, seed=2)
    smaller = compact(model, samples.images[:64])
    scores = gradient_scores(smaller.model, samples, recipe)
    keep_highest({name: scores[name] for name in scores if "head" in name}, 0.7).apply(
        smaller.model
    )
    classifier = Classifier(
        smaller.model, bounds=(0, 1), normalize={"mean": [0.0], "std": [1.0]}, device="cpu"
    )
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    settings = ExportSettings(removal=smaller.plan)
    exported = export_onnx(classifier, samples.images[:64], path, settings)
    return Shipped(trained=model, compacted=smaller.model, classifier=classifier, exported=exported)


@pytest.fixture
def copied(shipped: Shipped, tmp_path: Path) -> Path:
    """A copy of the exported file that a test may change."""
    path = tmp_path / "model.onnx"
    path.write_bytes(shipped.exported.path.read_bytes())
    return path


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
