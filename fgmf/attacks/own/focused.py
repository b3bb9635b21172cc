"""The focused attack: a short look at every image, a long one at those that it brought near.

    for each image: APGD on the margin from the clean image, `targets` most probable wrong classes
        in turn, `steps` each                                         the short look
    rest = margin by which the image still stands at its best point / its clean margin
    for each image that stands:
        rank the wrong classes again, by their logits at the best point
        rest <= far           near:     APGD on targeted DLR from random points, `long_targets`
                                        classes side by side, `long_steps` each
        rest <= far / CLOSER  nearest:  the same with CLOSER times as many steps
        rest >= STUCK         stuck:    as the nearest, on STUCK_TARGETS classes
        else                  far:      nothing more

What the short look brought near may fall to a longer one. Where it took a fair part of the margin
and much is left, it does not. Where it took next to nothing, nothing is known: the gradient may
be hidden, so such an image is looked at again. `rest` does not change with the scale of the
logits, and it is the image's own: what happens to an image depends on no other. In L1 a short look
brings little near (`fgmf.attacks.suites` uses others there).

Source: own design; its parts are those of `minimum_margin` and of AutoAttack's APGD-T.
Cost: per image the clean forward and at most targets * (2 steps + 1) passes; where it is looked
at again, one forward and at most long_targets * (2 CLOSER long_steps + 1) passes; looks times
restarts.
Randomness: the random starts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch

from fgmf.attacks.own.apgd import Apgd
from fgmf.attacks.own.asking import Questions
from fgmf.attacks.own.losses import breaking_margin
from fgmf.attacks.own.task import AttackOutcome
from fgmf.errors import BudgetSpent, InvalidInput

if TYPE_CHECKING:
    from fgmf.attacks.own.task import AttackTask, LogitsFunction
    from fgmf.types import Images, Logits

STUCK: Final = 0.9
"""Rest from which on an image has not shown that it is far."""
STUCK_TARGETS: Final = 2
CLOSER: Final = 3


@dataclass(frozen=True, kw_only=True)
class FocusedMargin:
    """Short searches for all images, long ones for the near and the stuck.

    Attributes:
        targets: Classes of the short look.
        steps: Iterations on each.
        far: Rest above which an image is far; 1 takes all images for near.
        long_targets: Classes of the long look.
        long_steps: Iterations on each; `CLOSER` times as many for the nearest and the stuck.
        restarts: Rounds of each look; all but the first short one start at random points.
    """

    targets: int = 5
    steps: int = 8
    far: float = 0.36
    long_targets: int = 5
    long_steps: int = 30
    restarts: int = 1

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InvalidInput: No step, target or restart, or a share that is none.
        """
        if not 0 < self.far <= 1 or min(self.targets, self.long_targets) < 1:
            raise InvalidInput(f"expected targets >= 1 and 0 < far <= 1, got {self}")
        self.short_look()
        self._long_look(self.long_targets, self.long_steps)

    def run(
        self, logits: LogitsFunction, task: AttackTask, *, batch_size: int = 128
    ) -> AttackOutcome:
        """Attack every image of the task.

        Args:
            logits: The model.
            task: Images and rules; a targeted criterion is its own only target.
            batch_size: Most lanes in one pass.

        Returns:
            Outcome per image.
        """
        return _Looks(self, logits, task, batch_size).outcome()

    def short_look(self) -> Apgd:
        """Return the look at every image."""
        return Apgd(
            loss="margin",
            steps=self.steps,
            targets=self.targets,
            restarts=self.restarts,
            random_start=False,
        )

    def long_looks(self, rest: torch.Tensor) -> list[tuple[torch.Tensor, Apgd]]:
        """Return the further looks, and the rows that each is for.

        Args:
            rest: (n,) as above; NaN where there is nothing to look for.

        Returns:
            Pairs of (m,) positions, m > 0, and an attack.
        """
        near = (rest >= 0) & (rest <= self.far)
        nearest = near & (rest <= self.far / CLOSER)
        stuck = (rest >= STUCK) & ~near
        looks = [
            (near & ~nearest, self._long_look(self.long_targets, self.long_steps)),
            (nearest, self._long_look(self.long_targets, CLOSER * self.long_steps)),
            (stuck, self._long_look(STUCK_TARGETS, CLOSER * self.long_steps)),
        ]
        return [(flags.nonzero()[:, 0], look) for flags, look in looks if bool(flags.any())]

    def _long_look(self, targets: int, steps: int) -> Apgd:
        # Few images are left: one class after the other would leave the batches nearly empty.
        return Apgd(loss="dlr", steps=steps, targets=targets, width=targets, restarts=self.restarts)


