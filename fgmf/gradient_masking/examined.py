"""The model under examination, and copies of it that can be asked in other ways.

    fresh()      the state that the model came with, before every question that needs it
    double()     a copy in float64
    unhooked()   a copy without backward hooks

All copies count their passes on the meter of the model itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from fgmf.attacks.criteria import Criterion
from fgmf.attacks.own import AttackTask
from fgmf.classifier import Classifier
from fgmf.classifier.copies import copied_module
from fgmf.classifier.memory import is_out_of_memory
from fgmf.seeding import derive_seed, image_generator

if TYPE_CHECKING:
    from fgmf.classifier.state import ModelSnapshot
    from fgmf.threat import ThreatModel
    from fgmf.types import ImageFlags, Images, Labels, Logits

DRAWS = 16
"""Passes over which the accuracy of a random model is averaged."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Traits:
    """How the model answers, apart from what it answers.

    Attributes:
        random: Two passes under two seeds differ.
        stateful: A pass changes later ones.
        batch_dependent: The answer for an image depends on its batch.
    """

    random: bool = False
    stateful: bool = False
    batch_dependent: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Examined:
    """A model with the images that it is examined on; used inside the classifier's guard.

    Attributes:
        classifier: The model.
        images: (n, ...) on the CPU, inside the bounds.
        labels: (n,).
        keys: One stable key per image.
        threat: Ball and box.
        seed: Fixes all draws.
        traits: How it answers.
        snapshot: Its state as it came, held in eval mode; None for callables and files.
    """

    classifier: Classifier
    images: Images
    labels: Labels
    keys: tuple[str, ...]
    threat: ThreatModel
    seed: int
    traits: Traits
    snapshot: ModelSnapshot | None

    def of(self, rows: torch.Tensor) -> Examined:
        """The same model with some of the images."""
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            keys=tuple(self.keys[at] for at in rows.tolist()),
        )

    def __len__(self) -> int:
        """How many images."""
        return len(self.keys)

    def fresh(self) -> None:
        """Put the model's state back, where a pass changes it."""
        if self.traits.stateful and self.snapshot is not None:
            self.snapshot.restore()

    @property
    def passes(self) -> int:
        """Passes of the model so far, of its copies and substitutes, too."""
        reading = self.classifier.cost_meter.reading()
        return reading.forward_passes + reading.backward_passes

    def logits(self, images: Images) -> Logits:
        """The model's own answer, from a fresh state; differentiable where asked to be."""
        self.fresh()
        return self.classifier.logits(images)

    def right(self, images: Images, *, draws: int | None = None) -> torch.Tensor:
        """Share of draws on which the model is right.

        Args:
            images: (n, ...) one for each of the images.
            draws: Passes; None: one, of a random model `DRAWS`.

        Returns:
            (n,) float64; NaN logits count as wrong.

        Cost: `draws` forward passes per image.
        """
        passes = draws or (DRAWS if self.traits.random else 1)
        total = torch.zeros(len(self), dtype=torch.float64)
        size = 1 if self.traits.batch_dependent else self.classifier.batch_size
        for _ in range(passes):
            self.fresh()
            total += self.is_right(self.classifier.logits_in_batches(images, batch_size=size))
        return total / passes

    def is_right(self, logits: Logits) -> ImageFlags:
        """(n,) right, from logits."""
        found: ImageFlags = Criterion(kind="misclassification", labels=self.labels).correct(
            logits.cpu()
        )
        return found

    def task(self, name: str, *, images: Images | None = None) -> AttackTask:
        """These images as a task for an attack of our own."""
        return AttackTask(
            images=self.images if images is None else images,
            criterion=Criterion(kind="misclassification", labels=self.labels),
            threat=self.threat,
            keys=self.keys,
            seed=derive_seed(self.seed, name),
            device=self.workplace,
        )

    @property
    def workplace(self) -> torch.device:
        """Where attacks work: with the model, unless float64 is unknown there."""
        device = self.classifier.device
        return torch.device("cpu") if device.type == "mps" else device

    def uniform(self, what: str, *, like: Images | None = None) -> torch.Tensor:
        """(n, ...) numbers in [-1, 1), each image's own."""
        shape = tuple((self.images if like is None else like).shape[1:])
        rows = [
            torch.from_numpy(image_generator(self.seed, what, key).random(shape, dtype="float32"))
            for key in self.keys
        ]
        return torch.stack(rows).to(self.images.dtype) * 2 - 1


