"""APGD in L1: sparse steps, projected onto ball and box together.

    phases of radius 3 eps, 2 eps, eps with 30, 30, 40 % of the steps; in each, with radius r:
        x = P_r(best point of the phase before);  eta = r
        k = 20 % of the values at first, later (values changed in the best point) / 1.5
        every 4 % of the phase's steps:
            k' = (values changed in the best point) / 1.5
            if k' < .95 k:  eta = r, x = the best point     (it got sparser: start anew)
            else:           eta = max(eta / 1.5, r / 10)
            k = k'
        x = P_r(x + eta s_k(g)),   s_k(g) = signs of the k largest entries of g, divided by k

Only points inside the ball of radius eps count.

Source: Croce & Hein 2021, "Mind the box: l1-APGD for sparse adversarial attacks on image
classifiers", algorithm 1 with several radii. Deviations: those of `apgd`; where the best point
has not changed a value yet, k is 1.
Cost and randomness: as `apgd`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from fgmf.attacks.own.balls import Region, project, sparse_steepest
from fgmf.attacks.own.lanes import LaneStart, starting_points
from fgmf.attacks.own.rows import choose, per_row

if TYPE_CHECKING:
    from fgmf.attacks.own.engine import Answer
    from fgmf.attacks.own.losses import LossName
    from fgmf.threat import ThreatModel
    from fgmf.types import ImageFlags, Images

_RADII = (3.0, 2.0, 1.0)
_PHASE_STARTS = (0.0, 0.3, 0.6)
_FIRST_SHARE = 0.2
_CHECK_SHARE = 0.04
_SPARSER = 0.95
_SHRINK = 1.5
_SMALLEST = 10.0


@dataclass(frozen=True, kw_only=True)
class SparseState:
    """One row per lane; `step` counts the points that the model was asked about."""

    points: Images
    best: Images
    best_gradient: Images
    best_loss: torch.Tensor
    step_size: torch.Tensor
    count: torch.Tensor
    checked_changes: torch.Tensor
    step: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class SparseApgd:
    """The method for L1."""

    loss: LossName
    steps: int
    random_start: bool

    @property
    def stream(self) -> str:
        """Name of its random streams."""
        return f"apgd-l1-{self.loss}"

    def begin(self, start: LaneStart) -> SparseState:
        """Start lanes in the largest ball."""
        wide = replace(start.threat, epsilon=_RADII[0] * start.threat.epsilon)
        points = starting_points(replace(start, threat=wide), random_start=self.random_start)
        zeros = torch.zeros(len(points), dtype=torch.float64, device=points.device)
        values = points[0].numel()
        return SparseState(
            points=points,
            best=points,
            best_gradient=torch.zeros_like(points),
            best_loss=torch.full_like(zeros, -torch.inf),
            step_size=zeros + wide.epsilon,
            count=zeros.long() + max(1, round(_FIRST_SHARE * values)),
            checked_changes=zeros + values,
            step=zeros.long(),
        )

    def points(self, state: SparseState) -> Images:
        """The current point of each lane."""
        return state.points

    def wants_gradient(self, state: SparseState) -> ImageFlags:
        """(m,) False at the last point, from which no step is taken."""
        return state.step < self.steps

    def finished(self, state: SparseState) -> ImageFlags:
        """(m,) True after the start and `steps` further points."""
        return state.step > self.steps

    def advance(
        self, state: SparseState, region: Region, threat: ThreatModel, answer: Answer
    ) -> SparseState:
        """Keep the best point, adapt sparsity and step size, and step."""
        better = answer.loss > state.best_loss
        state = replace(
            state,
            best=choose(better, state.points, state.best),
            best_gradient=choose(better, answer.gradient, state.best_gradient),
            best_loss=torch.where(better, answer.loss, state.best_loss),
        )
        phase = self._phase(state.step)
        radius = self._radius(phase, threat, state.step_size)
        state, points, gradient = self._adapted(state, region, radius, answer)
        ascent = sparse_steepest(gradient, state.count)
        stepped = points + per_row(state.step_size, points).to(points) * ascent
        following = self._phase(state.step + 1)
        enters = following != phase
        radius = self._radius(following, threat, state.step_size)
        moved = project(region, choose(enters, state.best, stepped), "l1", radius)
        nothing = torch.full_like(state.best_loss, -torch.inf)
        return replace(
            state,
            points=moved,
            best_loss=torch.where(enters, nothing, state.best_loss),
            step_size=torch.where(enters, radius, state.step_size),
            count=torch.where(enters, _count(_changes(moved, region)), state.count),
            checked_changes=torch.where(enters, _changes(moved, region), state.checked_changes),
            step=state.step + 1,
        )

    def _adapted(
        self, state: SparseState, region: Region, radius: torch.Tensor, answer: Answer
    ) -> tuple[SparseState, Images, Images]:
        """At a checkpoint, choose sparsity and step size anew; and where to step from."""
        starts = torch.tensor(self._starts, device=state.step.device)
        ends = torch.tensor([*self._starts[1:], self.steps], device=state.step.device)
        phase = self._phase(state.step)
        within = state.step - starts[phase]
        every = ((ends - starts)[phase] * _CHECK_SHARE).long().clamp_min(1)
        check = (within > 0) & (within % every == 0)
        changes = _changes(state.best, region)
        sparser = check & (changes < _SPARSER * state.checked_changes)
        shrunk = torch.maximum(state.step_size / _SHRINK, radius / _SMALLEST)
        step_size = torch.where(check & ~sparser, shrunk, state.step_size)
        adapted = replace(
            state,
            step_size=torch.where(sparser, radius, step_size),
            count=torch.where(check, _count(changes), state.count),
            checked_changes=torch.where(check, changes, state.checked_changes),
        )
        points = choose(sparser, state.best, state.points)
        return adapted, points, choose(sparser, state.best_gradient, answer.gradient)

    @property
    def _starts(self) -> list[int]:
        return [round(share * self.steps) for share in _PHASE_STARTS]

    def _phase(self, step: torch.Tensor) -> torch.Tensor:
        """(m,) 0, 1 or 2."""
        starts = torch.tensor(self._starts[1:], device=step.device)
        return (step[:, None] >= starts).sum(dim=1)

    def _radius(self, phase: torch.Tensor, threat: ThreatModel, like: torch.Tensor) -> torch.Tensor:
        return torch.tensor(_RADII, dtype=like.dtype, device=like.device)[phase] * threat.epsilon


def _changes(points: Images, region: Region) -> torch.Tensor:
    return (points != region.clean).flatten(1).sum(dim=1).double()


def _count(changes: torch.Tensor) -> torch.Tensor:
    return (changes / _SHRINK).long().clamp_min(1)
