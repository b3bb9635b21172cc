"""All probes on the scouts, in order: what is cheap and tells most comes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.gradient_masking.answers import probe_modes
from fgmf.gradient_masking.budgets import (
    probe_doubled_ball,
    probe_doubled_steps,
    probe_noise,
    probe_shell,
)
from fgmf.gradient_masking.edges import probe_edges
from fgmf.gradient_masking.insides import probe_insides
from fgmf.gradient_masking.paths import probe_unbounded
from fgmf.gradient_masking.scales import probe_scale
from fgmf.gradient_masking.slopes import (
    measure_slopes,
    probe_curvature,
    probe_direction,
    probe_presence,
    probe_steadiness,
    probe_truth,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from fgmf.classifier import Classifier
    from fgmf.gradient_masking.examined import Examined
    from fgmf.gradient_masking.values import NaiveOutcome, Symptom


def probe_gradients(scouts: Examined, exact: Classifier) -> Iterator[Symptom]:
    """Look at the gradient at the scouts, and at what one pass does.

    Args:
        scouts: The model on images that are right without an attack.
        exact: The same model, in float64 where that can be had.
    """
    yield from probe_modes(scouts)
    yield probe_insides(scouts)
    slopes = measure_slopes(scouts, exact)
    yield from probe_presence(slopes)
    yield from probe_truth(scouts, slopes)
    yield from probe_steadiness(slopes)
    yield from probe_curvature(scouts, slopes)
    yield from probe_direction(scouts, slopes)
    yield from probe_scale(scouts, slopes)


def probe_budgets(
    scouts: Examined, exact: Classifier, rows: torch.Tensor, iterative: NaiveOutcome
) -> Iterator[Symptom]:
    """Look at what larger budgets buy.

    Args:
        scouts: The model on images that are right without an attack.
        exact: The same model, in float64 where that can be had.
        rows: Which of all images they are.
        iterative: What the iterative attack says of all images.
    """
    yield probe_unbounded(scouts)
    right, ends = iterative.right[rows], iterative.examples[rows]
    yield from probe_edges(scouts, exact, ends)
    if not scouts.traits.random:
        yield probe_shell(scouts)
        yield probe_noise(scouts, right)
        yield probe_doubled_steps(scouts, ends, right)
    wider = probe_doubled_ball(scouts, right)
    if wider is not None:
        yield wider
