"""Naive attacks on all images, judged as a naive evaluation would; and again from other starts.

Of a random model the starts are compared by shares of draws, and the share that counts is taken
on new draws: the least of several would be too low.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import torch

from fgmf.gradient_masking.judge import ITERATIVE, ONE_STEP
from fgmf.gradient_masking.naive import FORTY_STEPS, climb
from fgmf.gradient_masking.naive import ONE_STEP as ONE_STEP_ASCENT
from fgmf.gradient_masking.one_step import look_at_one_step, look_at_turning
from fgmf.gradient_masking.paths import probe_path
from fgmf.gradient_masking.suite_runs import as_found
from fgmf.gradient_masking.values import NaiveOutcome
from fgmf.seeding import derive_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.gradient_masking.countering import Countering
    from fgmf.gradient_masking.examined import Examined
    from fgmf.gradient_masking.naive import Ascent, Path
    from fgmf.gradient_masking.values import Symptom

STARTS: Final = 5
"""Of the iterative attack, before a gap without any symptom counts as a proof: what other starting
points find with the same gradient was not hidden by it."""


def attack_naively(
    examined: Examined, live: torch.Tensor, ascent: Ascent, *, name: str
) -> tuple[NaiveOutcome, Path]:
    """Run a naive attack on the images that are right without one.

    Args:
        examined: Model and all n images.
        live: (m,) which are right.
        ascent: The attack.
        name: Its name.

    Returns:
        What it says of all images (those that are wrong anyway count as broken), and its way.
    """
    before, part = examined.passes, examined.of(live)
    path = climb(part, ascent)
    right = torch.zeros(len(examined), dtype=torch.float64)
    right[live] = as_found(part, path.points)
    examples = examined.images.clone()
    examples[live] = path.points
    outcome = NaiveOutcome(
        name=name,
        rows=torch.arange(len(examined)),
        right=right,
        examples=examples,
        unavailable=path.unavailable,
        passes=examined.passes - before,
    )
    return outcome, path


def attack_again(
    examined: Examined, some: torch.Tensor, outcome: NaiveOutcome, *, restart: int
) -> NaiveOutcome:
    """Let the iterative attack try once more, from other points, on what it left right.

    Args:
        examined: Model and all images.
        some: Those that it tries again on.
        outcome: Of its runs so far.
        restart: Number of this one, from 1.

    Returns:
        The least of all runs.

    Cost: at most that of the first run.
    """
    right, examples, before = outcome.right.clone(), outcome.examples.clone(), examined.passes
    rows = some[right[some] > 0]
    if len(rows):
        seed = derive_seed(examined.seed, "restart", restart)
        part = replace(examined, seed=seed).of(rows)
        points = climb(part, FORTY_STEPS).points
        found = as_found(part, points)
        lower = found < right[rows]
        if examined.traits.random and bool(lower.any()):
            found[lower] = as_found(part.of(lower.nonzero().flatten()), points[lower])
        right[rows[lower]] = found[lower]
        examples[rows[lower]] = points[lower]
    return replace(
        outcome,
        name=f"{outcome.name.partition(' (')[0]} ({restart + 1} starts)",
        right=right,
        examples=examples,
        passes=outcome.passes + examined.passes - before,
    )


@dataclass(kw_only=True, eq=False)
class NaiveSide:
    """The naive attacks of one examination.

    Attributes:
        state: What is known of every image; the worst case includes what they find.
        live: Images that are right without an attack.
        outcomes: What they say, in order.
        starts: Of the iterative attack so far, on all images.
        ray: (n,) what single steps leave that are not turned away; None: nobody has looked.
    """

    state: Countering
    live: torch.Tensor
    outcomes: list[NaiveOutcome] = field(default_factory=list)
    starts: int = 1
    ray: torch.Tensor | None = None
    _few_starts: int = 1

    def attack(self, name: str, ascent: Ascent) -> Path:
        """Run one on all images."""
        outcome, path = attack_naively(self.state.examined, self.live, ascent, name=name)
        self.outcomes.append(outcome)
        self._book(outcome, self.live)
        return path

    def begin(self) -> tuple[Symptom, ...]:
        """Run the one-step and the iterative attack, and look at their ways."""
        self.attack(ONE_STEP, ONE_STEP_ASCENT)
        path = self.attack(ITERATIVE, FORTY_STEPS)
        (fgsm, pgd), live = self.outcomes, self.live
        found = tuple(probe_path(path, pgd.right[live], fgsm.right[live]))
        if self.state.examined.traits.random:
            return found  # the least of many shares of draws would be too low
        self.ray, leaking = look_at_one_step(self.state.examined, live, fgsm)
        return (*found, leaking)

    def look_at_turning(
        self, scouts: torch.Tensor, known: Sequence[Symptom]
    ) -> tuple[Symptom, ...]:
        """Look whether the one-step attack is turned away; `known` says how the margin bends."""
        if self.ray is None:
            return ()
        naive = self.outcomes[0], self.outcomes[1]
        bend = next((symptom.value for symptom in known if symptom.name == "margin-curved"), None)
        self.ray, found = look_at_turning(self.state.examined, scouts, naive, self.ray, bend=bend)
        return (found,)

    def again(self) -> bool:
        """Let the iterative attack start anew on all images; False if it had all its starts."""
        if self.starts >= STARTS:
            return False
        self._start(self.live, self.starts)
        self.starts += 1
        return True

    def again_on(self, few: torch.Tensor) -> bool:
        """Likewise on a few, before it is done on all."""
        if self._few_starts >= STARTS:
            return False
        name = self.outcomes[self._iterative].name
        self._start(few, self._few_starts)
        at = self._iterative
        self.outcomes[at] = replace(self.outcomes[at], name=name)
        self._few_starts += 1
        return True

    def gap_on(self, few: torch.Tensor) -> float:
        """Mean share of a few images that the iterative attack leaves and others do not.

        Cost: 16 forward passes for each image of a random model: its worst candidate was chosen
        among several, and is judged on new draws.
        """
        self.state.settle(few)
        left = self.outcomes[self._iterative].right[few] - self.state.right[few]
        return float(left.mean()) if len(few) else 0.0

    @property
    def _iterative(self) -> int:
        return next(i for i, o in enumerate(self.outcomes) if o.name.startswith(ITERATIVE))

    def _start(self, some: torch.Tensor, restart: int) -> None:
        """On the images of which others have found more: of the rest nothing is feigned."""
        at = self._iterative
        rows = some[self.outcomes[at].right[some] > self.state.right[some]]
        found = attack_again(self.state.examined, rows, self.outcomes[at], restart=restart)
        self.outcomes[at] = found
        self._book(found, rows)

    def _book(self, outcome: NaiveOutcome, rows: torch.Tensor) -> None:
        """Let the worst case include what a naive attack found."""
        traits = self.state.examined.traits
        if traits.stateful or traits.batch_dependent:
            self.state.judge(rows, outcome.examples[rows], outcome.name)
            return
        if traits.random:
            self.state.take(rows, outcome.examples[rows], outcome.right[rows], outcome.name)
            return
        self.state.right[rows] = torch.minimum(self.state.right[rows], outcome.right[rows])
