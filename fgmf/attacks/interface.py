"""What every attack is given, and what it gives back, whoever carries it out: values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from fgmf.errors import FgmfError

if TYPE_CHECKING:
    import torch

    from fgmf.attacks.criteria import Criterion
    from fgmf.types import ImageFlags, Images, Logits


@dataclass(frozen=True, kw_only=True)
class AttackBatch:
    """The images that one call of an attack works on.

    Attributes:
        images: (n, ...) float, inside the bounds, on the CPU.
        criterion: For these n images.
        keys: One stable key per image.
        starts: (n, ...) misclassified images to walk from, for attacks that need them.
        clean_logits: (n, classes) of the images, where they are known already.
    """

    images: Images
    criterion: Criterion
    keys: tuple[str, ...]
    starts: Images | None = None
    clean_logits: Logits | None = None

    def part(self, rows: slice) -> AttackBatch:
        """Some of the images."""
        return AttackBatch(
            images=self.images[rows],
            criterion=self.criterion.of(rows),
            keys=self.keys[rows],
            starts=None if self.starts is None else self.starts[rows],
            clean_logits=None if self.clean_logits is None else self.clean_logits[rows],
        )


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """What an attack made of a batch.

    Attributes:
        adversarial: (n, ...) on the CPU, inside ball and box; where it failed, the clean image
            or the best one found before.
        failures: Why, by position in the batch, where the attack could not be carried out.
        radii: (n,) float64 distance of the nearest misclassified image that was found, infinite
            where none was; None from attacks that look for none. The attack's own word.
        complete: False if time ran out: what was found so far is here, the rest is open.
        offered: (n,) False where there is nothing to judge; None: every candidate counts.
    """

    adversarial: Images
    failures: dict[int, str] = field(default_factory=dict)
    radii: torch.Tensor | None = None
    complete: bool = True
    offered: ImageFlags | None = None


class Attack(Protocol):
    """An attack, bound to a classifier, a threat model and a seed."""

    def run(self, batch: AttackBatch, *, restart: int) -> AttackResult:
        """Attack a batch.

        Args:
            batch: n images; a block of many, where the attack makes its own batches.
            restart: Number of the restart, for the draws; 0 where the attack sees to its
                restarts itself.

        Returns:
            Candidates, not yet judged. An image that cannot be attacked is a failure of this
            image alone.

        Raises:
            BudgetSpent: The deadline has passed, and nothing was found that is worth keeping.
        """
        ...


def reason_of(error: Exception) -> str:
    """Say in one line what was raised."""
    name, text = type(error).__name__, str(error).strip().splitlines()
    if not text:
        return name
    return text[0] if isinstance(error, FgmfError) else f"{name}: {text[0]}"
