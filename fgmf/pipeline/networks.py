"""Networks by name or by a factory, for the images that they are made for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from fgmf.backbones import (
    ConvNet,
    ConvNetConfig,
    HybridConfig,
    HybridNet,
    ResNet,
    ResNetConfig,
    SpikingConfig,
    SpikingNet,
    ViT,
    ViTConfig,
)
from fgmf.errors import FactoryFailed, InvalidInput, InvalidRecipeFile, Problem
from fgmf.gates.problems import one_of_the_keys
from fgmf.running.factories import call_factory, importing_from
from fgmf.seeding import derive_seed, isolated_randomness

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fgmf.agents import View
    from fgmf.datasets import Samples
    from fgmf.pipeline.loading import TrainingPlan
    from fgmf.pipeline.tables import AgentTable, BackboneTable

_BACKBONES: Final[Mapping[str, tuple[Any, Any]]] = {
    "cnn": (ConvNet, ConvNetConfig),
    "resnet": (ResNet, ResNetConfig),
    "spiking": (SpikingNet, SpikingConfig),
    "vit": (ViT, ViTConfig),
    "hybrid": (HybridNet, HybridConfig),
}
_MOST_COLOURS: Final = 4
_MOST_CLASSES: Final = 1_000_000
"""More are labels that number something else."""


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What a model is made for.

    Attributes:
        channels: Of the images.
        height: In pixels.
        width: In pixels.
        classes: One more than the largest label.
    """

    channels: int
    height: int
    width: int
    classes: int

    @classmethod
    def of(cls, samples: Samples) -> ImageFacts:
        """Return those of a data set.

        Raises:
            InvalidInput: Images that are not (n, c, h, w), labels that are no classes, or one class
                alone.
        """
        shape, labels = tuple(samples.images.shape), samples.labels
        if len(shape) != 4 or labels.ndim != 1:
            raise InvalidInput(
                f"expected images (n, c, h, w) and labels (n,), got images {shape} and labels "
                f"{tuple(labels.shape)}"
            )
        if shape[3] <= _MOST_COLOURS < min(shape[1], shape[2]):
            raise InvalidInput(
                f"expected images (n, c, h, w), got {shape}, which looks like (n, h, w, c); bring "
                "the channels to the second place"
            )
        if len(labels.unique()) < 2:
            raise InvalidInput(
                f"expected images of two or more classes, got {len(labels)} of one; are they "
                "sorted by class, and data.images takes the first ones only?"
            )
        classes = int(labels.max()) + 1
        if classes > _MOST_CLASSES:
            raise InvalidInput(
                f"expected labels that number classes from 0 on, got one of {classes - 1}; number "
                "them anew"
            )
        return cls(channels=shape[1], height=shape[2], width=shape[3], classes=classes)

    def seen_by(self, view: View) -> ImageFacts:
        """Return those of what a view shows.

        Raises:
            InvalidInput: A view of what the images don't have.
        """
        shown = view.applied(torch.empty(1, self.channels, self.height, self.width))
        _, channels, height, width = shown.shape
        return ImageFacts(channels=channels, height=height, width=width, classes=self.classes)


def check_networks(plan: TrainingPlan) -> None:
    """Refuse sizes that a backbone does not have, and tables that one can't serve.

    Before any image is loaded.

    Raises:
        InvalidRecipeFile: With all of them, each at its key.
    """
    tables: dict[str, BackboneTable | AgentTable] = {"model": plan.model}
    tables |= {f"model.agents[{number}]": each for number, each in enumerate(plan.model.agents)}
    problems = []
    for place, table in tables.items():
        if table.backbone is None:
            continue
        sizes = [field.name for field in fields(_BACKBONES[table.backbone][1])]
        problems += [
            Problem(
                location=f"{place}.arguments.{key}",
                expected=one_of_the_keys(sizes, key),
                got="an unknown key",
            )
            for key in table.arguments
            if key not in sizes
        ]
        if table.backbone == "spiking":
            problems += _spiking_problems(plan, table, place)
    if problems:
        raise InvalidRecipeFile(str(plan.path), problems)


def _spiking_problems(
    plan: TrainingPlan, table: BackboneTable | AgentTable, place: str
) -> list[Problem]:
    """What needs a network whose layers run once, in a graph that can be followed."""
    problems = []
    if plan.sgam is not None and table.arguments.get("time_steps") != 1:
        expected = (
            f"no table [sgam] for the spiking network of {place}, whose layers run once per time "
            "step and have no one map that a mask could learn (or time_steps = 1)"
        )
        problems.append(Problem(location="sgam", expected=expected, got="one"))
    if plan.pruning is not None and plan.pruning.structure == "units":
        expected = (
            '"weights" or "n-of-m" for a spiking network, whose layers run once per time step and '
            "can't lose units"
        )
        problems.append(Problem(location="pruning.structure", expected=expected, got="'units'"))
    return problems


def build_network(
    table: BackboneTable | AgentTable, facts: ImageFacts, *, seed: int, directory: Path
) -> nn.Module:
    """Make the network of a table, with its first weights.

    Args:
        table: A backbone of ours, or a factory.
        facts: What it will see.
        seed: Fixes the weights.
        directory: Factories may lie there.

    Raises:
        FactoryFailed: The factory failed, or returned no module.
        InvalidInput: Sizes that make no network, or one of ours for images that are no squares.
    """
    weights = derive_seed(seed, "weights")
    if table.factory is not None:
        source = f"model factory {table.factory!r}"
        with importing_from(directory), isolated_randomness(weights):
            made = call_factory(source, table.factory, table.arguments, directory=directory)
        if not isinstance(made, nn.Module):
            raise FactoryFailed(f"{source} must return a module, got {type(made).__name__}")
        return made
    if facts.height != facts.width:
        raise InvalidInput(
            f"expected square images for the backbone {table.backbone}, got {facts.height} x "
            f"{facts.width}; a model of your own (`factory`) may take them"
        )
    network, config = _BACKBONES[str(table.backbone)]
    sizes = {"channels": facts.channels, "image_side": facts.height, "num_classes": facts.classes}
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in table.arguments.items()}
    try:
        made = network(config(**{**sizes, **given}), seed=weights)
    except TypeError as error:
        raise InvalidInput(
            f"expected model.arguments that {config.__name__} has, got: {error}"
        ) from error
    except (RuntimeError, MemoryError, OverflowError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "no memory"
        raise InvalidInput(
            f"expected model.arguments that make a network of {config.__name__}, got: {reason}"
        ) from error
    if not isinstance(made, nn.Module):
        raise InvalidInput(f"expected a network, got {type(made).__name__}")
    return made
