"""From scores per image to the tables: means with intervals, ranks, and comparisons by model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from benchmarks.faithfulness_metrics import FOREIGN, METRICS, REPLACEMENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

_RESAMPLES = 1000
_SLACK = 0.01
_FOREIGN = [REPLACEMENTS.index(name) for name in FOREIGN]


def summarise(
    results: Mapping[str, Mapping[str, torch.Tensor]],
    checks: Mapping[str, Any],
    *,
    parents: tuple[str, str],
    ours: str,
) -> dict[str, Any]:
    """Everything that is published, as JSON types."""
    subjects = list(results)
    names = [n for n in results[subjects[0]] if not n.startswith("facts of ")]
    scores = {n: [results[s][n] for s in subjects] for n in names}  # (replacements, metrics, n)
    means = {n: torch.stack([s.mean(dim=2) for s in each]) for n, each in scores.items()}
    return {
        "subjects": subjects,
        "table": {n: _rows(each) for n, each in scores.items()},
        "overall": {n: _overall(each) for n, each in scores.items()},
        "mean_rank": _mean_ranks(means, list(range(len(REPLACEMENTS)))),
        "mean_rank_foreign": _mean_ranks(means, _FOREIGN),
        "columns_against_parents": {
            parent: {
                s: int((means[ours][i] >= means[parent][i] - _SLACK).sum())
                for i, s in enumerate(subjects)
            }
            | {"mean of models": int((means[ours].mean(0) >= means[parent].mean(0)).sum())}
            for parent in parents
        },
        "columns_below_expected_gradients": _below(means, ours, "expected gradients"),
        "passes": {n: _facts(results, subjects, n) for n in names},
        "per_model": {
            n: {
                s: {
                    "all": float(means[n][i].mean()),
                    "foreign": float(means[n][i][_FOREIGN].mean()),
                }
                for i, s in enumerate(subjects)
            }
            for n in names
        },
        "randomised": dict(checks),
    }


def describe(document: Mapping[str, Any]) -> str:
    """The tables in words."""
    lines = [
        "| explainer | rank | rank, foreign | mean | foreign | passes |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted(document["mean_rank"], key=document["mean_rank"].get):
        whole, foreign = (document["overall"][name][k] for k in ("all", "foreign"))
        passes = document["passes"][name]
        lines.append(
            f"| {name} | {document['mean_rank'][name]:.2f} | "
            f"{document['mean_rank_foreign'][name]:.2f} | {_words(whole)} | {_words(foreign)} | "
            f"{passes['forward']:.0f} + {passes['backward']:.0f} |"
        )
    lines.append("columns against parents: " + str(document["columns_against_parents"]))
    lines.append("below EG: " + str(document["columns_below_expected_gradients"]))
    for subject, found in document["randomised"].items():
        shown = {n: {k: round(v, 3) for k, v in each.items()} for n, each in found.items()}
        lines.append(f"randomised {subject}: {shown}")
    return "\n".join(lines)


def _words(row: Mapping[str, float]) -> str:
    return f"{row['mean']:.3f} [{row['lower']:.3f}, {row['upper']:.3f}]"


def _rows(each: list[torch.Tensor]) -> dict[str, dict[str, dict[str, float]]]:
    """Mean over models with interval, per replacement and metric."""
    return {
        replacement: {
            metric: _interval([scores[i, j] for scores in each]) for j, metric in enumerate(METRICS)
        }
        for i, replacement in enumerate(REPLACEMENTS)
    }


def _overall(each: list[torch.Tensor]) -> dict[str, dict[str, float]]:
    return {
        "all": _interval([scores.mean(dim=(0, 1)) for scores in each]),
        "foreign": _interval([scores[_FOREIGN].mean(dim=(0, 1)) for scores in each]),
    }


def _interval(per_model: list[torch.Tensor]) -> dict[str, float]:
    """Mean over models of the mean over images; 95 % interval over images, models fixed."""
    generator = torch.Generator().manual_seed(1)
    drawn = []
    for values in per_model:
        chosen = torch.randint(len(values), (_RESAMPLES, len(values)), generator=generator)
        drawn.append(values[chosen].mean(dim=1))
    means = torch.stack(drawn).mean(dim=0).sort().values
    return {
        "mean": float(torch.stack([v.mean() for v in per_model]).mean()),
        "lower": float(means[int(0.025 * _RESAMPLES)]),
        "upper": float(means[int(0.975 * _RESAMPLES) - 1]),
    }


def _mean_ranks(means: Mapping[str, torch.Tensor], rows: list[int]) -> dict[str, float]:
    """Rank among explainers, 1 is best, averaged over models, replacements and metrics."""
    stacked = torch.stack([m[:, rows] for m in means.values()])  # (explainers, models, r, m)
    ranks = (stacked[:, None] < stacked[None]).sum(dim=1) + 1
    return {n: float(r.double().mean()) for n, r in zip(means, ranks, strict=True)}


def _below(means: Mapping[str, torch.Tensor], ours: str, other: str) -> list[str]:
    """Foreign columns in which the mean over models is below the other's."""
    gap = (means[ours].mean(0) - means[other].mean(0))[_FOREIGN]
    return [
        f"{FOREIGN[i]} {METRICS[j]} {gap[i, j]:+.3f}"
        for i in range(len(FOREIGN))
        for j in range(len(METRICS))
        if gap[i, j] < 0
    ]


def _facts(
    results: Mapping[str, Mapping[str, torch.Tensor]], subjects: list[str], name: str
) -> dict[str, float]:
    facts = torch.stack([results[s][f"facts of {name}"] for s in subjects]).mean(dim=0)
    names = ("forward", "backward", "zero_maps", "milliseconds")
    return {key: float(value) for key, value in zip(names, facts, strict=True)}
