"""APGD: projected gradient ascent that needs no step size.

    eta = 2 eps;  x_0 = random point of the ball (or the clean image)
    for k = 0 .. steps - 1:                                   a = 1 for k = 0, then .75
        z       = P(x_k + eta s(g_k))
        x_{k+1} = P(x_k + a (z - x_k) + (1 - a) (x_k - x_{k-1}))
        keep the point of highest loss, with its gradient
        at checkpoints w_j = ceil(p_j steps), p_0 = 0, p_1 = .22,
                p_{j+1} = p_j + max(p_j - p_{j-1} - .03, .06):
            if fewer than 75 % of the steps since w_{j-1} raised the loss, or neither eta nor
                the highest loss changed since w_{j-1}:
                eta /= 2, x_{k+1} = the point of highest loss

P projects onto ball and box, s is the sign (Linf) or the normalised gradient (L2). L1 is in
`apgd_l1`. Every decision is one image's own.

Source: Croce & Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of
diverse parameter-free attacks", algorithm 1. Deviations: the loss `ce` is the log-odds, which
has the same steps (`losses`); an image leaves as soon as it is broken.
Cost: per lane at most steps + 1 forwards and steps backwards, and one forward for the clean image
unless its logits are given. Randomness: the random start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from fgmf.attacks.own.apgd_l1 import SparseApgd
from fgmf.attacks.own.balls import Region, project, steepest
from fgmf.attacks.own.engine import Answer, run_lanes
from fgmf.attacks.own.lanes import LaneStart, Schedule, starting_points
from fgmf.attacks.own.rows import choose, per_row
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.attacks.own.losses import LossName
    from fgmf.attacks.own.task import AttackOutcome, AttackTask, LogitsFunction
    from fgmf.threat import ThreatModel
    from fgmf.types import ImageFlags, Images

_MOMENTUM = 0.75
_PROGRESS = 0.75


@dataclass(frozen=True, kw_only=True)
class Apgd:
    """APGD on any of its losses, in Linf, L2 and L1.

    Attributes:
        loss: ``ce``, ``dlr`` or ``margin``; ``dlr`` falls back to ``margin`` below 3 classes
            (4 with targets), and the outcome says so.
        steps: Iterations of a lane.
        restarts: Lanes with draws of their own.
        targets: Most probable wrong classes to aim at, each in its own lane; 0 aims at none.
            ``loss="dlr", targets=9`` is AutoAttack's APGD-T.
        width: Lanes of one image side by side (`lanes`).
        random_start: False starts the first restart at the clean image.
        leave_when_broken: False lets every lane run to its end.
    """

    loss: LossName = "ce"
    steps: int = 100
    restarts: int = 1
    targets: int = 0
    width: int = 1
    random_start: bool = True
    leave_when_broken: bool = True

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InvalidInput: No step, or counts that make no schedule.
        """
        if self.steps < 1:
            raise InvalidInput(f"expected at least one step, got {self.steps}")
        self._schedule()

    def run(
        self, logits: LogitsFunction, task: AttackTask, *, batch_size: int = 128
    ) -> AttackOutcome:
        """Attack every image of the task.

        Args:
            logits: The model.
            task: Images and rules; its threat says which norm.
            batch_size: Most lanes in one pass.

        Returns:
            Outcome per image.
        """
        schedule = self._schedule()
        if task.threat.norm == "l1":
            sparse = SparseApgd(loss=self.loss, steps=self.steps, random_start=self.random_start)
            return run_lanes(sparse, logits, task, schedule, batch_size=batch_size)
        dense = DenseApgd(loss=self.loss, steps=self.steps, random_start=self.random_start)
        return run_lanes(dense, logits, task, schedule, batch_size=batch_size)

    def _schedule(self) -> Schedule:
        return Schedule(
            restarts=self.restarts,
            targets=self.targets,
            width=self.width,
            leave_when_broken=self.leave_when_broken,
        )


