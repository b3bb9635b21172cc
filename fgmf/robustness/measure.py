"""The worst case per image over attacks and restarts.

broken = images that are wrong without an adversary
for each attack, for each restart:
    candidates = attack(images that are not broken)   # in batches; in blocks, if it makes its own
    for each batch of candidates:                     # inside ball and box
        hits    = judged in a forward pass, and once more in a fresh one of another size
        broken |= hits
an image that an attack could not be carried out on, and that nothing broke, is *failed*;
one that time ran out for is *undecided*: neither is ever counted as robust evidence.
after each attack run the plan may say that enough is known: what is not broken is undecided then.
an image whose outcome a cache knows is not attacked; it is booked where the attacks would book it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from fgmf.attacks.building import build_attack
from fgmf.attacks.interface import AttackBatch, reason_of
from fgmf.attacks.projection import inside, project
from fgmf.classifier.memory import batched, is_out_of_memory, return_freed
from fgmf.classifier.steadiness import refuse_moved, refuse_nonfinite
from fgmf.errors import BudgetSpent, InvalidInput
from fgmf.robustness.known import KnownImages
from fgmf.robustness.plan import AttackRecord, Example, RobustnessMeasurement, RobustnessPlan
from fgmf.robustness.starts import accept_starts, find_starts
from fgmf.verdict import Cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.attacks.criteria import Criterion
    from fgmf.attacks.interface import Attack, AttackResult
    from fgmf.attacks.plans import AttackPlan
    from fgmf.classifier import Classifier
    from fgmf.types import Images, Logits

_OVERSHOOT = 1.05
"""Minimum-norm attacks stop on the boundary, where rounding decides; a step past it does not."""
_BLOCK = 500
"""Images that an attack which makes its own batches is given at once.