class _Looks:
    """The looks at one task."""

    def __init__(
        self, settings: FocusedMargin, logits: LogitsFunction, task: AttackTask, batch_size: int
    ) -> None:
        self._settings, self._logits, self._batch_size = settings, logits, batch_size
        self._questions = Questions(logits, len(task.keys), task.workplace)
        self._task = task
        everyone = torch.arange(len(task.keys))
        known = task.clean_logits
        self._clean = self._answers(task.images, everyone) if known is None else known

    def outcome(self) -> AttackOutcome:
        """Take them, and put together what they found."""
        task = replace(self._task, clean_logits=self._clean)
        look = self._settings.short_look()
        found = look.run(self._logits, task, batch_size=self._batch_size)
        try:
            if found.complete:
                found = self._looked_again(found)
        except BudgetSpent:
            found = replace(found, complete=False)
        return replace(
            found,
            forward_passes=found.forward_passes + self._questions.forward_passes,
            not_finite=found.not_finite | self._questions.not_finite,
            failures=self._questions.failures | found.failures,
        )

    def _looked_again(self, found: AttackOutcome) -> AttackOutcome:
        for rows, look in self._settings.long_looks(self._rest(found)):
            part = self._part(rows, self._answers(found.adversarial, rows))
            again = look.run(self._logits, part, batch_size=self._batch_size)
            found = _joined(found, rows, again)
            if not found.complete:
                break
        return found

    def _rest(self, found: AttackOutcome) -> torch.Tensor:
        """(n,) NaN where nothing is left to find, or nothing can be learnt."""
        criterion = self._task.criterion_on(self._clean.device)
        rest = found.margins / breaking_margin(self._clean, criterion).cpu()
        done = found.broken | found.not_finite
        done[list(found.failures)] = True
        return rest.masked_fill(done, torch.nan)

    def _part(self, rows: torch.Tensor, seen: Logits) -> AttackTask:
        """Some of the images, with their classes ranked by logits at other points."""
        task = self._task
        return replace(
            task,
            images=task.images[rows.to(task.images.device)],
            criterion=task.criterion.of(rows.to(task.criterion.labels.device)),
            keys=tuple(task.keys[at] for at in rows.tolist()),
            clean_logits=self._clean[rows.to(self._clean.device)],
            ranking_logits=seen,
        )

    def _answers(self, points: Images, rows: torch.Tensor) -> Logits:
        device = self._task.workplace
        answers = []
        for at in rows.split(self._batch_size):
            asked = points[at.to(points.device)].to(device)
            answers.append(self._questions.logits(asked, at.to(device)))
        return torch.cat(answers)


def _joined(first: AttackOutcome, rows: torch.Tensor, second: AttackOutcome) -> AttackOutcome:
    """What two looks found, the second at some of the images: of each its better end."""
    better = second.margins > first.margins[rows]
    taken = rows[better]
    adversarial = first.adversarial.clone()
    device = adversarial.device
    adversarial[taken.to(device)] = second.adversarial[better.to(device)]
    places = rows.tolist()

    def summed(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        return one.index_add(0, rows, two)

    def either(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        return one.index_put((rows,), one[rows] | two)

    return AttackOutcome(
        adversarial=adversarial,
        broken=first.broken.index_put((taken,), second.broken[better]),
        margins=first.margins.index_put((taken,), second.margins[better]),
        forward_passes=summed(first.forward_passes, second.forward_passes),
        backward_passes=summed(first.backward_passes, second.backward_passes),
        loss=first.loss,
        vanished=either(first.vanished, second.vanished),
        not_finite=either(first.not_finite, second.not_finite),
        failures=first.failures | {places[at]: why for at, why in second.failures.items()},
        complete=second.complete,
    )