def exact_copies(examined: Examined, images: Images) -> tuple[Classifier | None, Classifier | None]:
    """Return a copy of the model as it is, and one without backward hooks.

    Args:
        examined: The model, inside its classifier's guard.
        images: A few, on which a copy has to decide as the model does.

    Returns:
        Each in float64 where the model can be run like that, else in its own precision; None
        where it cannot be copied, has no gradients, or keeps a state that copies would not share.
    """
    if examined.traits.stateful or not examined.classifier.gradient_available:
        return None, None
    own = examined.classifier.logits_in_batches(images)

    def best(*, keep_hooks: bool) -> Classifier | None:
        for double in (True, False):
            copy = copied(examined.classifier, double=double, keep_hooks=keep_hooks)
            if copy is not None and _decides_alike(copy, images, own, examined.traits):
                return copy
        return None

    return best(keep_hooks=True), best(keep_hooks=False)


def _decides_alike(copy: Classifier, images: Images, own: Logits, traits: Traits) -> bool:
    try:
        answers = copy.logits_in_batches(images)
    except Exception as error:  # a copy in another precision can raise anything
        if is_out_of_memory(error):
            raise
        return False
    if traits.random:
        return answers.shape == own.shape
    return bool((answers.argmax(dim=1) == own.argmax(dim=1)).all())


def copied(
    classifier: Classifier, *, double: bool = False, keep_hooks: bool = True
) -> Classifier | None:
    """Return a copy of a classifier with a module of its own.

    Args:
        classifier: Inside its guard.
        double: In float64.
        keep_hooks: False drops backward hooks, which may lie about gradients.

    Returns:
        The copy, in eval mode with frozen parameters; None where the model is no module or
        cannot be copied.
    """
    if classifier.module is None:
        return None
    try:
        module = copied_module(classifier.module)
    except Exception:  # noqa: BLE001 - a user's module can refuse in any way
        return None
    module.eval()
    for parameter in module.parameters():
        if not parameter.is_inference():
            parameter.requires_grad_(False)  # noqa: FBT003 - torch's only form
    if not keep_hooks:
        for child in module.modules():
            _drop_backward_hooks(child)
    if double:
        module.double()
    made = Classifier(
        module,
        bounds=classifier.bounds,
        normalize=classifier.normalization,
        device=str(classifier.device),
        dtype="float64" if double else "auto",
        batch_size=classifier.batch_size,
        output=classifier.output,
    )
    made.cost_meter = classifier.cost_meter
    return made


def _drop_backward_hooks(module: torch.nn.Module) -> None:
    for name in ("_backward_hooks", "_backward_pre_hooks"):
        hooks: dict[Any, Any] = getattr(module, name, {})
        hooks.clear()


class DoubleEntry(torch.autograd.Function):
    """To float64 on the way in; on the way back each row's gradient is scaled to 1 first."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - torch's context
        """Return the images in float64."""
        ctx.dtype = images.dtype
        return images.double()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - torch's context
        """Return the gradient in the images' own type, each row's largest entry 1."""
        gradient = gradients[0]
        largest = gradient.abs().flatten(1).amax(dim=1).reshape(-1, *([1] * (gradient.ndim - 1)))
        scaled: torch.Tensor = (gradient / torch.where(largest > 0, largest, 1.0)).to(ctx.dtype)
        return scaled
