"""One loop for all iterative attacks: a pool of lanes, refilled as images break.

    judge the clean images
    queue <- first wave of every image that is right
    while pool or queue:
        refill the pool up to the batch size
        ask the model about every lane's point: logits, loss, gradient
        keep each lane's best point; an image that is firmly broken takes all its lanes out
        a lane that is through leaves; after the last of a wave, the next wave joins the queue
        every other lane takes one step

Lanes know nothing of each other, and each has its own step counter, so results depend on the
batch size only through the rounding of the model itself.

*Firmly* broken: by a margin above `_FIRM` of the spread of the logits. Nearer than that, another
batch size may round the other way; such a lane goes on, and counts as broken if it stays best.

Source: own design.
Cost: passes are counted per image, as they are computed: a backward pass covers every row of its
batch. Memory: the state of `batch_size` lanes, one kept image per image.
Randomness: each lane has its own stream, named by seed, attack, restart, target and image key.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch

from fgmf.attacks.own.asking import Questions
from fgmf.attacks.own.balls import Region, norms, region_around
from fgmf.attacks.own.lanes import Lanes, LaneStart, Schedule, rank_wrong_classes
from fgmf.attacks.own.losses import LossName, attack_loss, breaking_margin, usable_loss
from fgmf.attacks.own.rows import Rowwise, choose, join, take
from fgmf.attacks.own.task import AttackOutcome, AttackTask, LogitsFunction
from fgmf.attacks.projection import MEASURING_TOLERANCE, inside
from fgmf.errors import BudgetSpent
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from fgmf.threat import ThreatModel
    from fgmf.types import ImageFlags, Images

_FIRM = 1e-5

S = TypeVar("S", bound=Rowwise)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model says about the points of m lanes.

    Attributes:
        loss: (m,) float64; the margin for methods without gradient; -inf where not finite.
        gradient: (m, ...) of the loss, up to a positive factor per row; zero where the method
            wants none.
    """

    loss: torch.Tensor
    gradient: Images


class Method(Protocol[S]):
    """An iterative attack, as the engine sees it. `S` is the state of its lanes, in rows."""

    @property
    def stream(self) -> str:
        """Name of its random streams."""

    @property
    def loss(self) -> LossName | None:
        """What it raises; None for a method that sees logits only."""

    def begin(self, start: LaneStart) -> S:
        """Start lanes."""

    def points(self, state: S) -> Images:
        """(m, ...) the images that each lane wants to ask about next."""

    def wants_gradient(self, state: S) -> ImageFlags:
        """(m,) False where the answer's gradient would not be used."""

    def advance(self, state: S, region: Region, threat: ThreatModel, answer: Answer) -> S:
        """Take one step."""

    def finished(self, state: S) -> ImageFlags:
        """(m,) True for lanes that have no further point to ask about."""


@dataclass(frozen=True, kw_only=True)
class _Pool(Generic[S]):
    """The running lanes, in rows."""

    lanes: Lanes
    region: Region
    state: S
    best: Images
    best_margin: torch.Tensor


def run_lanes(
    method: Method[S],
    logits: LogitsFunction,
    task: AttackTask,
    schedule: Schedule,
    *,
    batch_size: int = 128,
) -> AttackOutcome:
    """Run an iterative attack on every image.

    Args:
        method: The attack.
        logits: The model; in eval mode, and best with frozen parameters.
        task: Images and rules.
        schedule: Lanes of each image.
        batch_size: Most lanes in one pass (a wave wider than that goes through at once).

    Returns:
        Outcome per image.

    Raises:
        InvalidInput: The model does not return (m, classes) logits.
    """
    return _Run(method, logits, task, schedule, batch_size).outcome()


