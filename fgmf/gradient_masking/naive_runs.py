"""Naive attacks on all images, judged as a naive evaluation would; and again from other starts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import torch

from fgmf.gradient_masking.naive import FORTY_STEPS, climb
from fgmf.gradient_masking.suite_runs import as_found
from fgmf.gradient_masking.values import NaiveOutcome
from fgmf.seeding import derive_seed

if TYPE_CHECKING:
    from fgmf.gradient_masking.examined import Examined
    from fgmf.gradient_masking.naive import Ascent, Path

STARTS: Final = 5
"""Of the iterative attack, before a gap without any symptom counts as a proof: what other starting
points find with the same gradient was not hidden by it."""


def attack_naively(
    examined: Examined, live: torch.Tensor, ascent: Ascent, *, name: str
) -> tuple[NaiveOutcome, Path]:
    """Run a naive attack on the images that are right without one.

    Args:
        examined: Model and all n images.
        live: (m,) which are right.
        ascent: The attack.
        name: Its name.

    Returns:
        What it says of all images (those that are wrong anyway count as broken), and its way.
    """
    before, part = examined.passes, examined.of(live)
    path = climb(part, ascent)
    right = torch.zeros(len(examined), dtype=torch.float64)
    right[live] = as_found(part, path.points)
    examples = examined.images.clone()
    examples[live] = path.points
    outcome = NaiveOutcome(
        name=name,
        rows=torch.arange(len(examined)),
        right=right,
        examples=examples,
        unavailable=path.unavailable,
        passes=examined.passes - before,
    )
    return outcome, path


def attack_again(
    examined: Examined, live: torch.Tensor, outcome: NaiveOutcome, *, restart: int
) -> NaiveOutcome:
    """Let the iterative attack try once more, from other points, on what it left right.

    Args:
        examined: Model and all images.
        live: Those that are right without an attack.
        outcome: Of its runs so far.
        restart: Number of this one, from 1.

    Returns:
        The least of all runs.

    Cost: at most that of the first run.
    """
    right, examples, before = outcome.right.clone(), outcome.examples.clone(), examined.passes
    rows = live[right[live] > 0]
    if len(rows):
        seed = derive_seed(examined.seed, "restart", restart)
        part = replace(examined, seed=seed).of(rows)
        points = climb(part, FORTY_STEPS).points
        found = as_found(part, points)
        lower = found < right[rows]
        right[rows[lower]] = found[lower]
        examples[rows[lower]] = points[lower]
    return replace(
        outcome,
        name=f"{outcome.name.partition(' (')[0]} ({restart + 1} starts)",
        right=right,
        examples=examples,
        passes=outcome.passes + examined.passes - before,
    )
