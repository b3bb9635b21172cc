"""Words for what changed since the baselines: a table, one line per gate, and plain JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fgmf.baselines import difference_interval, regression_p_value
from fgmf.reporting.table import aligned
from fgmf.reporting.text import first_line, printable, shown_count, shown_number
from fgmf.statistics import mcnemar_exact
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fgmf.baselines import Comparison, LimitResult, PairedChange, PairedCounts, Update
    from fgmf.types import Json

_COLUMNS = (
    *("against its baseline", "before", "now", "difference", "newly broken", "newly fixed"),
    *("p", "p (loss)", "images", "remarks"),
)
_RIGHT = frozenset({4, 5, 6, 7, 8})
_SMALLEST_P = 0.0001
_ENDS: Final = "unsure images counted both ways"


def render_comparisons(comparisons: Sequence[Comparison]) -> str:
    """Write what changed as a table, and below it, loudly, what could not be compared.

    Args:
        comparisons: In the order in which they are to be shown.

    Returns:
        Plain printable text without a newline at its end; empty if there are none.
    """
    known = [entry for entry in comparisons if entry.status == "compared" and entry.change]
    lines = []
    if known:
        rows = [_COLUMNS, *(_row(entry, entry.change) for entry in known if entry.change)]
        lines.append(aligned(rows, right=_RIGHT))
    lines += [describe_comparison(entry) for entry in comparisons if entry.status != "compared"]
    return "\n".join(lines)


def describe_comparison(comparison: Comparison) -> str:
    """Say in one line, which stands alone, what became of a comparison."""
    gate = printable(comparison.gate)
    if comparison.status != "compared" or comparison.change is None:
        word = "not compared" if comparison.status != "no outcomes" else "without a baseline"
        status = f"{comparison.status}: " if comparison.status != "no outcomes" else ""
        return f"{word}: {gate}: {status}{first_line(comparison.reason)}"
    change = _described_change(comparison.change)
    results = "; ".join(_described_limit(r) for r in comparison.limits if _is_open(r))
    if not results:
        return f"against its baseline: {gate}: {change}"
    word = {
        Outcome.FAIL: "regression",
        Outcome.INCONCLUSIVE: "comparison does not decide",
    }.get(comparison.outcome or Outcome.PASS, "against its baseline")
    return f"{word}: {gate}: {change}: {results}"


def render_updates(updates: Sequence[Update]) -> str:
    """Write what became of each gate's baseline, one line each."""
    lines = []
    for update in updates:
        gate = printable(update.gate)
        if update.path is not None:
            lines.append(f"baseline of {gate}: {printable(str(update.path))}")
        else:
            lines.append(f"baseline of {gate} NOT written: {first_line(update.reason)}")
    return "\n".join(lines)


def comparison_document(comparison: Comparison) -> dict[str, Json]:
    """Return a comparison as plain JSON types, for `run.comparisons` of a report."""
    change = comparison.change
    document: dict[str, Json] = {
        "gate": comparison.gate,
        "status": comparison.status,
        "reason": comparison.reason,
        "outcome": None if comparison.outcome is None else str(comparison.outcome),
        "remarks": list(comparison.remarks),
        "limits": [
            {
                "limit": result.limit.text,
                "outcome": str(result.outcome),
                "within_noise": result.within_noise,
            }
            for result in comparison.limits
        ],
    }
    if change is not None:
        document["unsure_images"] = change.unsure
        document["worst"], document["best"] = _numbers(change.worst), _numbers(change.best)
    return document


def _numbers(counts: PairedCounts) -> dict[str, Json]:
    interval = difference_interval(counts)
    return {
        "images": counts.images,
        "robust_before": counts.robust_before,
        "robust_now": counts.robust_now,
        "newly_broken": counts.newly_broken,
        "newly_fixed": counts.newly_fixed,
        "difference": counts.difference,
        "interval": {
            "lower": interval.lower,
            "upper": interval.upper,
            "confidence": interval.confidence,
            "method": interval.method,
        },
        "p_value": mcnemar_exact(counts.newly_broken, counts.newly_fixed),
        "p_value_of_a_loss": regression_p_value(counts.newly_broken, counts.newly_fixed),
    }


def _row(comparison: Comparison, change: PairedChange) -> tuple[str, ...]:
    return (
        printable(comparison.gate),
        _both(change, lambda c: shown_number(c.robust_before / c.images)),
        _both(change, lambda c: shown_number(c.robust_now / c.images)),
        _shown_difference(change),
        _both(change, lambda c: str(c.newly_broken)),
        _both(change, lambda c: str(c.newly_fixed)),
        _both(change, lambda c: _shown_p(mcnemar_exact(c.newly_broken, c.newly_fixed))),
        _both(change, lambda c: _shown_p(regression_p_value(c.newly_broken, c.newly_fixed))),
        str(change.worst.images),
        "; ".join(_remarks(comparison, change)),
    )


def _remarks(comparison: Comparison, change: PairedChange) -> list[str]:
    remarks = [_described_limit(result) for result in comparison.limits]
    if change.unsure:
        remarks.append(f"{shown_count(change.unsure, 'image')} undecided or failed: {_ENDS}")
    for count, side in ((change.only_before, "before"), (change.only_now, "now")):
        if count:
            remarks.append(f"{shown_count(count, 'image')} only measured {side}")
    return [*remarks, *(printable(remark) for remark in comparison.remarks)]


def _described_change(change: PairedChange) -> str:
    before = _both(change, lambda c: shown_number(c.robust_before / c.images))
    now = _both(change, lambda c: shown_number(c.robust_now / c.images))
    broken = _both(change, lambda c: str(c.newly_broken))
    fixed = _both(change, lambda c: str(c.newly_fixed))
    p = _both(change, lambda c: _shown_p(regression_p_value(c.newly_broken, c.newly_fixed)))
    images = shown_count(change.worst.images, "image")
    text = f"robust accuracy {before} -> {now}, difference {_shown_difference(change)}"
    text += f" ({broken} newly broken, {fixed} newly fixed of {images}; p of a loss {p}"
    if change.unsure:
        text += f"; {change.unsure} undecided or failed, {_ENDS}"
    return text + ")"


def _described_limit(result: LimitResult) -> str:
    limit = result.limit.text
    if result.outcome is Outcome.INCONCLUSIVE:
        return f"the images that are undecided or failed decide {limit}"
    if result.outcome is Outcome.PASS:
        return f"within {limit}"
    if result.within_noise:
        return f"more than {limit}, but inside noise: more images tell a loss from chance"
    return (
        f"significant loss ({limit})"
        if result.limit.unit == "significant"
        else (f"more than {limit}")
    )


def _is_open(result: LimitResult) -> bool:
    return result.outcome is not Outcome.PASS


def _shown_difference(change: PairedChange) -> str:
    """Write the difference with its interval, or from the worst case to the best."""
    if change.unsure:
        worst, best = change.worst.difference, change.best.difference
        return f"{worst:+.3f} to {best:+.3f}"
    interval = difference_interval(change.best)
    return f"{change.best.difference:+.3f} [{interval.lower:+.3f}, {interval.upper:+.3f}]"


def _both(change: PairedChange, shown: Callable[[PairedCounts], str]) -> str:
    best, worst = shown(change.best), shown(change.worst)
    return best if best == worst else f"{best} to {worst}"


def _shown_p(value: float) -> str:
    return f"< {_SMALLEST_P:g}" if value < _SMALLEST_P else f"{value:.2g}"
