"""Confusion matrices, recall by mechanism, false positives with exact intervals, costs."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import TYPE_CHECKING, Any

from fgmf.statistics import binomial_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Row = dict[str, Any]

VERDICTS = ("masked", "suspicious", "undecided", "clean", "error")
FLAGS = ("masked", "suspicious")


def _share(part: int, whole: int) -> dict[str, Any] | None:
    if not whole:
        return None
    interval = binomial_interval(part, whole, confidence=0.95)
    return {
        "count": part,
        "of": whole,
        "share": round(part / whole, 4),
        "lower": round(interval.lower, 4),
        "upper": round(interval.upper, 4),
    }


def _recalls(rows: Sequence[Row], flags: Iterable[str]) -> dict[str, float]:
    """By mechanism."""
    found: dict[str, list[bool]] = {}
    for row in rows:
        if row["label"] == "masked":
            found.setdefault(row["mechanism"], []).append(row["verdict"] in flags)
    return {name: sum(hits) / len(hits) for name, hits in sorted(found.items())}


def _costs(rows: Sequence[Row]) -> dict[str, float] | None:
    passes = [row["passes_over_pgd40"] for row in rows if row["passes_over_pgd40"] is not None]
    if not passes:
        return None
    return {
        "median": round(statistics.median(passes), 2),
        "largest": round(max(passes), 2),
        "median_cpu_seconds": round(statistics.median(row["cpu_seconds"] for row in rows), 2),
    }


def of_detector(rows: Sequence[Row]) -> dict[str, Any]:
    """Everything about one detector."""
    masked = [row for row in rows if row["label"] == "masked"]
    honest = [row for row in rows if row["label"] == "honest"]
    doubtful = [row for row in rows if row["label"] == "suspicious-at-least"]
    strict, wide = _recalls(rows, ("masked",)), _recalls(rows, FLAGS)
    return {
        "matrix": {
            label: dict(Counter(row["verdict"] for row in rows if row["label"] == label))
            for label in sorted({row["label"] for row in rows})
        },
        "recall": _share(sum(row["verdict"] == "masked" for row in masked), len(masked)),
        "recall_with_suspicious": _share(
            sum(row["verdict"] in FLAGS for row in masked), len(masked)
        ),
        "macro_recall": round(statistics.mean(strict.values()), 4) if strict else None,
        "macro_recall_with_suspicious": round(statistics.mean(wide.values()), 4) if wide else None,
        "recall_by_mechanism": {name: round(value, 4) for name, value in strict.items()},
        "suspicious_at_least": _share(
            sum(row["verdict"] in FLAGS for row in doubtful), len(doubtful)
        ),
        "false_positives": _share(sum(row["verdict"] in FLAGS for row in honest), len(honest)),
        "false_proofs": _share(sum(row["verdict"] == "masked" for row in honest), len(honest)),
        "honest_not_cleared": _share(
            sum(row["verdict"] in ("undecided", "error") for row in honest), len(honest)
        ),
        "cost_honest": _costs(honest),
        "cost_masked": _costs(masked),
        "missed": sorted(row["specimen"] for row in masked if row["verdict"] != "masked"),
        "wrongly_flagged": sorted(row["specimen"] for row in honest if row["verdict"] in FLAGS),
    }


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """By detector."""
    names = sorted({row["detector"] for row in rows})
    return {name: of_detector([row for row in rows if row["detector"] == name]) for name in names}


def tables(rows: Sequence[Row]) -> str:
    """All tables as Markdown."""
    found = summary(rows)
    lines = [
        "| detector | recall | macro recall | macro with suspicious | false positives [95 %] | "
        "cost, honest (median / largest x PGD-40) | cost, masked |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in found.items():
        cells = (
            name,
            _shown(one["recall"]),
            one["macro_recall"],
            one["macro_recall_with_suspicious"],
            _shown(one["false_positives"]),
            _cost(one["cost_honest"]),
            _cost(one["cost_masked"]),
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += _by_mechanism(found)
    for name, one in found.items():
        lines += ["", f"{name}:", *_matrix(one["matrix"])]
        lines.append(f"  missed: {', '.join(one['missed']) or 'none'}")
        lines.append(f"  wrongly flagged: {', '.join(one['wrongly_flagged']) or 'none'}")
    return "\n".join(lines)


def _by_mechanism(found: dict[str, Any]) -> list[str]:
    names = list(found)
    mechanisms = sorted({key for one in found.values() for key in one["recall_by_mechanism"]})
    lines = ["", f"| mechanism | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for mechanism in mechanisms:
        cells = [found[name]["recall_by_mechanism"].get(mechanism, "-") for name in names]
        lines.append(f"| {mechanism} | {' | '.join(map(str, cells))} |")
    return lines


def _matrix(matrix: dict[str, dict[str, int]]) -> list[str]:
    lines = [f"  {'':<20}" + "".join(f"{verdict:>12}" for verdict in VERDICTS)]
    for label, counts in matrix.items():
        lines.append(
            f"  {label:<20}" + "".join(f"{counts.get(verdict, 0):>12}" for verdict in VERDICTS)
        )
    return lines


def _shown(share: dict[str, Any] | None) -> str:
    if share is None:
        return "-"
    return f"{share['count']}/{share['of']} [{share['lower']:.3f}, {share['upper']:.3f}]"


def _cost(cost: dict[str, float] | None) -> str:
    return "-" if cost is None else f"{cost['median']} / {cost['largest']}"
