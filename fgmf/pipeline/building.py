"""From a checked plan to what a training needs: images, model, recipe, callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import nn

from fgmf.agents import Agent, MessagePassing, MessageSettings, Team, View
from fgmf.datasets import Samples, collect_samples
from fgmf.errors import FactoryFailed, FgmfError, InvalidInput
from fgmf.pipeline.networks import ImageFacts, build_network, check_networks
from fgmf.preflight.data import wider_than_images
from fgmf.preflight.outputs import observe_outputs
from fgmf.running.factories import call_factory, importing_from
from fgmf.scorpio import Ramp
from fgmf.seeding import derive_seed, isolated_randomness
from fgmf.sgam import SaliencyTeacher, Sgam, SgamConfig
from fgmf.training import (
    Augmentation,
    Engine,
    KeepingRecipe,
    Optimization,
    RampedRecipe,
    Recipe,
    Schedule,
    SgamRecipe,
    Teacher,
    TeamRecipe,
)
from fgmf.training.metrics import require_tensorboard
from fgmf.training.perturbations import evaluating

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from fgmf.gatefile.tables import NormalizeTable, SourceTable
    from fgmf.pipeline.loading import TrainingPlan
    from fgmf.pipeline.tables import AgentTable, BackboneTable
    from fgmf.types import Bounds, Images, Logits

_LOOKED_AT: Final = 64
_UNSIGNED: Final = (torch.uint16, torch.uint32, torch.uint64)
"""Of which torch computes next to nothing."""
_COUNTED: Final = 100_000
"""Classes that are looked for; more are refused where the network is made."""


class Normalized(nn.Module):
    """A model behind a subtraction and a division, for images in their bounds.

    Args:
        model: Takes normalised images.
        mean: Per channel.
        std: Per channel, above 0.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: nn.Module, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.backbone = model
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        self.register_buffer("std", std.view(1, -1, 1, 1))

    def forward(self, images: Images) -> Logits:
        """Images (n, c, h, w) in bounds to logits."""
        logits: Logits = self.backbone((images - self.mean) / self.std)
        return logits


def check_logits(model: nn.Module, images: Images) -> None:
    """Refuse a model that returns probabilities, of which a cross-entropy learns next to nothing.

    A model that fails here, or returns anything else, is left to the training, which explains it.

    Raises:
        InvalidInput: The outputs for the first 64 images are at least 0 and sum to 1.

    Cost: 1 forward pass of 64 images.
    """
    try:
        with isolated_randomness(0), evaluating(model), torch.no_grad():
            found: object = model(images[:_LOOKED_AT])
    except Exception:  # noqa: BLE001 - whatever it is, the training meets it again
        return
    if not isinstance(found, torch.Tensor) or found.ndim != 2 or not found.is_floating_point():
        return
    if found.shape[1] > 1 and any(
        seen.name == "probabilities-not-logits" and "sum to 1" in seen.message
        for seen in observe_outputs(found, None)
    ):
        raise InvalidInput(
            f"expected logits from {type(model).__name__}, got rows that sum to 1; return what "
            "stands before its softmax"
        )


def check_needs(plan: TrainingPlan, *, writes: bool = True) -> None:
    """Refuse what can't be trained here, before any image is loaded.

    Args:
        plan: A checked recipe file.
        writes: This process writes the numbers.

    Raises:
        InvalidRecipeFile: Sizes that a backbone does not have, each at its key.
        InvalidInput: A device that there is not here.
        MissingDependency: TensorBoard's files are wanted, and the package is not installed.
    """
    check_networks(plan)
    build_engine(plan).check_device()
    if writes and plan.writing.tensorboard:
        require_tensorboard()


def build_samples(plan: TrainingPlan, notify: Callable[[str], None]) -> Samples:
    """Load the images to train on.

    Args:
        plan: Says which, and how many of them.
        notify: Told where there are fewer than that, and what looks like a mistake.

    Raises:
        FactoryFailed: The factory failed, or returned what is no data.
        InvalidInput: A path that holds none.
    """
    found = collected_samples(plan.data, "data", plan.path.parent)
    if found.labels.dtype in _UNSIGNED:
        found = Samples(images=found.images, labels=found.labels.long())
    count = plan.data.images
    if count is not None:
        if count > len(found):
            notify(f"data.images asks for {count} images, there are {len(found)}; all are taken")
        found = Samples(images=found.images[:count], labels=found.labels[:count])
    for remark in _remarks(found, plan.data.bounds):
        notify(remark)
    return found


def _remarks(samples: Samples, bounds: Bounds) -> Iterator[str]:
    """What can be meant, and mostly is not: units of bounds, and classes without images."""
    images, labels = samples.images, samples.labels
    if images.is_floating_point() and images.numel():
        lowest, highest = float(images.min()), float(images.max())
        if wider_than_images(bounds, lowest, highest):
            yield (
                f"images span [{lowest:g}, {highest:g}] of data.bounds [{bounds[0]:g}, "
                f"{bounds[1]:g}]: bounds and epsilon may be in other units than the images"
            )
    if labels.ndim == 1 and labels.numel() and not labels.is_floating_point():
        present = set(labels.unique().tolist())
        classes = min(int(labels.max()) + 1, _COUNTED)
        missing = [each for each in range(classes) if each not in present]
        if missing:
            some = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
            yield (
                f"no image of {len(missing)} of {classes} classes ({some}): labels number classes "
                "from 0 on"
            )


def build_validation(plan: TrainingPlan) -> Samples | None:
    """Load the images of ``[validation]``, or None where there is no such table."""
    if plan.validation is None:
        return None
    return collected_samples(plan.validation, "validation", plan.path.parent)


