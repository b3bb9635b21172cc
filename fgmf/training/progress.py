"""What is said of a training: while it runs, and when it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fgmf.verdict import Cost


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """Where a training stands, after each update.

    Attributes:
        step: Updates made.
        steps: Updates planned.
        epoch: Number of the epoch, from 1.
        loss: Of this update's batch.
    """

    step: int
    steps: int
    epoch: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """What a finished training was.

    Attributes:
        recipe: Its `repr`, which holds every hyper-parameter.
        seed: Fixed order and draws.
        image_count: Training images.
        steps: Updates made.
        losses: Mean loss of each epoch.
        cost: Passes per image over the whole training, and seconds.
        stopped: Why it ended before its time; empty where it did not.
    """

    recipe: str
    seed: int
    image_count: int
    steps: int
    losses: tuple[float, ...]
    cost: Cost
    stopped: str = ""
