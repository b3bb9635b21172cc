"""Every image under every corruption at every severity.

for each corruption at each severity:
    for each batch of images:
        right = prediction on the corrupted batch
every image that is broken for the first time is looked at again, in a batch of another size

All images go through all of it, broken ones too: the mean over corruptions needs them. An image
that the model failed on is *failed*, one that time ran out for *undecided*: neither is good.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from fgmf.classifier.memory import is_out_of_memory
from fgmf.classifier.steadiness import refuse_moved, refuse_nonfinite
from fgmf.corruption_accuracy.plan import (
    CorruptedExample,
    CorruptionCell,
    CorruptionMeasurement,
    CorruptionPlan,
)
from fgmf.corruptions.applying import check_images, corrupt
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.classifier import Classifier
    from fgmf.types import Images, Labels, Logits
    from fgmf.verdict import Cost


def measure_corruptions(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    plan: CorruptionPlan,
    *,
    keys: Sequence[str],
) -> CorruptionMeasurement:
    """Corrupt every image in every way and see which ones the model still gets right.

    Args:
        classifier: Put back as it was afterwards; needs no gradient.
        images: (n, c, h, w) floating point on the CPU, inside the bounds.
        labels: (n,) int64.
        plan: Corruptions, severities, seed, deadline.
        keys: One stable key per image (a digest), for its draws.

    Returns:
        Outcome per image and cell, examples, and cost.

    Raises:
        NonFiniteOutput: The model's clean logits are NaN or infinite.
        InvalidInput: No cells, no images, not one label and key for each image, or images that
            are not (n, c, h, w).
        ModelStateChanged: The model's state was changed by its forward pass; it is put back. Or
            its clean logits are not the same after the corruptions as before.

    Cost: a forward for each image and cell, two for the clean image, one more if it breaks.
    Randomness: fixed by the seed, corruption, severity and the image's key; not by the batch size
        or the order of the images.
    """
    counts = {len(images), len(labels), len(keys)}
    if len(counts) > 1 or not all(counts) or not plan.cells:
        message = "expected at least one corruption, and one label and key for each of the images"
        got = f"{len(images)} images, {len(labels)} labels, {len(keys)} keys"
        raise InvalidInput(f"{message}, got {len(plan.cells)} corruptions, {got}")
    check_images(images)
    started = time.perf_counter()
    before = classifier.cost_meter.reading()
    with classifier.guard(seed=plan.seed):
        state = _Measurement(classifier, images, labels, plan, keys)
        state.run()
    cost = classifier.cost_meter.since(before, seconds=time.perf_counter() - started)
    return state.result(cost)


class _Measurement:
    """The running state of one measurement."""

    def __init__(
        self,
        classifier: Classifier,
        images: Images,
        labels: Labels,
        plan: CorruptionPlan,
        keys: Sequence[str],
    ) -> None:
        self._classifier, self._images, self._labels = classifier, images, labels
        self._plan, self._keys = plan, keys
        self._clean_logits = refuse_nonfinite(classifier.logits_in_batches(images))
        self._clean_correct = self._clean_logits.argmax(dim=1) == labels
        shape = (len(plan.cells), len(images))
        self._right = torch.zeros(shape, dtype=torch.bool)
        self._measured = torch.zeros(shape, dtype=torch.bool)
        self._failures: dict[int, tuple[str, str]] = {}
        self._broken_by: dict[int, CorruptionCell] = {}
        self._verified: dict[int, int] = {}
        self._examples: tuple[CorruptedExample, ...] = ()

    def run(self) -> None:
        """Go through every cell, or stop at the deadline."""
        finished = all(self._cell(row) for row in range(len(self._plan.cells)))
        self._examples = self._chosen_examples()
        if finished and self._plan.expect_steady:
            after = self._classifier.logits_in_batches(self._images)
            refuse_moved(self._clean_logits, after, during="the corruptions")

    def result(self, cost: Cost) -> CorruptionMeasurement:
        """The measurement so far, as a value."""
        return CorruptionMeasurement(
            labels=self._labels,
            clean_correct=self._clean_correct,
            cells=self._plan.cells,
            right=self._right,
            measured=self._measured,
            failures=self._failures,
            examples=self._examples,
            verified=len(self._verified),
            unverified=tuple(sorted(self._broken_by.keys() - self._verified.keys())),
            cost=cost,
        )

    def _cell(self, row: int) -> bool:
        """Measure all images under one corruption; False if time ran out."""
        cell, count = self._plan.cells[row], len(self._images)
        self._report(row, 0)
        for start in range(0, count, self._classifier.batch_size):
            if self._plan.deadline is not None and time.monotonic() >= self._plan.deadline:
                return False
            rows = list(range(start, min(start + self._classifier.batch_size, count)))
            corrupted = self._corrupted(rows, cell)
            self._judge_or_split(row, rows, corrupted)
            self._look_again(row, rows, corrupted)
            self._report(row, rows[-1] + 1)
        return True

    def _corrupted(self, rows: list[int], cell: CorruptionCell) -> Images:
        return corrupt(
            self._images[rows],
            cell.corruption,
            severity=cell.severity,
            bounds=self._plan.bounds,
            seed=self._plan.seed,
            keys=[self._keys[at] for at in rows],
        )

    def _judge_or_split(self, row: int, rows: list[int], corrupted: Images) -> None:
        """Judge images; on an exception in smaller parts, down to the image that causes it."""
        try:
            logits = self._classifier.logits_in_batches(corrupted)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            if len(rows) == 1:
                self._fail(row, rows[0], f"the model raised {type(error).__name__}: {error}")
                return
            middle = len(rows) // 2
            for part in (slice(0, middle), slice(middle, None)):
                self._judge_or_split(row, rows[part], corrupted[part])
            return
        finite = logits.isfinite().all(dim=1)
        self._measured[row, rows] = finite
        self._right[row, rows] = finite & (logits.argmax(dim=1) == self._labels[rows])
        for at in (~finite).nonzero().flatten().tolist():
            self._fail(row, rows[at], "the model returned NaN or infinite logits")

    def _fail(self, row: int, position: int, why: str) -> None:
        self._failures.setdefault(position, (self._plan.cells[row].label, why))

    def _look_again(self, row: int, rows: list[int], corrupted: Images) -> None:
        """Judge images that broke just now afresh, in a batch of another size."""
        wrong = self._measured[row] & ~self._right[row] & self._clean_correct
        new = [at for at, p in enumerate(rows) if bool(wrong[p]) and p not in self._broken_by]
        if not new:
            return
        positions, again = [rows[at] for at in new], corrupted[new]
        self._broken_by.update(dict.fromkeys(positions, self._plan.cells[row]))
        logits = self._fresh_logits(again, judged_with=len(rows))
        if logits is None:
            return
        predicted = logits.argmax(dim=1)
        holds = logits.isfinite().all(dim=1) & (predicted != self._labels[positions])
        for position, label, hold in zip(
            positions, predicted.tolist(), holds.tolist(), strict=True
        ):
            if hold:
                self._verified[position] = label

    def _fresh_logits(self, images: Images, *, judged_with: int) -> Logits | None:
        """Logits from batches of another size; None where the model fails now."""
        try:
            if judged_with == 1:
                return self._classifier.logits_in_batches(torch.cat([images, images]))[:1]
            size = (len(images) + 1) // 2
            return self._classifier.logits_in_batches(images, batch_size=size)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return None

    def _chosen_examples(self) -> tuple[CorruptedExample, ...]:
        """Make some of the verified images again, evenly spaced over all of them."""
        positions = sorted(self._verified)
        kept = min(len(positions), self._plan.example_limit)
        chosen = [positions[at * len(positions) // kept] for at in range(kept)]
        return tuple(
            CorruptedExample(
                position=position,
                image=self._corrupted([position], self._broken_by[position])[0],
                predicted=self._verified[position],
                attack=self._broken_by[position].label,
            )
            for position in chosen
        )

    def _report(self, row: int, done: int) -> None:
        if self._plan.on_progress is not None:
            count, cells = len(self._images), self._plan.cells
            self._plan.on_progress(row * count + done, len(cells) * count, cells[row].label)
