"""What `defence_table` has measured, as tables in Markdown, and differences seed by seed."""

from __future__ import annotations

import json
import math
import statistics
from typing import TYPE_CHECKING, Any

from scipy.stats import t as student

from benchmarks.defence_cells import CELLS, Cell
from benchmarks.defence_plan import ALL, MORE, SOME, VARIED, tuned
from benchmarks.defence_recipes import ABLATIONS, BACKBONES, DEFENCES, Backbone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

READERS: dict[str, Callable[[dict[str, Any]], float | None]] = {
    "robust": lambda cell: cell.get(ALL, {}).get("share"),
    "robust 2000": lambda cell: cell.get(SOME, {}).get("share"),
    "clean": lambda cell: cell.get("clean"),
    "stability": lambda cell: cell.get("stability"),
    "deletion": lambda cell: cell.get("deletion", {}).get("gain"),
}
"""What differences are made of."""


def times_file(backbone: Backbone) -> Path:
    """What `--part times --output` wrote, for the column."""
    return CELLS.parent / f"defence_times{'' if backbone == 'cnn' else f'_{backbone}'}.json"


def kept(
    backbone: Backbone, name: str, images: int, *, slower: float = 1.0
) -> list[dict[str, Any]]:
    """Cells of a row that have a robust accuracy, by seed; at a fraction of the rate if wanted."""
    chosen = tuned(backbone, name)
    if chosen is None:
        return []
    rate = chosen / slower
    cells = [
        Cell(backbone=backbone, defence=name, rate=rate, seed=seed, images=images).found()
        | {"seed": seed, "rate": rate}
        for seed in MORE
    ]
    return [cell for cell in cells if robust_of(cell) is not None]


def robust_of(cell: dict[str, Any]) -> float | None:
    """On all test images where that was measured, else on the first 2000."""
    for name in (ALL, SOME):
        if name in cell:
            return float(cell[name]["share"])
    return None


def numbers(cells: list[dict[str, Any]], key: str) -> list[float]:
    """One number of each cell that has it."""
    path = key.split(".")
    found = []
    for cell in cells:
        value: Any = cell
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None:
            found.append(float(value))
    return found


def mean(values: list[float], digits: int = 3) -> str:
    return f"{statistics.fmean(values):.{digits}f}" if values else "-"


def spread(values: list[float]) -> str:
    """Mean, and lowest and highest seed."""
    if len(values) < 2:
        return mean(values)
    return f"{mean(values)} ({min(values):.3f}-{max(values):.3f})"


def time_of(backbone: Backbone, name: str) -> str:
    """Median of the part `times` where that was kept."""
    file = times_file(backbone)
    known = json.loads(file.read_text()).get(name) if file.is_file() else None
    return f"{known['over standard'][0]:.2f}" if known else "-"


def table(
    backbone: Backbone, images: int, names: Iterable[str] = DEFENCES, *, slower: float = 1.0
) -> str:
    lines = [
        "| defence | rate | seeds | clean | robust | test images | masking | stability | deletion "
        "| negative | largest | time | memory |",
        "|" + " --- |" * 13,
    ]
    for name in names:
        cells = kept(backbone, name, images, slower=slower)
        if not cells:
            continue
        whole = all(ALL in cell for cell in cells)
        tested, on = (10_000, ALL) if whole else (2000, SOME)
        outcomes = [cell["masking"]["outcome"] for cell in cells if "masking" in cell]
        flagged = sum(outcome != "pass" for outcome in outcomes)
        robust = [float(cell[on]["share"]) for cell in cells if on in cell]
        lines.append(
            f"| {name} | {cells[0]['rate']:g} | {len(cells)} | {mean(numbers(cells, 'clean'))} "
            f"| {spread(robust)} | {tested} | {flagged} of {len(outcomes)} "
            f"| {spread(numbers(cells, 'stability'))} "
            f"| {mean(numbers(cells, 'deletion.gain'))} "
            f"| {mean(numbers(cells, 'curvature.negative'), 2)} "
            f"| {mean(numbers(cells, 'curvature.largest'), 2)} "
            f"| {time_of(backbone, name)} "
            f"| {mean(numbers(cells, 'training.peak memory, MB above the images'), 0)} |"
        )
    return "\n".join(lines)


