"""What `defence_table` asks of which cells, in order, and the learning rates that were chosen."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.defence_cells import Cell
from benchmarks.defence_recipes import ABLATIONS, DEFENCES, RATES, ROWS, Backbone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEEDS = (11, 12, 13, 14, 15)
MORE = tuple(range(11, 23))
"""Seeds where a difference is asked for to a point; so many before any of the two was tested."""
COMPARED = ("pgd-7", "scor-pio-2")
"""On the CNN their learning rates are chosen by the mean of three seeds."""
FINALISTS = ("standard", "n-fgsm", "pgd-7", "amo", "scor-pio-2")
TRANSFORMED = ("standard", "n-fgsm", "pgd-7", "scorpio-v1", "scor-pio-2", "scor-pio-2-sgam")
LOOKS = ("clean", "masking", "stability", "deletion", "curvature")
SOME, ALL, VARIED = "robust 2000", "robust 10000", "variants 1000"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is asked of one cell: names of measures, each with a number of images or without."""

    cell: Cell
    wanted: tuple[str, ...]

    def lacking(self) -> list[str]:
        known = self.cell.found()
        return [name for name in self.wanted if name not in known]


def tuning_seeds(backbone: Backbone, defence: str) -> tuple[int, ...]:
    return SEEDS[: 3 if backbone == "cnn" and defence in COMPARED else 1]


def scores(backbone: Backbone, defence: str) -> dict[float, float]:
    """Clean plus robust accuracy on validation images of the learning rates that were tried."""
    seeds, found = tuning_seeds(backbone, defence), {}
    for rate in RATES[backbone]:
        cells = [Cell(backbone=backbone, defence=defence, rate=rate, seed=seed) for seed in seeds]
        known = [cell.found().get("validation") for cell in cells]
        sums = [each["clean"] + each["robust"] for each in known if each is not None]
        if len(sums) == len(seeds):
            found[rate] = statistics.fmean(sums)
    return found


def untried(backbone: Backbone, defence: str) -> float | None:
    """The learning rate to try next: from the second highest upwards or downwards until the best
    has a worse one, or none, on both sides. None when the best is known.
    """
    rates, known = RATES[backbone], scores(backbone, defence)
    if not known:
        return rates[-2]
    best = rates.index(max(known, key=known.__getitem__))
    beside = rates[max(0, best - 1) : best + 2]
    return next((rate for rate in beside if rate not in known), None)


def tuned(backbone: Backbone, defence: str) -> float | None:
    """The learning rate that was chosen, or None while a candidate is missing."""
    defence = ROWS[defence].rate_of or defence
    if untried(backbone, defence) is not None:
        return None
    known = scores(backbone, defence)
    return max(known, key=known.__getitem__)


def tuning(backbone: Backbone, name: str) -> Iterator[Task]:
    """Until the learning rate is known, or another process is at the next candidate."""
    tried: float | None = None
    while (rate := untried(backbone, name)) is not None and rate != tried:
        tried = rate
        for seed in tuning_seeds(backbone, name):
            cell = Cell(backbone=backbone, defence=name, rate=tried, seed=seed)
            yield Task(cell=cell, wanted=("validation",))


def rows(
    backbone: Backbone,
    names: tuple[str, ...],
    seeds: tuple[int, ...],
    *,
    images: int = 10_000,
    wanted: tuple[str, ...],
) -> Iterator[Task]:
    """What the table shows of some defences; only those that have a learning rate."""
    for seed in seeds:
        for name in names:
            rate = tuned(backbone, name)
            if rate is not None:
                cell = Cell(backbone=backbone, defence=name, rate=rate, seed=seed, images=images)
                yield Task(cell=cell, wanted=wanted)


def _each(backbone: Backbone, names: tuple[str, ...]) -> Iterator[Task]:
    for name in names:
        yield from tuning(backbone, name)
        yield from rows(backbone, (name,), SEEDS[:3], wanted=(*LOOKS, SOME))


def _finalists() -> Iterator[Task]:
    for name in FINALISTS:
        yield from tuning("cnn", name)
    yield from rows("cnn", (*COMPARED, "n-fgsm"), MORE, wanted=(*LOOKS, ALL))
    yield from rows("cnn", FINALISTS, SEEDS, wanted=(*LOOKS, ALL))


def _ablation() -> Iterator[Task]:
    near = tuple(name for name in ABLATIONS if not name.startswith("described"))
    yield from rows("cnn", near, SEEDS[:3], wanted=(*LOOKS, SOME))
    yield from rows("cnn", tuple(ABLATIONS), SEEDS[:1], wanted=(*LOOKS, SOME))
    yield from rows("cnn", ("amo-sgam", "scor-pio-2-sgam"), SEEDS[:3], wanted=(VARIED,))
    yield from rows("cnn", ("scor-pio-2",), SEEDS[:3], wanted=(SOME,))


def _confirmed() -> Iterator[Task]:
    """The ablation that looked best with the first three seeds, with nine other ones; and the same
    at about equal time.
    """
    yield from rows("cnn", ("psd", "psd, every fourth"), MORE[3:], wanted=(*LOOKS, ALL))


def _large() -> Iterator[Task]:
    yield from rows("cnn", FINALISTS, SEEDS[:3], images=60_000, wanted=(*LOOKS, SOME))
    yield from rows("cnn", FINALISTS, SEEDS[:3], images=60_000, wanted=(ALL,))


def _slower() -> Iterator[Task]:
    """All training images at half the learning rates: stability falls as they rise."""
    for seed in SEEDS[:3]:
        for name in reversed(COMPARED):
            rate = tuned("cnn", name)
            if rate is not None:
                cell = Cell(backbone="cnn", defence=name, rate=rate / 2, seed=seed, images=60_000)
                yield Task(cell=cell, wanted=(*LOOKS, ALL))


def _full() -> Iterator[Task]:
    """All test images for the rows that are no finalists, spikes last."""
    others = tuple(name for name in DEFENCES if name not in (*FINALISTS, "spiking"))
    yield from rows("cnn", others, SEEDS[:3], wanted=(ALL,))
    for backbone in ("vit", "hybrid"):
        yield from rows(backbone, TRANSFORMED, SEEDS[:3], wanted=(ALL,))
    yield from rows("cnn", ("spiking",), SEEDS[:3], wanted=(ALL,))


PARTS: dict[str, Callable[[], Iterator[Task]]] = {
    "finalists": _finalists,
    "others": partial(_each, "cnn", tuple(name for name in DEFENCES if name not in FINALISTS)),
    "ablation": _ablation,
    "confirmed": _confirmed,
    "large": _large,
    "vit": partial(_each, "vit", TRANSFORMED),
    "hybrid": partial(_each, "hybrid", TRANSFORMED),
    "full": _full,
    "slower": _slower,
}
"""Tasks in order; each depends on what is done before."""
