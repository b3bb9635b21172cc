"""Which runs of an attack each image gets, and in which order.

A *lane* is one run on one image: a restart, and perhaps a target class. The lanes of an image
are cut into *waves*: those of one wave run side by side in the same batches, the next wave
starts only if the last one ended without breaking the image. So what happens to an image
depends on nothing but the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fgmf.attacks.own.balls import Region, random_point
from fgmf.attacks.own.losses import NO_TARGET
from fgmf.attacks.own.rows import choose
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from fgmf.threat import ThreatModel
    from fgmf.types import Images, Labels, Logits


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The lanes of every image.

    Attributes:
        restarts: Runs with draws of their own.
        targets: Most probable wrong classes to aim at, one lane each; 0 aims at none.
        width: Lanes of one image that run side by side: 1 costs fewest passes, more fill the
            batches when few images are left.
        leave_when_broken: Stop an image's lanes as soon as it is broken. False runs all of them
            to the end, for the largest margin.
    """

    restarts: int = 1
    targets: int = 0
    width: int = 1
    leave_when_broken: bool = True

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InvalidInput: A count is too small.
        """
        if self.restarts < 1 or self.targets < 0 or self.width < 1:
            raise InvalidInput(f"expected restarts and width >= 1, targets >= 0, got {self}")

    def waves(self, ranked_classes: list[int]) -> list[list[tuple[int, int]]]:
        """Return the waves of one image.

        Args:
            ranked_classes: The wrong classes, most probable first.

        Returns:
            Waves of (restart, target) pairs.
        """
        aims = ranked_classes[: self.targets] if self.targets else [NO_TARGET]
        lanes = [(restart, target) for restart in range(self.restarts) for target in aims]
        return [lanes[at : at + self.width] for at in range(0, len(lanes), self.width)]


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """Running lanes, one row each.

    Attributes:
        position: (m,) which image of the task.
        restart: (m,) number of the restart.
        target: (m,) class aimed at, or `NO_TARGET`.
    """

    position: torch.Tensor
    restart: torch.Tensor
    target: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class LaneStart:
    """What a method is given to start lanes.

    Attributes:
        lanes: m rows.
        region: m rows.
        threat: Ball and box.
        generators: One per lane.
    """

    lanes: Lanes
    region: Region
    threat: ThreatModel
    generators: Sequence[np.random.Generator]


def starting_points(start: LaneStart, *, random_start: bool) -> Images:
    """Return (m, ...) random points; without `random_start`, clean images in restart 0."""
    drawn = random_point(start.region, start.threat, start.generators)
    if random_start:
        return drawn
    return choose(start.lanes.restart == 0, start.region.clean, drawn)


def rank_wrong_classes(logits: Logits, labels: Labels) -> torch.Tensor:
    """Return the classes other than the label, highest logit first: (n, classes - 1)."""
    order = logits.double().nan_to_num(nan=-torch.inf).argsort(dim=1, descending=True, stable=True)
    keep = order != labels.to(order.device)[:, None]
    return order[keep].reshape(len(order), max(0, order.shape[1] - 1))