def paired(
    backbone: Backbone, images: int, mine: str, other: str, *, slower: float = 1.0
) -> dict[str, tuple[float, float, float, int]]:
    """Differences seed by seed: mean, its 95 % interval (Student's t), and how many seeds."""
    first, second = (
        {cell["seed"]: cell for cell in kept(backbone, name, images, slower=slower)}
        for name in (mine, other)
    )
    both = sorted(set(first) & set(second))
    found: dict[str, tuple[float, float, float, int]] = {}
    for what, read in READERS.items():
        pairs = [(read(first[seed]), read(second[seed])) for seed in both]
        differences = [a - b for a, b in pairs if a is not None and b is not None]
        if len(differences) < 2:
            continue
        middle = statistics.fmean(differences)
        half = statistics.stdev(differences) / math.sqrt(len(differences))
        half *= float(student.ppf(0.975, len(differences) - 1))
        found[what] = (middle, middle - half, middle + half, len(differences))
    return found


def differences(backbone: Backbone, images: int, slower: float = 1.0) -> dict[str, Any]:
    pairs = [("scor-pio-2", other) for other in ("pgd-7", "n-fgsm", "amo")] + [("amo", "pgd-7")]
    return {
        f"{mine} - {other}": paired(backbone, images, mine, other, slower=slower)
        for mine, other in pairs
    }


def changed() -> str:
    """One thing changed: means, and in brackets the mean difference with the same seeds."""
    lines = [
        "| changed | seeds | passes | clean | robust | masking | stability | deletion |",
        "|" + " --- |" * 8,
    ]
    for base in ("scor-pio-2", "as-described"):
        names = [name for name, defence in ABLATIONS.items() if defence.rate_of == base]
        for name in (base, *names):
            cells = [cell for cell in kept("cnn", name, 10_000) if SOME in cell]
            if not cells:
                continue
            beside = {} if name == base else common(name, base)
            shown = {
                what: mean([value for cell in cells if (value := READERS[what](cell)) is not None])
                + (f" ({beside[what]:+.3f})" if what in beside else "")
                for what in READERS
            }
            masked = [cell["masking"]["outcome"] != "pass" for cell in cells]
            epochs = 10 * 10_000
            passes = [f"{count / epochs:g}" for count in cells[0]["training"]["passes"]]
            lines.append(
                f"| {name} | {len(cells)} | {' + '.join(passes)} | {shown['clean']} "
                f"| {shown['robust 2000']} | {sum(masked)} of {len(masked)} "
                f"| {shown['stability']} | {shown['deletion']} |"
            )
    return "\n".join(lines)


def common(mine: str, other: str) -> dict[str, float]:
    """Mean differences of two rows of the CNN over the seeds that the table of changes shows."""
    first, second = (
        {cell["seed"]: cell for cell in kept("cnn", name, 10_000) if SOME in cell}
        for name in (mine, other)
    )
    found: dict[str, float] = {}
    for what, read in READERS.items():
        pairs = [(read(first[seed]), read(second[seed])) for seed in set(first) & set(second)]
        values = [a - b for a, b in pairs if a is not None and b is not None]
        if values:
            found[what] = statistics.fmean(values)
    return found


def variants(names: Iterable[str] = ("amo-sgam", "scor-pio-2-sgam")) -> str:
    """Robust accuracy of each variant of the mask, each attacked itself, on the same weights."""
    lines: list[str] = []
    for name in names:
        found = [cell[VARIED] for cell in kept("cnn", name, 10_000) if VARIED in cell]
        if not found:
            continue
        if not lines:
            lines = [
                f"| trained by | {' | '.join(found[0])} |",
                "|" + " --- |" * (1 + len(found[0])),
            ]
        means = [spread([each[variant] for each in found]) for variant in found[0]]
        lines.append(f"| {name} | {' | '.join(means)} |")
    return "\n".join(lines)


def show() -> dict[str, Any]:
    """Print all tables that have rows."""
    result: dict[str, Any] = {}
    for backbone in BACKBONES:
        for images, slower in ((10_000, 1), (60_000, 1), (60_000, 2)):
            text = table(backbone, images, slower=slower)
            if text.count("\n") < 2:
                continue
            title = f"{backbone} {images}" + (f", rates over {slower}" if slower > 1 else "")
            print(f"\n{title}\n\n{text}\n")
            if title == "cnn 10000":
                print(f"\none thing changed\n\n{changed()}\n\nmasks\n\n{variants()}\n")
            result[title] = found = differences(backbone, images, slower)
            for pair, values in found.items():
                for what, (middle, lower, upper, seeds) in values.items():
                    print(
                        f"{pair}, {what}: {middle:+.4f} [{lower:+.4f}, {upper:+.4f}], {seeds} seeds"
                    )
    return result
