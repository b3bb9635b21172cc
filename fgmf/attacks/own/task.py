"""What an attack of our own is given, and what it gives back: values only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import torch

from fgmf.canonical import tensor_digest
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.attacks.criteria import Criterion
    from fgmf.attacks.own.losses import LossName
    from fgmf.threat import ThreatModel
    from fgmf.types import ImageFlags, Images, Logits

LogitsFunction: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""Images (m, ...) to logits (m, classes), differentiable where the attack needs gradients."""


@dataclass(frozen=True, kw_only=True)
class AttackTask:
    """The images to attack, and the rules.

    Attributes:
        images: (n, ...) float, inside the bounds.
        criterion: When an image is broken; for these n images.
        threat: Ball and box.
        keys: One stable key per image, for its random draws.
        seed: With the attack's name and the keys it fixes every draw.
        clean_logits: (n, classes) if they are known already: saves one pass per image.
        ranking_logits: (n, classes) by which wrong classes are ranked; None: the clean ones.
        device: Where the attack works; None: where the images are. Only the images in work are
            taken there.
    """

    images: Images
    criterion: Criterion
    threat: ThreatModel
    keys: tuple[str, ...]
    seed: int = 0
    clean_logits: Logits | None = None
    ranking_logits: Logits | None = None
    device: torch.device | None = None

    def __post_init__(self) -> None:
        """Check that everything speaks of the same n images.

        Raises:
            InvalidInput: Lengths differ, the images are not float, or lie outside the bounds.
        """
        count = self.images.shape[0]
        given = {"labels": len(self.criterion.labels), "keys": len(self.keys)}
        if self.clean_logits is not None:
            given["clean_logits"] = self.clean_logits.shape[0]
        if self.ranking_logits is not None:
            given["ranking_logits"] = self.ranking_logits.shape[0]
        if any(length != count for length in given.values()):
            raise InvalidInput(f"expected one label and one key per image, got {count} and {given}")
        if not self.images.is_floating_point():
            raise InvalidInput(f"expected floating-point images, got {self.images.dtype}")
        lower, upper = self.threat.bounds
        if count and not bool(((self.images >= lower) & (self.images <= upper)).all()):
            low, high = self.images.min().item(), self.images.max().item()
            message = (
                f"expected images within bounds [{lower:g}, {upper:g}], got range "
                f"[{low:.4g}, {high:.4g}] (shape {tuple(self.images.shape)})"
            )
            raise InvalidInput(message)

    @property
    def workplace(self) -> torch.device:
        """The device on which the attack works."""
        return self.images.device if self.device is None else self.device

    def rows(self, position: torch.Tensor) -> Images:
        """The images at (m,) positions, on the device on which the attack works."""
        return self.images[position.to(self.images.device)].to(self.workplace)

    def criterion_on(self, device: torch.device) -> Criterion:
        """The criterion with its labels on a device."""
        targets = self.criterion.targets
        return replace(
            self.criterion,
            labels=self.criterion.labels.to(device),
            targets=None if targets is None else targets.to(device),
        )


@dataclass(frozen=True, kw_only=True)
class AttackOutcome:
    """What an attack made of n images.

    Attributes:
        adversarial: (n, ...) inside ball and box, on the images' device: where `broken`, an
            image that breaks; elsewhere the one that came nearest to it.
        broken: (n,) judged in the passes of the attack; callers judge once more.
        margins: (n,) float64, by how much `adversarial` is broken; negative where it is not.
        forward_passes: (n,) int64, images of this row that went through the model.
        backward_passes: (n,) int64.
        loss: The loss that was used; not the one asked for where that needs more classes.
        vanished: (n,) a gradient of this image was zero in every entry.
        not_finite: (n,) the model gave NaN or infinite logits or gradients for this image: it
            may be breakable where `broken` says no.
        failures: What the model raised, by position, for images that made it raise.
        complete: False if time ran out before every image was through.
    """

    adversarial: Images
    broken: ImageFlags
    margins: torch.Tensor
    forward_passes: torch.Tensor
    backward_passes: torch.Tensor
    loss: LossName
    vanished: ImageFlags
    not_finite: ImageFlags
    failures: dict[int, Exception] = field(default_factory=dict)
    complete: bool = True


def passes_per_call(logits: LogitsFunction) -> int:
    """How many passes of the model one image costs in one call: its own say, or 1."""
    return int(getattr(logits, "passes_per_call", 1))


def image_keys(images: Images) -> tuple[str, ...]:
    """Keys made of the images' contents, where the caller has none of its own."""
    return tuple(tensor_digest(image) for image in images)
