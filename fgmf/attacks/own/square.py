"""Square: random search with square windows, on scores alone.

    Linf    start: vertical stripes of +-eps
            query: a random window of side s is set to +-eps, one sign per channel
    L2      start: tiles of bumps with random signs, scaled to eps
            query: two random windows; the budget of both, and what is unused, goes into a random
                   bump in the first; the second is cleared
    accept a query that raises the margin; stop when one is misclassified
    s = sqrt(p h w), p from `p_init`, halved after 0.1, 0.5, 2, 5, 10, 20, 40, 60, 80 % of the
        queries

Source: Andriushchenko et al. 2020, "Square attack", algorithms 1 to 3 and their p-schedule.
Deviations: the margin is the loss under every criterion; Linf windows that change nothing are not
drawn again.
Cost: at most `queries` forwards per restart (the start is one), and the clean forward.
Randomness: the start and every window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from fgmf.attacks.own.balls import Region, project, steepest
from fgmf.attacks.own.draws import lane_seeds, uniform
from fgmf.attacks.own.engine import Answer, run_lanes
from fgmf.attacks.own.lanes import LaneStart, Schedule
from fgmf.attacks.own.rows import choose
from fgmf.attacks.own.square_windows import (
    Windows,
    bump_table,
    place_bumps,
    tiled_bumps,
    window_flags,
)
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.attacks.own.losses import LossName
    from fgmf.attacks.own.task import AttackOutcome, AttackTask, LogitsFunction
    from fgmf.threat import ThreatModel
    from fgmf.types import ImageFlags, Images

_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True, kw_only=True)
class Square:
    """The Square attack in Linf and L2.

    Attributes:
        queries: Most forwards per image and restart, the start included.
        restarts: Rounds with draws of their own.
        p_init: Share of the image that the first window covers.
    """

    queries: int = 1000
    restarts: int = 1
    p_init: float = 0.8

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InvalidInput: No query, no restart, or a share outside (0, 1].
        """
        if self.queries < 1 or not 0 < self.p_init <= 1:
            raise InvalidInput(f"expected queries >= 1 and 0 < p_init <= 1, got {self}")
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

        Raises:
            InvalidInput: The norm is L1, or the images are not (n, c, h, w).
        """
        if task.threat.norm == "l1":
            raise InvalidInput("expected norm linf or l2 for Square, got l1")
        if task.images.ndim != 4:
            shape = tuple(task.images.shape)
            raise InvalidInput(f"expected images (n, c, h, w) for Square, got shape {shape}")
        method = SquareMethod(queries=self.queries, p_init=self.p_init)
        schedule = Schedule(restarts=self.restarts)
        return run_lanes(method, logits, task, schedule, batch_size=batch_size)


@dataclass(frozen=True, kw_only=True)
class SquareState:
    """One row per lane: the point in hand, and the proposal that is asked about."""

    accepted: Images
    accepted_margin: torch.Tensor
    points: Images
    seed: torch.Tensor
    step: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class SquareMethod:
    """The method."""

    queries: int
    p_init: float
    loss: LossName | None = None

    @property
    def stream(self) -> str:
        """Name of its random streams."""
        return "square"

    def begin(self, start: LaneStart) -> SquareState:
        """Start at stripes (Linf) or tiles (L2)."""
        seed = lane_seeds(start.generators, start.region.clean.device)
        step = torch.zeros_like(seed)
        points = self._first(seed, step, start.region, start.threat)
        return SquareState(
            accepted=points,
            accepted_margin=torch.full_like(step, -torch.inf, dtype=torch.float64),
            points=points,
            seed=seed,
            step=step,
        )

    def points(self, state: SquareState) -> Images:
        """The proposals."""
        return state.points

    def wants_gradient(self, state: SquareState) -> ImageFlags:
        """(m,) False."""
        return torch.zeros_like(state.step, dtype=torch.bool)

    def finished(self, state: SquareState) -> ImageFlags:
        """(m,) True when all queries are used."""
        return state.step >= self.queries

    def advance(
        self, state: SquareState, region: Region, threat: ThreatModel, answer: Answer
    ) -> SquareState:
        """Accept or reject, and propose anew."""
        better = answer.loss > state.accepted_margin
        state = replace(
            state,
            accepted=choose(better, state.points, state.accepted),
            accepted_margin=torch.where(better, answer.loss, state.accepted_margin),
            step=state.step + 1,
        )
        if threat.norm == "linf":
            return replace(state, points=self._proposed_linf(state, region))
        return replace(state, points=self._proposed_l2(state, region, threat))

    def _first(
        self, seed: torch.Tensor, step: torch.Tensor, region: Region, threat: ThreatModel
    ) -> Images:
        count, channels, height, width = region.clean.shape
        radius = torch.full((count,), threat.epsilon, device=seed.device)
        if threat.norm == "linf":
            stripes = uniform(seed, step, channels * width).reshape(count, channels, 1, width)
            move = (stripes * 2 - 1).sign().expand(-1, -1, height, -1)
        else:
            signs = uniform(seed, step, channels * height * width).reshape(region.clean.shape)
            move = steepest(tiled_bumps(signs), "l2")
        points = region.clean + threat.epsilon * move.to(region.clean)
        return project(region, points, threat.norm, radius)

    def _proposed_linf(self, state: SquareState, region: Region) -> Images:
        channels, height, width = region.clean.shape[1:]
        draws = uniform(state.seed, state.step, 2 + channels)
        sizes = self._side(state.step, height, width, smallest=1)
        inside = window_flags(Windows.drawn(draws[:, :2], sizes, height, width), height, width)
        signs = (draws[:, 2:, None, None] * 2 - 1).sign().to(region.clean)
        edge = torch.where(signs > 0, region.high, region.low)
        return torch.where(inside[:, None], edge, state.accepted)

    def _proposed_l2(self, state: SquareState, region: Region, threat: ThreatModel) -> Images:
        _, channels, height, width = region.clean.shape
        draws = uniform(state.seed, state.step, 5 + channels)
        sizes = self._side(state.step, height, width, smallest=3)
        first = Windows.drawn(draws[:, 0:2], sizes, height, width)
        second = Windows.drawn(draws[:, 2:4], sizes, height, width)
        bumps = place_bumps(
            bump_table(min(height, width), region.clean.device),
            first,
            draws[:, 4] < 0.5,
            height,
            width,
        )
        signs = (draws[:, 5:, None, None] * 2 - 1).sign()
        moved = _moved_budget(
            (state.accepted - region.clean).double(),
            signs * bumps[:, None],
            window_flags(first, height, width)[:, None],
            window_flags(second, height, width)[:, None],
            threat.epsilon,
        )
        points = region.clean + moved.to(region.clean)
        radius = torch.full((len(points),), threat.epsilon, device=points.device)
        return project(region, points, "l2", radius)

    def _side(self, step: torch.Tensor, height: int, width: int, *, smallest: int) -> torch.Tensor:
        """(m,) side of the window; odd where bumps (smallest 3) need a centre."""
        done = step.double() / self.queries
        halvings = sum((done > share).long() for share in _HALVINGS)
        area = self.p_init * height * width * 0.5 ** torch.as_tensor(halvings).double()
        side = area.sqrt().round().long()
        if smallest > 1:
            side = side + (side % 2 == 0).long()
        return side.clamp(min(smallest, height, width), min(height, width))


def _moved_budget(
    change: torch.Tensor,
    bumps: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    epsilon: float,
) -> torch.Tensor:
    """Move the L2 budget of two windows, and what is unused, into the first."""

    def size(values: torch.Tensor) -> torch.Tensor:
        return values.square().sum(dim=(2, 3), keepdim=True).sqrt()

    total = change.square().sum(dim=(1, 2, 3), keepdim=True)
    unused = (epsilon**2 - total).clamp_min(0.0) / change.shape[1]
    own = torch.where(first, change, torch.zeros_like(change))
    direction = bumps + own / size(own).clamp_min(1e-12)
    available = (size(change * (first | second)).square() + unused).sqrt()
    cleared = change.masked_fill(first | second, 0.0)
    return cleared + direction / size(direction).clamp_min(1e-12) * available