It keeps copies of each, so memory would grow with their number; so many still fill batches of the
usual size. Larger batches make larger blocks. Outcomes do not depend on it.
"""
_OVER = "expected the attack to end within the gate's max_seconds"


def measure_robustness(
    classifier: Classifier,
    images: Images,
    criterion: Criterion,
    plan: RobustnessPlan,
    *,
    keys: Sequence[str],
) -> RobustnessMeasurement:
    """Attack every image with every attack until something breaks it.

    Args:
        classifier: Put back as it was afterwards.
        images: (n, ...) float on the CPU, inside the threat's bounds.
        criterion: When an image counts as broken; for these n images.
        plan: Threat, attacks, seed, deadline.
        keys: One stable key per image (a digest), for its random draws.

    Returns:
        Outcome per image, per-attack counts, re-verified examples, and cost.

    Raises:
        NonFiniteOutput: The model's clean logits are NaN or infinite.
        InvalidInput: No attacks, no images, not one label and key for each image, or a
            criterion that does not fit the number of classes.
        MissingDependency: An attack needs a package that is not installed.
        ModelStateChanged: The model's state was changed by its forward pass; it is put back. Or
            its clean logits are not the same after the attacks as before.

    Cost: two clean passes; per attack and restart its passes on unbroken images plus one forward to
        judge; one more forward for each image that an attack broke; passes of surrogates.
    Randomness: fixed by the seed, each attack's label, the restart and the image's key; not by
        the batch size or the order of the images.
    """
    counts = {len(images), len(criterion.labels), len(keys)}
    if len(counts) > 1 or not all(counts) or not plan.attacks:
        message = "expected at least one attack, and one label and key for each of the images"
        got = f"{len(images)} images, {len(criterion.labels)} labels, {len(keys)} keys"
        raise InvalidInput(f"{message}, got {len(plan.attacks)} attacks, {got}")
    started = time.perf_counter()
    sources = plan.sources
    before = classifier.cost_meter.reading() + sources.passes(besides=classifier)
    with classifier.guard(seed=plan.seed):
        state = _Measurement(classifier, images, criterion, plan, keys)
        state.recall()
        state.run()
        state.keep()
    passed = classifier.cost_meter.reading() + sources.passes(besides=classifier)
    cost = replace(passed - before, seconds=time.perf_counter() - started)
    return state.result(replace(cost, cached_images=state.cached_images))


class _Measurement:
    """The running state of one measurement."""

    def __init__(
        self,
        classifier: Classifier,
        images: Images,
        criterion: Criterion,
        plan: RobustnessPlan,
        keys: Sequence[str],
    ) -> None:
        self._classifier, self._images, self._criterion = classifier, images, criterion
        self._plan, self._keys = plan, keys
        self._clean_logits = refuse_nonfinite(classifier.logits_in_batches(images))
        return_freed()
        self._clean_correct = criterion.correct(self._clean_logits)
        self._broken = ~self._clean_correct | criterion.broken(self._clean_logits)
        self._undecided = torch.zeros(len(images), dtype=torch.bool)
        self._mine = torch.arange(len(images)) % plan.share.count == plan.share.rank
        self._records = [AttackRecord(plan=attack) for attack in plan.attacks]
        self._examples: list[Example] = []
        self._verified = 0
        self._start_of: dict[int, Images] = {}
        self._runs_total = sum(attack.calls for attack in plan.attacks)
        self._runs_done = 0
        self._known = KnownImages(classifier, images, criterion, plan, keys)

    @property
    def cached_images(self) -> int:
        """How many images were not attacked, because their outcome was known."""
        return len(self._known.outcomes)

    def recall(self) -> None:
        """Take outcomes from the cache, for images that would be attacked here."""
        wanted = (~self._broken & self._mine).nonzero().flatten().tolist()
        self._known.recall(wanted)

    def keep(self) -> None:
        """Leave to the cache what was found out here."""
        survived = (self._mine & ~self._broken & ~self._undecided).nonzero().flatten()
        self._known.keep(survived.tolist(), self._records, self._examples)

    def run(self) -> None:
        """Run every attack and restart; stop at the deadline, or where enough is known."""
        try:
            through = self._run_all()
        except BudgetSpent:
            self._undecided = ~self._broken
            return
        if not through:
            self._undecided = ~self._broken
        if self._plan.expect_steady:
            after = self._classifier.logits_in_batches(self._images)
            refuse_moved(self._clean_logits, after, during="the attacks")

    def _run_all(self) -> bool:
        """Say whether every attack was run."""
        for record in self._records:
            attack = build_attack(
                record.plan,
                self._classifier,
                self._plan.threat,
                seed=self._plan.seed,
                deadline=self._plan.deadline,
                sources=self._plan.sources,
            )
            for restart in range(record.plan.calls):
                self._run_once(attack, record, restart)
                self._book_known(record)
                self._runs_done += 1
                if self._is_enough():
                    return False
        return True

    def _is_enough(self) -> bool:
        if self._plan.enough is None or self._runs_done == self._runs_total:
            return False
        so_far = replace(self.result(Cost()), undecided=~self._broken)
        return self._plan.enough(so_far)

    def result(self, cost: Cost) -> RobustnessMeasurement:
        """The measurement so far, as a value."""
        failed = torch.zeros_like(self._broken)
        for record in self._records:
            failed[list(record.failures)] = True
        return RobustnessMeasurement(
            labels=self._criterion.labels,
            predicted=self._clean_logits.argmax(dim=1),
            clean_correct=self._clean_correct,
            broken=self._broken,
            undecided=self._undecided & ~self._broken,
            failed=failed & ~self._broken,
            records=tuple(self._records),
            examples=tuple(self._examples[: self._plan.example_limit]),
            verified=self._verified,
            cost=cost,
        )

    def _run_once(self, attack: Attack, record: AttackRecord, restart: int) -> None:
        active = (~self._broken & self._mine).nonzero().flatten().tolist()
        if restart == 0:
            record.attacked = len(active)
        active = [position for position in active if position not in self._known.outcomes]
        starts = self._starts(record, active)
        active = [position for position in active if position not in record.no_start]
        self._report(record.plan, 0, len(active))

        everyone = torch.tensor(active, dtype=torch.int64)

        def attack_part(part: slice) -> None:
            batch = self._batch(everyone[part], starts)
            result = attack.run(batch, restart=restart)
            self._book(record, everyone[part], result)
            self._judge_list(record, everyone[part], result)

        if record.plan.entry.whole_list:
            size = max(_BLOCK, self._classifier.batch_size)
            for start in range(0, len(active), size):
                stop = min(start + size, len(active))
                attack_part(slice(start, stop))
                return_freed()
                self._report(record.plan, stop, len(active))
            return
        for part, _ in batched(len(active), self._classifier.batch_size, attack_part):
            self._report(record.plan, part.stop, len(active))

    def _book(self, record: AttackRecord, rows: torch.Tensor, result: AttackResult) -> None:
        """Book what an attack says of itself."""
        positions = rows.tolist()
        record.failures.update({positions[at]: why for at, why in result.failures.items()})
        if result.radii is not None:
            record.radii.update(zip(positions, result.radii.tolist(), strict=True))

    def _judge_list(self, record: AttackRecord, rows: torch.Tensor, result: AttackResult) -> None:
        """Judge candidates in batches; where time ran out, what was found before counts."""
        candidates = result.adversarial
        if result.offered is not None:
            rows, candidates = rows[result.offered], candidates[result.offered]
        if not result.complete:
            moved = (candidates != self._images[rows]).flatten(1).any(dim=1)
            rows, candidates = rows[moved], candidates[moved]

        def judge(part: slice) -> None:
            self._judge_or_split(record, rows[part], candidates[part])

        for _ in batched(len(rows), self._classifier.batch_size, judge):
            pass
        if not result.complete:
            raise BudgetSpent(_OVER)

    def _book_known(self, record: AttackRecord) -> None:
        """Book what is known that this run of the attack makes of images."""
        found = self._known.book(record, self._runs_done)
        for example in found:
            self._broken[example.position] = True
        self._verified += len(found)
        both = sorted([*self._examples, *found], key=lambda e: (e.run, e.position))
        self._examples = both[: self._known.example_limit]

    def _batch(self, rows: torch.Tensor, starts: dict[int, Images]) -> AttackBatch:
        positions = rows.tolist()
        return AttackBatch(
            images=self._images[rows],
            criterion=self._criterion.of(rows),
            keys=tuple(self._keys[position] for position in positions),
            starts=torch.stack([starts[at] for at in positions]) if starts else None,
            clean_logits=self._clean_logits[rows],
        )

    def _starts(self, record: AttackRecord, active: list[int]) -> dict[int, Images]:
        if not record.plan.entry.needs_start or not active:
            return {}
        offered = {at: self._plan.starts[at] for at in active if at in self._plan.starts}
        starts = accept_starts(self._classifier, offered, self._criterion)
        starts |= find_starts(
            self._classifier,
            self._images,
            self._clean_logits,
            self._criterion,
            wanted=[at for at in active if at not in starts],
            keys=self._keys,
            seed=self._plan.seed,
        )
        self._start_of |= starts
        missing = set(active) - starts.keys()
        record.no_start.update(missing)
        why = "no misclassified image to start from was found"
        record.failures.update(dict.fromkeys(missing, why))
        return starts

    def _judge_or_split(self, record: AttackRecord, rows: torch.Tensor, candidates: Images) -> None:
        """Judge candidates; on an exception in smaller parts, down to the image that causes it."""
        try:
            self._judge(record, rows, candidates)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            if len(rows) == 1:
                record.failures[int(rows[0])] = f"judging its example: {reason_of(error)}"
                return
            middle = len(rows) // 2
            for part in (slice(0, middle), slice(middle, None)):
                self._judge_or_split(record, rows[part], candidates[part])

    def _judge(self, record: AttackRecord, rows: torch.Tensor, candidates: Images) -> None:
        """Judge candidates, re-verify the hits, and book what they mean."""
        if record.plan.entry.minimum_norm:
            candidates = self._past_the_boundary(rows, candidates)
        logits = self._logits(candidates)
        for position in rows[~logits.isfinite().all(dim=1)].tolist():
            record.failures[position] = "the model returned NaN or infinite logits for its example"
        at = self._criterion.of(rows).broken(logits).nonzero().flatten()
        if not len(at):
            return
        verified, predicted = self._verify(rows[at], candidates[at], judged_with=len(rows))
        for place, holds, label in zip(at.tolist(), verified, predicted, strict=True):
            position = int(rows[place])
            if not holds:
                record.unverified.add(position)
                continue
            record.unverified.discard(position)
            self._broken[position] = True
            record.broken += 1
            self._verified += 1
            if len(self._examples) < self._known.example_limit:
                self._examples.append(
                    Example(
                        position=position,
                        image=candidates[place].clone(),
                        predicted=label,
                        attack=record.plan.label,
                        run=self._runs_done,
                        start=self._start_of.get(position),
                    )
                )

    def _past_the_boundary(self, rows: torch.Tensor, candidates: Images) -> Images:
        """Walk a little past the boundary, where that still breaks the image inside the ball."""
        clean = self._images[rows]
        further = project(clean, clean + _OVERSHOOT * (candidates - clean), self._plan.threat)
        holds = self._criterion.of(rows).broken(self._logits(further))
        return torch.where(holds.reshape(-1, *([1] * (clean.ndim - 1))), further, candidates)

    def _logits(self, candidates: Images) -> Logits:
        return self._classifier.logits(candidates).detach().cpu()

    def _verify(
        self, rows: torch.Tensor, examples: Images, *, judged_with: int
    ) -> tuple[list[bool], list[int]]:
        """Judge examples afresh, in a batch of another size than the one they were judged in."""
        count = len(rows)
        if judged_with == 1:
            logits = self._classifier.logits_in_batches(torch.cat([examples, examples]))[:1]
        else:
            logits = self._classifier.logits_in_batches(examples, batch_size=(count + 1) // 2)
        holds = self._criterion.of(rows).broken(logits)
        holds &= inside(self._images[rows], examples, self._plan.threat)
        return holds.tolist(), logits.argmax(dim=1).tolist()

    def _report(self, attack: AttackPlan, done: int, active: int) -> None:
        if self._plan.on_progress is None:
            return
        count = len(self._images)
        share = self._runs_done * count + (count - active) + done
        self._plan.on_progress(share, self._runs_total * count, attack.entry.title)
