"""One row per cell over its seeds, and every defence against the reference, paired by seed.

column    a gate's measured quantity by its name (of gradient-masking the outcomes), clean
          accuracy, share of images with negative curvature, CPU time of an epoch over the
          reference's with the same seed, peak memory of the process that trained
paired    d_s = value(defence, s) - value(reference, s);  mean +- t(n - 1, 97.5 %) sd / sqrt(n)
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from fgmf.matrix.collecting import escaped
from fgmf.reporting.evidence import number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fgmf.matrix.cells import Matrix
    from fgmf.matrix.collecting import CellResult, RunResult

CLEAN: Final = "clean"
CURVATURE: Final = "negative curvature"
TIME: Final = "time per epoch"
MEMORY: Final = "peak MiB"
_COMPARED_LEAST: Final = 2
"""Seeds that an interval of a mean needs."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell.

    Attributes:
        backbone: Of the cell.
        defence: Of the cell.
        threat: Of the cell.
        values: By column and seed; a seed that has none is left out.
        outcomes: Of gates of kind gradient-masking, by name: how often which.
        missing: Seeds without a result, and why.
    """

    backbone: str
    defence: str
    threat: str
    values: Mapping[str, Mapping[int, float]]
    outcomes: Mapping[str, Mapping[str, int]]
    missing: Mapping[int, str]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A defence less the reference in one column, paired by seed.

    Attributes:
        backbone: Of both.
        threat: Of both.
        defence: What is compared with the reference.
        column: What is compared.
        seeds: That both have.
        mean: Of the differences.
        lower: End of the 95 % interval of the mean (t distribution); None with one seed.
        upper: The other end.
    """

    backbone: str
    threat: str
    defence: str
    column: str
    seeds: tuple[int, ...]
    mean: float
    lower: float | None
    upper: float | None


def summarise(matrix: Matrix, results: Sequence[CellResult]) -> list[Row]:
    """Return a row for every cell, in the order of the file."""
    rows = [_row(result) for result in results]
    seconds = {(row.backbone, row.threat, row.defence): row.values.get(TIME, {}) for row in rows}
    return [
        _relative(row, seconds.get((row.backbone, row.threat, matrix.reference), {}))
        for row in rows
    ]


def differences(matrix: Matrix, rows: Sequence[Row]) -> list[Difference]:
    """Compare every defence with the reference, in all columns but time and memory."""
    references = {
        (row.backbone, row.threat): row for row in rows if row.defence == matrix.reference
    }
    found: list[Difference] = []
    for row in rows:
        reference = references.get((row.backbone, row.threat))
        if reference is None or row.defence == matrix.reference:
            continue
        for column in row.values:
            if column not in (TIME, MEMORY):
                found += _difference(row, reference, column)
    return found


def paired_interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the ends of the 95 % interval of a mean by the t distribution.

    None where there are fewer than two values.
    """
    if len(values) < _COMPARED_LEAST:
        return None, None
    from scipy.stats import t

    mean = statistics.fmean(values)
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half


def render_summary(rows: Sequence[Row], compared: Sequence[Difference], reference: str) -> str:
    """Write both as Markdown tables: mean, and lowest to highest seed."""
    columns = list(dict.fromkeys(column for row in rows for column in (*row.values, *row.outcomes)))
    head = ["backbone", "defence", "threat", "seeds", *columns]
    lines = [f"| {' | '.join(map(escaped, head))} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        counts = [len(values) for values in row.values.values()]
        count = max(counts + [sum(each.values()) for each in row.outcomes.values()], default=0)
        seeds = f"{count}, {len(row.missing)} MISSING" if row.missing else str(count)
        cells = [row.backbone, row.defence, row.threat, seeds]
        cells += [_shown(row, column) for column in columns]
        lines.append(f"| {' | '.join(map(escaped, cells))} |")
    lines += ["", f"Less {escaped(reference)}, paired by seed: mean and its 95 % interval.", ""]
    head = ["backbone", "threat", "defence", "column", "seeds", "difference"]
    lines += [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for each in compared:
        shown = f"{each.mean:+.3f}"
        if each.lower is not None and each.upper is not None:
            shown += f" [{each.lower:+.3f}, {each.upper:+.3f}]"
        cells = [each.backbone, each.threat, each.defence, each.column, str(len(each.seeds)), shown]
        lines.append(f"| {' | '.join(map(escaped, cells))} |")
    return "\n".join(lines) + "\n"


def summary_document(rows: Iterable[Row], compared: Iterable[Difference], reference: str) -> bytes:
    """Write both as JSON, with a newline at the end."""
    document: dict[str, Any] = {
        "format": "fgmf-matrix/1",
        "reference": reference,
        "cells": [asdict(row) for row in rows],
        "differences": [asdict(each) for each in compared],
    }
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def _row(result: CellResult) -> Row:
    values: dict[str, dict[int, float]] = {CLEAN: {}}
    outcomes: dict[str, Counter[str]] = {}
    for run in result.runs:
        # Clean accuracy on the images of a robustness gate, where there is one: they are the most.
        for verdict in sorted(run.verdicts, key=lambda each: each.kind != "robustness"):
            if verdict.kind == "gradient-masking":
                outcomes.setdefault(verdict.gate, Counter())[verdict.outcome.upper()] += 1
            else:
                _put(values, verdict.gate, run, verdict.measured)
            if run.run.seed not in values[CLEAN]:
                _put(values, CLEAN, run, number_of(verdict.evidence, "clean_accuracy"))
        for column, name in (
            (CURVATURE, "negative_share"),
            (TIME, "epoch_cpu_seconds"),
            (MEMORY, "peak_mib"),
        ):
            _put(values, column, run, run.measures.get(name))
    return Row(
        backbone=result.cell.backbone,
        defence=result.cell.defence,
        threat=result.cell.threat,
        values={column: each for column, each in values.items() if each},
        outcomes={gate: dict(counts) for gate, counts in outcomes.items()},
        missing={run.run.seed: run.missing for run in result.runs if run.missing},
    )


def _put(
    values: dict[str, dict[int, float]], column: str, run: RunResult, value: float | None
) -> None:
    if value is not None and math.isfinite(value):
        values.setdefault(column, {})[run.run.seed] = value


def _relative(row: Row, reference: Mapping[int, float]) -> Row:
    """Seconds become a ratio to those of the reference; seeds that it lacks are left out."""
    own = row.values.get(TIME, {})
    ratios = {seed: own[seed] / reference[seed] for seed in own if reference.get(seed)}
    others = {column: each for column, each in row.values.items() if column != TIME}
    values = {**others, TIME: ratios} if ratios else others
    return Row(**{**vars(row), "values": values})


def _difference(row: Row, reference: Row, column: str) -> list[Difference]:
    ours, theirs = row.values[column], reference.values.get(column, {})
    seeds = tuple(seed for seed in ours if seed in theirs)
    if not seeds:
        return []
    each = [ours[seed] - theirs[seed] for seed in seeds]
    lower, upper = paired_interval(each)
    return [
        Difference(
            backbone=row.backbone,
            threat=row.threat,
            defence=row.defence,
            column=column,
            seeds=seeds,
            mean=statistics.fmean(each),
            lower=lower,
            upper=upper,
        )
    ]


def _shown(row: Row, column: str) -> str:
    if column in row.outcomes:
        return ", ".join(f"{count} {name}" for name, count in sorted(row.outcomes[column].items()))
    values = list(row.values.get(column, {}).values())
    if not values:
        return "-"
    digits = 0 if column == MEMORY else 2 if column == TIME else 3
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ({min(values):.{digits}f}-{max(values):.{digits}f})"