@dataclass(frozen=True, kw_only=True)
class ApgdState:
    """One row per lane; `step` counts the points that the model was asked about."""

    points: Images
    previous: Images
    best: Images
    best_gradient: Images
    best_loss: torch.Tensor
    last_loss: torch.Tensor
    step_size: torch.Tensor
    progress: torch.Tensor
    checked_step_size: torch.Tensor
    checked_loss: torch.Tensor
    step: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class DenseApgd:
    """The method for Linf and L2."""

    loss: LossName
    steps: int
    random_start: bool

    @property
    def stream(self) -> str:
        """Name of its random streams."""
        return f"apgd-{self.loss}"

    def begin(self, start: LaneStart) -> ApgdState:
        """Start lanes at a random point, or at the clean image."""
        points = starting_points(start, random_start=self.random_start)
        zeros = torch.zeros(len(points), dtype=torch.float64, device=points.device)
        none = torch.full_like(zeros, -torch.inf)
        return ApgdState(
            points=points,
            previous=points,
            best=points,
            best_gradient=torch.zeros_like(points),
            best_loss=none,
            last_loss=none,
            step_size=zeros + 2 * start.threat.epsilon,
            progress=zeros.long(),
            checked_step_size=zeros,
            checked_loss=none,
            step=zeros.long(),
        )

    def points(self, state: ApgdState) -> Images:
        """The current point of each lane."""
        return state.points

    def wants_gradient(self, state: ApgdState) -> ImageFlags:
        """(m,) False at the last point, from which no step is taken."""
        return state.step < self.steps

    def finished(self, state: ApgdState) -> ImageFlags:
        """(m,) True after the start and `steps` further points."""
        return state.step > self.steps

    def advance(
        self, state: ApgdState, region: Region, threat: ThreatModel, answer: Answer
    ) -> ApgdState:
        """Keep the best point, adapt the step size, and step."""
        better = answer.loss > state.best_loss
        best = choose(better, state.points, state.best)
        best_gradient = choose(better, answer.gradient, state.best_gradient)
        best_loss = torch.where(better, answer.loss, state.best_loss)
        progress = state.progress + ((answer.loss > state.last_loss) & (state.step > 0))

        window = self._windows.to(state.step.device)[state.step.clamp_max(self.steps)]
        at_checkpoint = window > 0
        stuck = (state.checked_step_size == state.step_size) & (state.checked_loss == best_loss)
        halve = at_checkpoint & ((progress < _PROGRESS * window) | stuck)
        step_size = torch.where(halve, state.step_size / 2, state.step_size)

        points = choose(halve, best, state.points)
        gradient = choose(halve, best_gradient, answer.gradient)
        inertia = points - state.previous
        share = per_row(torch.where(state.step == 0, 1.0, _MOMENTUM), points).to(points)
        radius = torch.full_like(step_size, threat.epsilon)
        ascent = per_row(step_size, points).to(points) * steepest(gradient, threat.norm)
        aim = project(region, points + ascent, threat.norm, radius)
        moved = points + share * (aim - points) + (1 - share) * inertia
        return ApgdState(
            points=project(region, moved, threat.norm, radius),
            previous=points,
            best=best,
            best_gradient=best_gradient,
            best_loss=best_loss,
            last_loss=torch.where(halve, best_loss, answer.loss),
            step_size=step_size,
            progress=torch.where(at_checkpoint, 0, progress),
            checked_step_size=torch.where(at_checkpoint, state.step_size, state.checked_step_size),
            checked_loss=torch.where(at_checkpoint, best_loss, state.checked_loss),
            step=state.step + 1,
        )

    @cached_property
    def _windows(self) -> torch.Tensor:
        """(steps + 1,) steps since the last checkpoint where there is one, else 0."""
        windows = torch.zeros(self.steps + 1, dtype=torch.int64)
        points = checkpoints(self.steps)
        for last, here in pairwise(points):
            windows[here] = here - last
        return windows


def checkpoints(steps: int) -> list[int]:
    """Return the checkpoints w_j of a run: rising, from 0, at most `steps`."""
    shares = [0.0, 0.22]
    while shares[-1] < 1.0:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    places = [math.ceil(share * steps - 1e-9) for share in shares if share <= 1.0]
    return sorted(set(places))
