"""Smallest perturbation per image: a ball that shrinks and grows, then the linearised boundary.

    aim at the `targets` wrong classes whose linearised boundaries at the clean image are nearest
        (of the `candidates` most probable ones); one lane each
    for k = 0 .. steps - 1, with gamma and alpha falling along a cosine:
        f, g = margin z_t - z_y at x + d, and its gradient; if misclassified, keep the nearest
        radius r:  no success yet   |d| + (-f) / |g|_dual, the linearised distance; at least 1.05 r
                   success here     (1 - gamma) min(r, nearest)
                   else             (1 + gamma) r, at most the nearest
        d = P_r(d + alpha r s(g))                            P_r onto ball of radius r and box
    `polish` times, at the nearest success b with w the gradient of its margin there:
        u = the smallest displacement in the box with f(b) + w.(x + u - b) = 0, and a little more
        keep x + u if it is misclassified and nearer; if not, try half and a quarter of the way
    bisect on the last tenth of the line from the clean image to the nearest success

The margin that a lane raises is that to its class; success is the criterion's.

Source: after FMN (Pintor et al. 2021, algorithm 1); hyperplane in the box as in FAB (Croce & Hein
2020). Deviations: steps are relative to the radius, steepest in the norm of the ball (FMN's are
Euclidean), and leave out entries that push against the box; L1 ball and box are projected onto
together; aims, polish and bisection are added. On a linear model the first polish is exact up to
its overshoot of one in a thousand.
Cost: per lane `steps` forwards and backwards; per image `candidates` forwards and backwards for
the aims (none if there is nothing to choose), `polish` times 2 forwards and 1 backward,
`bisections` forwards, and the clean forward.
Randomness: none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from fgmf.attacks.own.asking import Questions
from fgmf.attacks.own.balls import Region, norms, project, region_around, sparse_steepest, steepest
from fgmf.attacks.own.hyperplane import smallest_displacement
from fgmf.attacks.own.lanes import rank_wrong_classes
from fgmf.attacks.own.losses import breaking_margin
from fgmf.attacks.own.rows import choose, per_row, take
from fgmf.errors import BudgetSpent, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.attacks.criteria import Criterion
    from fgmf.attacks.own.task import AttackTask, LogitsFunction
    from fgmf.types import ImageFlags, Images, Labels, Logits, Norm

_FIRM = 1e-6
_OVERSHOOT = 1e-3
_RADIUS_CHANGE = (0.05, 0.001)
_RELATIVE_STEP = {"linf": (0.5, 0.005), "l2": (0.5, 0.01), "l1": (0.5, 0.01)}
_DUAL: dict[Norm, Norm] = {"linf": "l1", "l2": "l2", "l1": "linf"}
_SPARSE_SHARE = 0.02
_SEARCH_GROWTH = 0.05


@dataclass(frozen=True, kw_only=True)
class MinimumNormOutcome:
    """The smallest perturbations that were found for n images.

    Attributes:
        adversarial: (n, ...) the nearest misclassified image; the clean one where none was found
            and where the clean one is misclassified itself.
        radii: (n,) float64 its distance in the norm; 0 where the clean image is misclassified,
            infinite where nothing was found. Upper bounds of the true robust radius.
        forward_passes: (n,) int64.
        backward_passes: (n,) int64.
        vanished: (n,) a gradient of this image was zero in every entry.
        not_finite: (n,) NaN or infinite logits or gradients were seen.
        failures: What the model raised, by position, for images that made it raise.
        complete: False if time ran out before every image was searched.
    """

    adversarial: Images
    radii: torch.Tensor
    forward_passes: torch.Tensor
    backward_passes: torch.Tensor
    vanished: ImageFlags
    not_finite: ImageFlags
    failures: dict[int, Exception] = field(default_factory=dict)
    complete: bool = True

    @property
    def found(self) -> ImageFlags:
        """(n,) a misclassified image was found at some distance."""
        return self.radii.isfinite()

    def robust_accuracy(self, epsilons: Sequence[float]) -> list[float]:
        """The accuracy-versus-epsilon curve: share of images with no success within epsilon."""
        if not len(self.radii):
            raise InvalidInput("expected at least one image, got none")
        return [float((self.radii > epsilon).double().mean()) for epsilon in epsilons]


@dataclass(frozen=True, kw_only=True)
class MinimumNorm:
    """The attack; the epsilon of the task's threat is not used.

    Attributes:
        steps: Iterations of a lane.
        candidates: Wrong classes among which the nearest linearised boundaries are looked for.
        targets: How many of them get a lane.
        polish: Projections onto the linearised boundary at the end.
        bisections: Halvings at the end.
    """

    steps: int = 60
    candidates: int = 9
    targets: int = 2
    polish: int = 3
    bisections: int = 8

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InvalidInput: A count is too small.
        """
        if (
            min(self.steps, self.candidates, self.targets) < 1
            or min(self.polish, self.bisections) < 0
        ):
            raise InvalidInput(f"expected positive counts, got {self}")

    def run(
        self, logits: LogitsFunction, task: AttackTask, *, batch_size: int = 128
    ) -> MinimumNormOutcome:
        """Find the nearest misclassified image of every image.

        Args:
            logits: The model.
            task: Images and rules.
            batch_size: Most lanes in one pass.

        Returns:
            Outcome per image.
        """
        questions = Questions(logits, len(task.keys), task.workplace)
        search = _Search(self, questions, task)
        size = max(1, batch_size // self.targets)
        everyone = torch.arange(len(task.keys), device=task.workplace)
        adversarial = task.images.clone()
        radii = torch.full((len(everyone),), torch.inf, dtype=torch.float64)
        complete = True
        for at in everyone.split(size):
            try:
                nearest, distance = search.nearest(at)
            except BudgetSpent:
                complete = False
                break
            adversarial[at.to(adversarial.device)] = nearest.to(adversarial)
            radii[at.cpu()] = distance.cpu()
        return MinimumNormOutcome(
            adversarial=adversarial,
            radii=radii,
            forward_passes=questions.forward_passes,
            backward_passes=questions.backward_passes,
            vanished=questions.vanished,
            not_finite=questions.not_finite,
            failures=questions.failures,
            complete=complete,
        )


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Images or lanes in work, with the nearest success of each."""

    position: torch.Tensor
    target: Labels
    region: Region
    nearest: Images
    distance: torch.Tensor


class _Search:
    """The search on one batch of images after the other."""

    def __init__(self, settings: MinimumNorm, questions: Questions, task: AttackTask) -> None:
        self._settings, self._questions, self._task = settings, questions, task
        self._criterion = task.criterion_on(task.workplace)
        self._norm: Norm = task.threat.norm
        lower, upper = task.threat.bounds
        self._everything = replace(task.threat, epsilon=2 * (upper - lower))
        self._widest = 2 * (upper - lower) * max(1, task.images[:1].numel())

    def nearest(self, position: torch.Tensor) -> tuple[Images, torch.Tensor]:
        """Return (m, ...) nearest successes and their (m,) distances, infinite where none."""
        clean = self._task.rows(position)
        logits = self._clean_logits(clean, position)
        criterion = self._criterion.of(position)
        wrong = breaking_margin(logits, criterion) > 0
        distance = torch.full((len(position),), torch.inf, dtype=torch.float64).to(wrong.device)
        distance[wrong] = 0.0
        right = (~wrong).nonzero()[:, 0]
        if len(right):
            rows = self._searched(position[right], logits[right])
            clean[right], distance[right] = rows.nearest, rows.distance
        return clean, distance

    def _clean_logits(self, clean: Images, position: torch.Tensor) -> Logits:
        if self._task.clean_logits is not None:
            known = self._task.clean_logits.to(clean.device)
            self._questions.knows(known)
            return known[position]
        return self._questions.logits(clean, position)

    def _searched(self, position: torch.Tensor, logits: Logits) -> _Rows:
        aims = self._aims(position, logits)
        count, width = aims.shape
        lanes = self._walked(self._started(position.repeat(width), aims.T.flatten()))
        rows = self._started(position, aims[:, 0])
        for at in range(width):
            own = slice(at * count, (at + 1) * count)
            rows = self._nearer(rows, lanes.nearest[own], lanes.distance[own])
        for at in range(self._settings.polish):
            rows = self._polished(rows, 0.5**at)
        return self._bisected(rows)

    def _started(self, position: torch.Tensor, target: Labels) -> _Rows:
        region = region_around(self._task.rows(position), self._everything)
        distance = torch.full((len(position),), torch.inf, dtype=torch.float64)
        return _Rows(
            position=position,
            target=target,
            region=region,
            nearest=region.clean,
            distance=distance.to(target.device),
        )

    def _aims(self, position: torch.Tensor, logits: Logits) -> torch.Tensor:
        """(m, lanes) classes with the nearest linearised boundaries."""
        criterion = self._criterion.of(position)
        if criterion.kind == "targeted" and criterion.targets is not None:
            return criterion.targets[:, None]
        ranked = rank_wrong_classes(logits, criterion.labels)[:, criterion.top_k - 1 :]
        ranked = ranked[:, : self._settings.candidates]
        if ranked.shape[1] <= self._settings.targets:
            return ranked
        distances = []
        for target in ranked.unbind(dim=1):
            rows = self._started(position, target)
            _, gap, slope = self._asked(rows, rows.region.clean)
            step, reachable = smallest_displacement(rows.region, slope, -gap, self._norm)
            size = norms(step, self._norm)
            distances.append(torch.where(reachable, size, torch.full_like(size, torch.inf)))
        order = torch.stack(distances, dim=1).argsort(dim=1, stable=True)
        return ranked.gather(1, order[:, : self._settings.targets])

    def _walked(self, rows: _Rows) -> _Rows:
        points = rows.region.clean
        radius = torch.zeros_like(rows.distance)
        for step in range(self._settings.steps):
            fallen = (1 + math.cos(math.pi * step / self._settings.steps)) / 2
            logits, gap, slope = self._asked(rows, points)
            success = self._success(logits, rows)
            here = self._distances(rows, points)
            rows = self._nearer(rows, points, here, success)
            slope = _unblocked(slope, points, rows.region)
            change = _RADIUS_CHANGE[1] + fallen * (_RADIUS_CHANGE[0] - _RADIUS_CHANGE[1])
            linear = here - gap / norms(slope, _DUAL[self._norm]).clamp_min(1e-300)
            outward = torch.maximum(linear, radius * (1 + _SEARCH_GROWTH))
            smaller = torch.minimum(radius, rows.distance) * (1 - change)
            larger = torch.minimum(radius * (1 + change), rows.distance)
            radius = torch.where(success, smaller, larger)
            radius = torch.where(rows.distance.isinf(), outward, radius).clamp(1e-9, self._widest)
            first, last = _RELATIVE_STEP[self._norm]
            length = (last + fallen * (first - last)) * radius
            moved = points + per_row(length, points).to(points) * self._direction(slope)
            points = self._inside(rows.region, moved, radius)
        return rows

    def _direction(self, slope: Images) -> Images:
        if self._norm != "l1":
            return steepest(slope, self._norm)
        count = max(1, round(_SPARSE_SHARE * slope[0].numel()))
        return sparse_steepest(slope, torch.full((len(slope),), count, device=slope.device))

    def _inside(self, region: Region, points: Images, radius: torch.Tensor) -> Images:
        if self._norm == "linf":
            limit = per_row(radius, points).to(points)
            points = region.clean + (points - region.clean).clamp(-limit, limit)
        return project(region, points, self._norm, radius)

    def _polished(self, rows: _Rows, share: float) -> _Rows:
        found = rows.distance.isfinite().nonzero()[:, 0]
        if not len(found):
            return rows
        part = take(rows, found)
        seen = self._questions.logits(part.nearest, part.position)
        part = replace(part, target=self._class_in_front(seen, part))
        _, gap, slope = self._asked(part, part.nearest)
        clean = part.region.clean
        along = (slope.double() * (part.nearest - clean).double()).flatten(1).sum(dim=1)
        needed = (along - gap) * (1 + _OVERSHOOT)
        step, _ = smallest_displacement(part.region, slope, needed, self._norm)
        aim = clean + step.to(clean.dtype)
        points = self._boxed(part.region, part.nearest + share * (aim - part.nearest))
        return self._merged(rows, found, self._tried(part, points))

    def _bisected(self, rows: _Rows) -> _Rows:
        found = rows.distance.isfinite().nonzero()[:, 0]
        if not len(found) or not self._settings.bisections:
            return rows
        part = take(rows, found)
        start = part.nearest
        low = torch.full_like(part.distance, 0.9)
        high = torch.ones_like(low)
        for _ in range(self._settings.bisections):
            middle = (low + high) / 2
            share = per_row(middle, start).to(start)
            points = self._boxed(
                part.region, part.region.clean + share * (start - part.region.clean)
            )
            tried = self._tried(part, points)
            success = tried.distance < part.distance
            part = tried
            high = torch.where(success, middle, high)
            low = torch.where(success, low, middle)
        return self._merged(rows, found, part)

    def _asked(self, rows: _Rows, points: Images) -> tuple[Logits, torch.Tensor, Images]:
        criterion = self._criterion.of(rows.position)
        return self._questions.gradient(points, rows.position, "margin", criterion, rows.target)

    def _tried(self, rows: _Rows, points: Images) -> _Rows:
        logits = self._questions.logits(points, rows.position)
        distances = self._distances(rows, points)
        return self._nearer(rows, points, distances, self._success(logits, rows))

    def _success(self, logits: Logits, rows: _Rows) -> ImageFlags:
        spread = (logits.amax(dim=1) - logits.amin(dim=1)).double()
        return breaking_margin(logits, self._criterion.of(rows.position)) > _FIRM * spread

    def _class_in_front(self, logits: Logits, rows: _Rows) -> Labels:
        criterion: Criterion = self._criterion.of(rows.position)
        return rank_wrong_classes(logits, criterion.labels)[:, criterion.top_k - 1]

    def _distances(self, rows: _Rows, points: Images) -> torch.Tensor:
        return norms(points.double() - rows.region.clean.double(), self._norm)

    @staticmethod
    def _boxed(region: Region, points: Images) -> Images:
        return torch.minimum(torch.maximum(points, region.low), region.high)

    @staticmethod
    def _nearer(
        rows: _Rows,
        points: Images,
        distances: torch.Tensor,
        success: ImageFlags | None = None,
    ) -> _Rows:
        better = distances < rows.distance
        better = better if success is None else better & success
        return replace(
            rows,
            nearest=choose(better, points, rows.nearest),
            distance=torch.where(better, distances, rows.distance),
        )

    @staticmethod
    def _merged(rows: _Rows, at: torch.Tensor, part: _Rows) -> _Rows:
        nearest, distance = rows.nearest.clone(), rows.distance.clone()
        nearest[at], distance[at] = part.nearest, part.distance
        return replace(rows, nearest=nearest, distance=distance)


def _unblocked(slope: Images, points: Images, region: Region) -> Images:
    """The gradient without the entries that push against a side of the box."""
    blocked = ((points <= region.low) & (slope < 0)) | ((points >= region.high) & (slope > 0))
    return slope.masked_fill(blocked, 0.0)