def build_model(plan: TrainingPlan, facts: ImageFacts) -> nn.Module:
    """Make the model with its first weights, which the seed fixes.

    Raises:
        FactoryFailed: The factory failed, or returned no module.
        InvalidInput: Sizes that make no network.
    """
    if plan.team is None:
        return _single(plan, plan.model, facts, View(), seed=plan.seed)
    agents = []
    for table in plan.model.agents:
        view = View.of(table.view.model_dump())
        model = _single(plan, table, facts, view, seed=derive_seed(plan.seed, "agent", table.name))
        agents.append(Agent(table.name, model, view=view))
    messages = None
    if plan.team.messages is not None:
        messages = MessagePassing(
            len(agents),
            facts.classes,
            settings=MessageSettings(**plan.team.messages.model_dump()),
            seed=derive_seed(plan.seed, "messages"),
        )
    return Team(agents, rule=plan.team.rule, messages=messages)


def _single(
    plan: TrainingPlan,
    table: BackboneTable | AgentTable,
    facts: ImageFacts,
    view: View,
    *,
    seed: int,
) -> nn.Module:
    """One network behind its normalisation and its mask, for what its view shows."""
    seen = facts.seen_by(view)
    model = build_network(table, seen, seed=seed, directory=plan.path.parent)
    mean, std = (
        None if moments is None else [moments[c] for c in view.channels or range(len(moments))]
        for moments in _moments(plan.model.normalize, facts.channels)
    )
    sgam = plan.sgam
    if sgam is None:
        if mean is None or std is None:
            return model
        return Normalized(model, torch.tensor(mean), torch.tensor(std))
    config = SgamConfig(grid_side=sgam.grid_side, width=sgam.width, m_min=sgam.m_min)
    return Sgam.wrap(
        model,
        channels=seen.channels,
        bounds=plan.data.bounds,
        mean=mean,
        std=std,
        config=config,
        seed=derive_seed(seed, "sgam"),
    )


def build_recipe(plan: TrainingPlan, teacher: Teacher | None = None) -> Recipe | KeepingRecipe:
    """Make the recipe: the defence, its ramps, and the lessons of the mask around both.

    Args:
        plan: A checked recipe file.
        teacher: The model of its table ``[teacher]``.

    Raises:
        InvalidInput: The recipe refuses a number.
    """
    schedule, bounds = build_schedule(plan), plan.data.bounds

    def make(numbers: Mapping[str, float]) -> Recipe | KeepingRecipe:
        defence = plan.defence.model_copy(update=dict(numbers))
        return defence.build(schedule, bounds, teacher)

    recipe = make({})
    if plan.ramps:
        recipe = RampedRecipe(
            make=make,
            ramps={name: Ramp(**ramp.model_dump()) for name, ramp in plan.ramps.items()},
        )
    sgam, team, lessons = plan.sgam, plan.team, None
    if sgam is not None:
        lessons = SaliencyTeacher(
            method=sgam.method, layer=sgam.layer, every=sgam.every, weight=sgam.weight
        )
    if team is not None:
        return TeamRecipe(
            recipe=recipe,
            way=team.training,
            weight=team.alignment,
            every=team.every,
            share=team.share,
            teacher=lessons,
        )
    return recipe if lessons is None else SgamRecipe(recipe=recipe, teacher=lessons)


def build_schedule(plan: TrainingPlan) -> Schedule:
    """Make the schedule; zeros of the file mean that something is left out."""
    table = plan.schedule
    return Schedule(
        epochs=table.epochs,
        batch_size=table.batch_size,
        peak_learning_rate=table.peak_learning_rate,
        rise=table.rise,
        weight_decay=table.weight_decay,
        gradient_clip=table.gradient_clip or None,
        average_decay=table.average_decay or None,
    )


def build_optimization(plan: TrainingPlan) -> Optimization:
    """Make the choice of the optimizer."""
    return Optimization(**plan.optimizer.model_dump())


def build_augmentation(plan: TrainingPlan) -> Augmentation | None:
    """Make the choice of how images are moved."""
    table = plan.augmentation
    return None if table is None else Augmentation(**table.model_dump())


def build_engine(plan: TrainingPlan) -> Engine:
    """Make the engine."""
    return Engine(**plan.engine.model_dump(exclude={"threads"}))


def collected_samples(table: SourceTable, name: str, directory: Path) -> Samples:
    """Load images by a table: a factory, or a path.

    Raises:
        FactoryFailed: The factory failed, or returned what is no data.
        InvalidInput: A path that holds none.
    """
    source = f"{name} factory {table.factory!r}" if table.factory else f"{name} {table.path}"
    with importing_from(directory):
        data: object = table.path_from(directory)
        if table.factory:
            data = call_factory(source, table.factory, table.arguments, directory=directory)
        try:
            return collect_samples(data)
        except FgmfError as error:
            raise FactoryFailed(f"{source} cannot be used: {error}") from error


def _moments(
    table: NormalizeTable | None, channels: int
) -> tuple[list[float] | None, list[float] | None]:
    """Mean and deviation, one number per channel."""
    if table is None:
        return None, None
    both = []
    for name, given in (("mean", table.mean), ("std", table.std)):
        values = list(given) if isinstance(given, tuple) else [given] * channels
        if len(values) != channels:
            raise InvalidInput(
                f"expected model.normalize.{name} as one number, or {channels}, got {len(values)}"
            )
        both.append(values)
    return both[0], both[1]