class _Run(Generic[S]):
    """The running state of one call."""

    def __init__(
        self,
        method: Method[S],
        logits: LogitsFunction,
        task: AttackTask,
        schedule: Schedule,
        batch_size: int,
    ) -> None:
        self._method, self._task = method, task
        self._schedule, self._capacity = schedule, batch_size
        self._device = task.workplace
        self._criterion = task.criterion_on(self._device)
        count = len(task.keys)
        self._questions = Questions(logits, count, self._device)
        self._adversarial = task.images.clone()
        clean = self._clean_logits()
        self._margins = breaking_margin(clean, self._criterion).nan_to_num(nan=-torch.inf)
        self._gone = (self._margins > 0) & schedule.leave_when_broken
        self._complete = True
        aimed = task.criterion.kind == "targeted"
        targeted = aimed or schedule.targets > 0
        classes = clean.shape[1]
        self._loss = usable_loss(method.loss or "margin", classes=classes, targeted=targeted)
        by = clean if task.ranking_logits is None else task.ranking_logits.to(clean)
        ranked = rank_wrong_classes(by, self._criterion.labels)
        # A criterion's own target is the only aim; of top-k, those below share their aims.
        ranked = ranked[:, :1] if aimed else ranked[:, task.criterion.top_k - 1 :]
        self._ranked: list[list[int]] = ranked.tolist()
        self._queue = deque((at, 0) for at in range(count) if not bool(self._gone[at]))
        self._open_lanes = [0] * count
        self._wave = [0] * count
        self._pool: _Pool[S] | None = None

    def outcome(self) -> AttackOutcome:
        """Run until nothing is left to do, or time is up."""
        try:
            self._run()
        except BudgetSpent:
            self._complete = False  # what is firmly broken has left the pool and is booked
        return AttackOutcome(
            adversarial=self._adversarial,
            broken=(self._margins > 0).cpu(),
            margins=self._margins.cpu(),
            forward_passes=self._questions.forward_passes,
            backward_passes=self._questions.backward_passes,
            loss=self._loss,
            vanished=self._questions.vanished,
            not_finite=self._questions.not_finite,
            failures=self._questions.failures,
            complete=self._complete,
        )

    def _run(self) -> None:
        while (pool := self._refilled()) is not None:
            self._pool = pool
            answer, margin = self._ask(pool)
            best_margin, best = self._kept(pool, margin)
            state = self._method.advance(pool.state, pool.region, self._task.threat, answer)
            self._pool = self._retired(
                _Pool(
                    lanes=pool.lanes,
                    region=pool.region,
                    state=state,
                    best=best,
                    best_margin=best_margin,
                )
            )

    def _clean_logits(self) -> torch.Tensor:
        if self._task.clean_logits is not None:
            known = self._task.clean_logits.detach().to(self._device)
            self._questions.knows(known)
            return known
        everyone = torch.arange(len(self._task.keys), device=self._device)
        parts = everyone.split(self._capacity)
        return torch.cat([self._questions.logits(self._task.rows(at), at) for at in parts])

    def _refilled(self) -> _Pool[S] | None:
        size = 0 if self._pool is None else len(self._pool.lanes.position)
        if size > self._capacity * 3 // 4 or not self._queue:
            return self._pool
        rows: list[tuple[int, int, int]] = []
        while self._queue:
            position, at = self._queue[0]
            wave = self._schedule.waves(self._ranked[position])[at]
            if size + len(rows) + len(wave) > max(self._capacity, len(wave)):
                break
            self._queue.popleft()
            self._open_lanes[position], self._wave[position] = len(wave), at
            rows += [(position, restart, target) for restart, target in wave]
        if not rows:
            return self._pool
        fresh = self._started(rows)
        return fresh if self._pool is None else join(self._pool, fresh)

    def _started(self, rows: list[tuple[int, int, int]]) -> _Pool[S]:
        position, restart, target = torch.tensor(rows, device=self._device).unbind(dim=1)
        lanes = Lanes(position=position, restart=restart, target=target)
        region = region_around(self._task.rows(position), self._task.threat)
        names: list[tuple[Any, ...]] = [
            (self._method.stream, run, aim, "image", self._task.keys[at]) for at, run, aim in rows
        ]
        start = LaneStart(
            lanes=lanes,
            region=region,
            threat=self._task.threat,
            generators=[image_generator(self._task.seed, *name) for name in names],
        )
        return _Pool(
            lanes=lanes,
            region=region,
            state=self._method.begin(start),
            best=region.clean,
            best_margin=self._margins[position],
        )

    def _ask(self, pool: _Pool[S]) -> tuple[Answer, torch.Tensor]:
        points = self._method.points(pool.state)
        at = pool.lanes.position
        criterion = self._criterion.of(at)
        wanted = self._method.loss is not None and bool(
            self._method.wants_gradient(pool.state).any()
        )
        if wanted:
            targets = pool.lanes.target
            logits, loss, gradient = self._questions.gradient(
                points, at, self._loss, criterion, targets
            )
        else:
            logits = self._questions.logits(points, at)
            gradient = torch.zeros_like(points)
        margin = breaking_margin(logits, criterion)
        if not wanted:
            loss = self._loss_of(logits, margin, pool)
        margin = self._confirmed(pool, points, margin.nan_to_num(nan=-torch.inf))
        self._leave(at, logits, margin, points)
        return Answer(loss=loss.nan_to_num(nan=-torch.inf), gradient=gradient), margin

    def _confirmed(self, pool: _Pool[S], points: Images, margin: torch.Tensor) -> torch.Tensor:
        """Margins, those of points that look broken by the draws that confirm it, if any do."""
        rows = (margin > 0).nonzero()[:, 0]
        at = pool.lanes.position[rows]
        again = self._questions.confirmed(points[rows], at) if len(rows) else None
        if again is None:
            return margin
        sure = breaking_margin(again, self._criterion.of(at)).nan_to_num(nan=-torch.inf)
        return margin.index_copy(0, rows, sure)

    def _loss_of(self, logits: torch.Tensor, margin: torch.Tensor, pool: _Pool[S]) -> torch.Tensor:
        if self._method.loss is None:
            return margin
        criterion = self._criterion.of(pool.lanes.position)
        return attack_loss(self._loss, logits.double(), criterion, pool.lanes.target)

    def _leave(
        self, at: torch.Tensor, logits: torch.Tensor, margin: torch.Tensor, points: Images
    ) -> None:
        """Note the images that are firmly broken inside ball and box."""
        if not self._schedule.leave_when_broken:
            return
        spread = logits.amax(dim=1) - logits.amin(dim=1)
        rows = (margin > _FIRM * spread.double()).nonzero()[:, 0]
        if len(rows):
            allowed = inside(self._task.rows(at[rows]), points[rows], self._task.threat)
            self._gone[at[rows[allowed.to(rows.device)]]] = True

    def _kept(self, pool: _Pool[S], margin: torch.Tensor) -> tuple[torch.Tensor, Images]:
        """Each lane's largest margin inside the ball, and its point."""
        points, threat = self._method.points(pool.state), self._task.threat
        better = margin > pool.best_margin
        if threat.norm != "linf":  # of Linf methods every point lies inside
            size = norms(points - pool.region.clean, threat.norm)
            better &= size <= threat.epsilon * (1 + MEASURING_TOLERANCE)
        kept = choose(better, points.detach(), pool.best)
        return torch.where(better, margin, pool.best_margin), kept

    def _retired(self, pool: _Pool[S]) -> _Pool[S] | None:
        through = self._method.finished(pool.state)
        for at in self._questions.failures:  # nothing more can be learnt about it
            self._gone[at] = True
        out = through | self._gone[pool.lanes.position]
        if not bool(out.any()):
            return pool
        for row in out.nonzero()[:, 0].tolist():
            self._book(pool, row)
        return take(pool, ~out) if not bool(out.all()) else None

    def _book(self, pool: _Pool[S], row: int) -> None:
        at = int(pool.lanes.position[row])
        if pool.best_margin[row] > self._margins[at]:
            self._margins[at] = pool.best_margin[row]
            self._adversarial[at] = pool.best[row].to(self._adversarial)
        self._open_lanes[at] -= 1
        ended = bool(self._gone[at])
        following = self._wave[at] + 1
        if self._open_lanes[at] or ended:
            return
        if following < len(self._schedule.waves(self._ranked[at])):
            self._queue.append((at, following))
