"""From scores to a pattern of single weights: the lowest go.

unstructured   a share of each tensor, or of all weights together
N:M            of every M neighbours along the inputs of a unit, N stay
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from fgmf.errors import InvalidInput
from fgmf.sparsity.pattern import SparsityPattern

if TYPE_CHECKING:
    from collections.abc import Mapping

Scope = Literal["layer", "global"]


def keep_highest(
    scores: Mapping[str, torch.Tensor], share: float, *, scope: Scope = "global"
) -> SparsityPattern:
    """Remove the weights with the lowest scores.

    Args:
        scores: Of each weight, by the name of its parameter; finite.
        share: Of the weights that are removed, from 0 up to, without, 1.
        scope: ``layer`` removes this share of each tensor, ``global`` of all of them together.

    Returns:
        A pattern that removes just so many weights, rounded down; of equal scores the first go.

    Raises:
        InvalidInput: A share outside its range, or scores that are none.
    """
    check_share(share)
    check_scores(scores)
    if scope == "layer":
        return SparsityPattern.of(
            {n: _kept(score.reshape(-1), share).reshape(score.shape) for n, score in scores.items()}
        )
    together = torch.cat([score.detach().cpu().reshape(-1).double() for score in scores.values()])
    parts = _kept(together, share).split([score.numel() for score in scores.values()])
    named = zip(scores.items(), parts, strict=True)
    return SparsityPattern.of({name: part.reshape(score.shape) for (name, score), part in named})


def keep_n_of_m(scores: Mapping[str, torch.Tensor], *, n: int = 2, m: int = 4) -> SparsityPattern:
    """Keep the N highest of every M neighbours.

    Args:
        scores: Of each weight (out, in, ...), by the name of its parameter.
        n: Kept of each group.
        m: Size of a group: neighbours along the flattened inputs of one unit. A last group that is
            not full stays whole.

    Raises:
        InvalidInput: Not 1 <= n < m, or scores that are none.
    """
    if not 1 <= n < m:
        raise InvalidInput(f"expected 1 <= n < m, got n={n}, m={m}")
    check_scores(scores)
    kept = {}
    for name, score in scores.items():
        rows = score.detach().cpu().reshape(score.shape[0], -1)
        flags = torch.ones_like(rows, dtype=torch.bool)
        whole = rows.shape[1] - rows.shape[1] % m
        groups = rows[:, :whole].reshape(rows.shape[0], -1, m)
        order = groups.argsort(dim=2, descending=True, stable=True)
        flags[:, :whole] = (
            torch.zeros_like(groups, dtype=torch.bool)
            .scatter_(2, order[..., :n], True)  # noqa: FBT003 - torch's only form
            .reshape(rows.shape[0], whole)
        )
        kept[name] = flags.reshape(score.shape)
    return SparsityPattern.of(kept)


def check_share(share: float) -> None:
    """Refuse shares that leave nothing, or are none.

    Raises:
        InvalidInput: Not from 0 up to, without, 1.
    """
    if not 0.0 <= share < 1.0:
        raise InvalidInput(f"expected a share to remove from 0 up to, without, 1, got {share!r}")


def check_scores(scores: Mapping[str, torch.Tensor]) -> None:
    """Refuse scores that put weights in no order.

    Raises:
        InvalidInput: There are none, or one is NaN or infinite.
    """
    if not scores:
        raise InvalidInput("expected scores of at least one tensor, got none")
    for name, score in scores.items():
        if not bool(score.isfinite().all()):
            raise InvalidInput(f"expected finite scores of {name}, got NaN or infinities")


def _kept(scores: torch.Tensor, share: float) -> torch.Tensor:
    flags = torch.ones(scores.numel(), dtype=torch.bool)
    # A share of .9 of 10 is 9, whatever binary fractions make of it.
    count = int(share * scores.numel() + 1e-9)
    flags[scores.detach().cpu().argsort(stable=True)[:count]] = False
    return flags
