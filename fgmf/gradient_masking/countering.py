"""Carrying out counter-attacks, and judging each on the model itself.

    active     = images that nothing has broken yet
    candidates = APGD along a source's gradient (random models: plain ascent), or any other attack
    judged     = fresh passes of the model as it is: from its first state, alone where it looks at
                 its batch, averaged over draws where it draws
    right      = min(right, judged)

A candidate that breaks an image counts after a second pass, in batches of another size. Of random
models the worst candidate of each image is kept, and judged once more on new draws at the end: the
draws that chose it would flatter the attack.

Cost: the attack's own passes; one more per candidate, and one for each that breaks (random models:
16 of each).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import torch

from fgmf.attacks.own import Apgd
from fgmf.attacks.projection import inside, project
from fgmf.classifier.memory import is_out_of_memory
from fgmf.errors import BudgetSpent
from fgmf.gradient_masking.ascending import Ascending
from fgmf.gradient_masking.values import CounterAttack, MaskingExample
from fgmf.seeding import isolated_randomness

if TYPE_CHECKING:
    from fgmf.attacks.own.task import AttackOutcome, AttackTask, LogitsFunction
    from fgmf.gradient_masking.ascending import Ascended
    from fgmf.gradient_masking.examined import Examined
    from fgmf.gradient_masking.mechanisms import Mechanism
    from fgmf.gradient_masking.sources import Source
    from fgmf.types import Images

EXAMPLES: Final = 64
_BROKEN: Final = 0.05
"""Share of draws below which an image of a random model is as good as broken."""


class Algorithm(Protocol):
    """An attack of `fgmf.attacks.own`, or like one."""

    def run(
        self, logits: LogitsFunction, task: AttackTask, *, batch_size: int
    ) -> AttackOutcome | Ascended:
        """Attack every image of the task."""
        ...


@dataclass(frozen=True, kw_only=True)
class Assault:
    """One attack on some images.

    Attributes:
        name: For the report.
        mechanisms: What it undoes.
        layer: Where.
    """

    name: str
    mechanisms: tuple[Mechanism, ...] = ()
    layer: str = ""


@dataclass(kw_only=True, eq=False)
class Countering:
    """What is known of every image so far, and the attacks that made it known.

    Attributes:
        examined: Model and all images.
        right: (n,) float64 worst share of draws on which the model is right.
        attacked: (n,) images that counter-attacks were tried on.
        records: One for each attack.
    """

    examined: Examined
    right: torch.Tensor
    attacked: torch.Tensor
    records: list[CounterAttack] = field(default_factory=list)
    _worst: dict[int, tuple[Images, str]] = field(default_factory=dict)
    _settled: int = 0

    @property
    def passes(self) -> int:
        """Passes of the model so far."""
        return self.examined.passes

    def active(self, rows: torch.Tensor) -> torch.Tensor:
        """Those of the images that nothing has broken yet."""
        limit = _BROKEN if self.examined.traits.random else 0.0
        return rows[self.right[rows] > limit]

    def follow(self, source: Source, rows: torch.Tensor, *, scouting: bool) -> int:
        """Run APGD along a source's gradient.

        Args:
            source: The gradient.
            rows: Images; those that are broken already are left out.
            scouting: A short run.

        Returns:
            How many images it broke that nothing had broken before.
        """
        steps = source.scout_steps if scouting else source.steps
        attack: Algorithm = Apgd(
            loss=source.loss,
            steps=steps,
            random_start=not scouting,
            leave_when_broken=source.faithful,
        )
        if self.examined.traits.random:
            attack = Ascending(steps=steps, loss=source.loss)
        assault = Assault(name=source.name, mechanisms=source.mechanisms, layer=source.layer)
        return self.run(attack, source.logits, rows, assault, scouting=scouting)

    def run(
        self,
        attack: Algorithm,
        logits: LogitsFunction,
        rows: torch.Tensor,
        assault: Assault,
        *,
        scouting: bool,
    ) -> int:
        """Run any attack of ours and judge what it makes; see :meth:`follow`."""
        active, before = self.active(rows), self.passes
        self.attacked[rows] = True
        failure, broken = "", 0
        if len(active):
            part = self.examined.of(active)
            try:
                with isolated_randomness(part.seed):
                    outcome = attack.run(
                        logits, part.task(assault.name), batch_size=part.classifier.batch_size
                    )
                broken = self.judge(active, outcome.adversarial, assault.name)
            except BudgetSpent:
                raise
            except Exception as error:  # a changed copy of a user's model can raise anything
                if is_out_of_memory(error):
                    raise
                failure = _words(error)
        self.records.append(
            CounterAttack(
                name=assault.name,
                mechanisms=assault.mechanisms,
                layer=assault.layer,
                images=len(active),
                broken=broken,
                scouting=scouting,
                passes=self.passes - before,
                failure=failure,
            )
        )
        return broken

    def note(self, name: str, error: Exception) -> None:
        """Note a counter-attack that could not even be made."""
        self.records.append(
            CounterAttack(
                name=name, mechanisms=(), images=0, broken=0, scouting=True, failure=_words(error)
            )
        )

    def judge(self, rows: torch.Tensor, candidates: Images, name: str) -> int:
        """Judge candidates on the model as it is, and keep what breaks.

        Args:
            rows: (m,) which images they are of.
            candidates: (m, ...); brought back into ball and box first.
            name: What made them.

        Returns:
            How many images are broken now that were not.
        """
        part = self.examined.of(rows)
        finite = torch.where(candidates.cpu().isfinite(), candidates.cpu(), part.images)
        moved = project(part.images, finite.to(part.images.dtype), part.threat)
        judged = part.right(moved)
        judged = torch.where(inside(part.images, moved, part.threat), judged, 1.0)
        lower = judged < self.right[rows]
        if not part.traits.random:
            lower = self._confirmed(part, moved, lower)
        return self._keep(rows, moved, judged, lower, name)

    def take(self, rows: torch.Tensor, candidates: Images, judged: torch.Tensor, name: str) -> None:
        """Keep candidates that were judged by the one who made them, inside ball and box.

        Args:
            rows: (m,) which images they are of.
            candidates: (m, ...).
            judged: (m,) share of draws on which the model is right on each.
            name: What made them.
        """
        self._keep(rows, candidates, judged, judged < self.right[rows], name)

    def _keep(
        self,
        rows: torch.Tensor,
        moved: Images,
        judged: torch.Tensor,
        lower: torch.Tensor,
        name: str,
    ) -> int:
        fell = 0
        for place in lower.nonzero().flatten().tolist():
            at = int(rows[place])
            fell += int(self.right[at] > _BROKEN >= judged[place])
            self.right[at] = judged[place]
            self._worst[at] = (moved[place].clone(), name)
        return fell

    def _confirmed(self, part: Examined, moved: Images, lower: torch.Tensor) -> torch.Tensor:
        """Look at what seems broken once more, in batches of another size."""
        at = lower.nonzero().flatten()
        if not len(at):
            return lower
        hits = part.of(at)
        size = max(1, (len(at) + 1) // 2) if len(at) > 1 else 1
        hits.fresh()
        logits = hits.classifier.logits_in_batches(
            moved[at], batch_size=1 if part.traits.batch_dependent else size
        )
        confirmed = lower.clone()
        confirmed[at] = ~hits.is_right(logits) & logits.isfinite().all(dim=1)
        return confirmed

    def settle(self, some: torch.Tensor | None = None) -> None:
        """Judge the worst candidate of each image of a random model on new draws.

        Args:
            some: Images; None: all.

        Cost: 16 forward passes for each image that has one.
        """
        if not self.examined.traits.random:
            return
        asked = self._worst if some is None else self._worst.keys() & set(some.tolist())
        if not asked:
            return
        rows = torch.tensor(sorted(asked))
        worst = torch.stack([self._worst[at][0] for at in rows.tolist()])
        self._settled += 1
        with isolated_randomness(self.examined.seed + self._settled):
            self.right[rows] = self.examined.of(rows).right(worst)

    def examples(self, missed: torch.Tensor) -> tuple[MaskingExample, ...]:
        """Return examples of images that naive attacks missed, for the record.

        Args:
            missed: (n,) images that a naive attack left right.

        Cost: one forward pass for each example.
        """
        broken = self.right <= (_BROKEN if self.examined.traits.random else 0.0)
        rows = [at for at in sorted(self._worst) if bool(missed[at] & broken[at])][:EXAMPLES]
        if not rows:
            return ()
        images = torch.stack([self._worst[at][0] for at in rows])
        self.examined.fresh()
        predicted = self.examined.classifier.predict(images).tolist()
        return tuple(
            MaskingExample(
                position=at, image=self._worst[at][0], predicted=label, attack=self._worst[at][1]
            )
            for at, label in zip(rows, predicted, strict=True)
        )


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
