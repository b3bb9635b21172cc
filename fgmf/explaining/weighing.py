"""Entropy weights: a criterion counts for as much as it tells explainers apart.

    p_ij = x_ij / sum_i x_ij            for explainer i of m and criterion j
    e_j  = - sum_i p_ij ln p_ij / ln m
    w_j  = (1 - e_j) / sum_j (1 - e_j)

Source: Shannon's entropy weights as arXiv 2412.03884 names them; the formulas are the usual ones.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping


def entropy_weights(columns: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Weigh criteria.

    Args:
        columns: For each criterion the score of each explainer, not negative; the same explainers
            in all of them.

    Returns:
        Weights that add up to one; equal ones where no criterion tells explainers apart, as with
        a single explainer.

    Raises:
        InvalidInput: A score is negative, not finite, or missing.
    """
    explainers = set(next(iter(columns.values()), {}))
    for name, scores in columns.items():
        sound = all(math.isfinite(s) and s >= 0 for s in scores.values())
        if not explainers or set(scores) != explainers or not sound:
            message = f"expected a finite score >= 0 of every explainer for {name}, got "
            raise InvalidInput(f"{message}{dict(scores)}")
    spread = {name: _spread(list(scores.values())) for name, scores in columns.items()}
    total = sum(spread.values())
    if total <= 0:
        return dict.fromkeys(columns, 1 / len(columns))
    return {name: value / total for name, value in spread.items()}


def _spread(scores: list[float]) -> float:
    """1 less the entropy, relative to that of equal scores."""
    total = sum(scores)
    if len(scores) < 2 or total <= 0:
        return 0.0
    shares = [score / total for score in scores if score > 0]
    entropy = -sum(share * math.log(share) for share in shares) / math.log(len(scores))
    return max(0.0, 1 - entropy)
