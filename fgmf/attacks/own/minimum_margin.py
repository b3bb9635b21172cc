"""The minimum-margin attack: the most probable wrong classes in turn, on the images that are left.

    for each image, rank the wrong classes by their clean logit, highest first
    for t in the first `targets` classes:
        APGD that raises z_t - z_y, from a random point
        stop at the first point that is misclassified
    report, for images that nothing broke, the point of smallest margin

The margin itself is raised, with no division by the spread of the logits: only its order and
the direction of its gradient matter to APGD, so it needs no rescaling.

Source: Gao et al., "Fast and reliable evaluation of adversarial robustness with minimum-margin
attack" (ICML 2022): sequential target ranking selection; 3 targets is its MM3, 9 its MM9.
Deviations: APGD's step sizes; the next target starts as soon as the one before has ended on this
image, not when it has ended on all.
Cost: per image at most targets * (steps + 1) forwards and targets * steps backwards, and the
clean forward. Randomness: the random starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgmf.attacks.own.apgd import Apgd

if TYPE_CHECKING:
    from fgmf.attacks.own.task import AttackOutcome, AttackTask, LogitsFunction


@dataclass(frozen=True, kw_only=True)
class MinimumMargin:
    """Targeted margin APGD on the top classes, one after the other.

    Attributes:
        targets: How many classes are tried, at most all wrong ones.
        steps: Iterations on each.
        restarts: Rounds over the classes.
        width: Classes tried side by side (`lanes`).
        random_start: False starts the first round at the clean image.
    """

    targets: int = 3
    steps: int = 20
    restarts: int = 1
    width: int = 1
    random_start: bool = True

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InvalidInput: No step, target or restart.
        """
        self._apgd()

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
        return self._apgd().run(logits, task, batch_size=batch_size)

    def _apgd(self) -> Apgd:
        return Apgd(
            loss="margin",
            steps=self.steps,
            restarts=self.restarts,
            targets=max(1, self.targets),
            width=self.width,
            random_start=self.random_start,
        )
