"""Random search: what a gradient has to beat, and what it must never miss.

    query k even:   a uniform point of the ball
    query k odd:    a corner: +-eps in every value (Linf), a diagonal (L2), one value (L1)
    cut to the box; keep the point of largest margin; stop when one is misclassified

Source: the random-search tell of Athalye et al. 2018; own choice of points.
Cost: at most `queries` forwards per restart, and the clean forward. Randomness: every point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from fgmf.attacks.own.balls import Region, project, sparse_steepest, steepest
from fgmf.attacks.own.draws import lane_seeds, normal, uniform
from fgmf.attacks.own.engine import Answer, run_lanes
from fgmf.attacks.own.lanes import LaneStart, Schedule
from fgmf.attacks.own.rows import choose
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.attacks.own.losses import LossName
    from fgmf.attacks.own.task import AttackOutcome, AttackTask, LogitsFunction
    from fgmf.threat import ThreatModel
    from fgmf.types import ImageFlags, Images


@dataclass(frozen=True, kw_only=True)
class RandomSearch:
    """Independent random points of the ball.

    Attributes:
        queries: Points per image and restart.
        restarts: Rounds with draws of their own.
    """

    queries: int = 100
    restarts: int = 1

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InvalidInput: No query or no restart.
        """
        if self.queries < 1:
            raise InvalidInput(f"expected at least one query, got {self.queries}")
        Schedule(restarts=self.restarts)

    def run(
        self, logits: LogitsFunction, task: AttackTask, *, batch_size: int = 128
    ) -> AttackOutcome:
        """Attack every image of the task.

        Args:
            logits: The model; no gradient is asked for.
            task: Images and rules.
            batch_size: Most images in one pass.

        Returns:
            Outcome per image.
        """
        method = RandomPoints(queries=self.queries)
        schedule = Schedule(restarts=self.restarts)
        return run_lanes(method, logits, task, schedule, batch_size=batch_size)


@dataclass(frozen=True, kw_only=True)
class RandomPointsState:
    """One row per lane."""

    points: Images
    seed: torch.Tensor
    step: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class RandomPoints:
    """The method."""

    queries: int
    loss: LossName | None = None

    @property
    def stream(self) -> str:
        """Name of its random streams."""
        return "random-search"

    def begin(self, start: LaneStart) -> RandomPointsState:
        """Draw the first points."""
        seed = lane_seeds(start.generators, start.region.clean.device)
        step = torch.zeros_like(seed)
        points = self._drawn(seed, step, start.region, start.threat)
        return RandomPointsState(points=points, seed=seed, step=step)

    def points(self, state: RandomPointsState) -> Images:
        """The points that were drawn."""
        return state.points

    def wants_gradient(self, state: RandomPointsState) -> ImageFlags:
        """(m,) False."""
        return torch.zeros_like(state.step, dtype=torch.bool)

    def finished(self, state: RandomPointsState) -> ImageFlags:
        """(m,) True when all points were asked about."""
        return state.step >= self.queries

    def advance(
        self, state: RandomPointsState, region: Region, threat: ThreatModel, answer: Answer
    ) -> RandomPointsState:
        """Draw the next points, whatever the answer."""
        del answer
        step = state.step + 1
        points = self._drawn(state.seed, step, region, threat)
        return replace(state, points=points, step=step)

    def _drawn(
        self, seed: torch.Tensor, step: torch.Tensor, region: Region, threat: ThreatModel
    ) -> Images:
        size = region.clean[0].numel()
        gaussian = normal(seed, step, size)
        if threat.norm == "linf":
            inner = 2 * uniform(seed, step, size) - 1
            corner = gaussian.sign()
        elif threat.norm == "l2":
            share = uniform(seed, step, 2 * size + 1)[:, -1:] ** (1 / size)
            inner = steepest(gaussian, "l2") * share
            corner = gaussian.sign() / size**0.5
        else:
            inner = gaussian / threat.epsilon
            corner = sparse_steepest(gaussian, torch.ones_like(step))
        moves = choose(step % 2 == 0, inner, corner).reshape(region.clean.shape)
        radius = torch.full((len(step),), threat.epsilon, device=step.device)
        points = region.clean + threat.epsilon * moves.to(region.clean)
        return project(region, points, threat.norm, radius)
