"""Measuring image by image in a random order, until enough is known.

    for each block of the next images:
        measure the block with the whole suite; after each attack run, ask: enough?
        ask again with the block complete

What is known after an attack run counts images that it did not break as undecided, so it can only
end in a FAIL: a PASS needs every attack on every counted image. The blocks do not depend on the
batch size or the machine: the first ones are small, later ones grow with what has been measured.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import torch

from fgmf.robustness.measure import measure_robustness
from fgmf.robustness.plan import AttackRecord, RobustnessMeasurement
from fgmf.robustness.sharding import measure_shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fgmf.attacks.criteria import Criterion
    from fgmf.classifier import Classifier
    from fgmf.processes import Processes
    from fgmf.robustness.plan import RobustnessPlan
    from fgmf.types import Images

_SMALLEST_BLOCK: Final = 32
_GROWTH: Final = 4
"""A later block is a quarter of what has been measured: little is measured in vain."""


def measure_until_enough(  # noqa: PLR0913 - keyword-only parts of one question
    classifier: Classifier,
    images: Images,
    criterion: Criterion,
    plan: RobustnessPlan,
    *,
    keys: Sequence[str],
    enough: Callable[[RobustnessMeasurement], bool],
    processes: Processes | None = None,
) -> RobustnessMeasurement:
    """Measure images in their order, block by block, until enough is known.

    Args:
        classifier: Put back as it was afterwards.
        images: (n, ...) as for :func:`measure_robustness`, in random order.
        criterion: For these n images.
        plan: Attacks, seed, deadline; its own `enough` is not asked.
        keys: One stable key per image.
        enough: Given the measurement of all images so far, says whether to stop.
        processes: Who shares the work; None measures alone.

    Returns:
        The measurement of the first m images, m <= n. Where it stopped within a block, images of
        that block that nothing broke are undecided.

    Raises:
        The errors of :func:`measure_robustness`.

    Cost: that of the measured images; two clean passes for each.
    Randomness: as :func:`measure_robustness`: an image's outcome depends on nothing but the image.
    """
    known: RobustnessMeasurement | None = None
    with classifier.guard(seed=plan.seed):
        for block in _blocks(len(images)):
            rows = torch.arange(block.start, block.stop)
            before = known

            def on_progress(done: int, total: int, attack: str, start: int = block.start) -> None:
                if plan.on_progress is not None:
                    runs = total // len(rows)  # noqa: B023 - called while this block is measured
                    plan.on_progress(start * runs + done, len(images) * runs, attack)

            def is_enough(
                block_so_far: RobustnessMeasurement, before: RobustnessMeasurement | None = before
            ) -> bool:
                return enough(_joined(before, block_so_far, plan.example_limit))

            measured = measure_shared(
                classifier,
                images[block],
                criterion.of(rows),
                replace(plan, on_progress=on_progress, enough=is_enough),
                keys=keys[block],
                processes=processes,
            )
            known = _joined(known, measured, plan.example_limit)
            if bool(measured.undecided.any()) or enough(known):
                break
    if known is None:  # no images: the measurement itself says what is missing
        return measure_robustness(classifier, images, criterion, plan, keys=keys)
    return known


def _blocks(count: int) -> Iterator[slice]:
    start = 0
    while start < count:
        size = max(_SMALLEST_BLOCK, start // _GROWTH)
        yield slice(start, min(count, start + size))
        start += size


def _joined(
    first: RobustnessMeasurement | None, second: RobustnessMeasurement, example_limit: int
) -> RobustnessMeasurement:
    """One measurement of the images of both, in their order."""
    if first is None:
        return second
    offset = len(first.labels)
    moved = [replace(e, position=e.position + offset) for e in second.examples]
    records = zip(first.records, second.records, strict=True)
    return RobustnessMeasurement(
        labels=torch.cat([first.labels, second.labels]),
        predicted=torch.cat([first.predicted, second.predicted]),
        clean_correct=torch.cat([first.clean_correct, second.clean_correct]),
        broken=torch.cat([first.broken, second.broken]),
        undecided=torch.cat([first.undecided, second.undecided]),
        failed=torch.cat([first.failed, second.failed]),
        records=tuple(_joined_record(one, two, offset) for one, two in records),
        examples=(*first.examples, *moved)[:example_limit],
        verified=first.verified + second.verified,
        cost=first.cost + second.cost,
    )


def _joined_record(first: AttackRecord, second: AttackRecord, offset: int) -> AttackRecord:
    return AttackRecord(
        plan=first.plan,
        attacked=first.attacked + second.attacked,
        broken=first.broken + second.broken,
        unverified=first.unverified | {at + offset for at in second.unverified},
        no_start=first.no_start | {at + offset for at in second.no_start},
        failures=first.failures | {at + offset: why for at, why in second.failures.items()},
        radii=first.radii | {at + offset: radius for at, radius in second.radii.items()},
    )
