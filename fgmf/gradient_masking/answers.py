"""Symptoms in how the model answers: draws, memory, batch, gradient mode, form of the output.

    three passes under seeds A, B, A      # A != B: random; A != A again, or a changed state: memory
    other batches                         # differ: an image depends on its batch
    recorded against plain                # differ: the attacker sees another model
    sums and range of the rows            # probabilities, labels

Cost: 6 forward passes per scout.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from fgmf.gradient_masking.examined import Traits
from fgmf.gradient_masking.values import Symptom
from fgmf.preflight.behaviour import difference, observe_batch_dependence, repeat_forward
from fgmf.seeding import isolated_randomness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.classifier import Classifier
    from fgmf.gradient_masking.examined import Examined
    from fgmf.types import Images, Logits

_TOLERANCE: Final = 1e-3
"""Share of the spread of the logits by which equal passes may differ; kernels stay far below."""
_COARSE: Final = 2e-2
"""Likewise for models in half precision."""
_MODE: Final = 1e-2
_FEW_VALUES: Final = 0.02


def find_traits(
    classifier: Classifier, images: Images, *, seed: int
) -> tuple[Traits, tuple[Symptom, ...], Logits]:
    """Look at how a model answers.

    Args:
        classifier: Inside its guard.
        images: (m, ...) scouts.
        seed: Of both passes.

    Returns:
        What it depends on beside its input, the same as symptoms, and (m, classes) of one pass.

    Cost: 4 forward passes per image, and 2 more.
    """
    repeated = repeat_forward(classifier, images, seed=seed)
    half = classifier.dtype in {torch.float16, torch.bfloat16}
    tolerance = _COARSE if half else _TOLERANCE
    by_seed = difference(repeated.first, repeated.second)
    by_call = difference(repeated.first, repeated.third)
    own_dice = classifier.module is not None and any(map(_holds_dice, classifier.module.modules()))
    random_output = by_seed > tolerance and (by_call <= tolerance or own_dice or _redrawn(repeated))
    stateful = (bool(repeated.changed) or by_call > tolerance) and not own_dice
    batch = []
    if not random_output and not stateful:
        batch = list(observe_batch_dependence(classifier, images, repeated.first, seed=seed))
    traits = Traits(
        random=random_output,
        stateful=stateful,
        batch_dependent=any(o.name == "batch-dependent-output" for o in batch),
    )
    count = len(images)
    symptoms = (
        Symptom(
            name="output-drawn-anew",
            value=_finite(by_seed),
            limit=tolerance,
            stands=random_output,
            image_count=count,
            mechanisms=("stochastic",),
            note="share of the logits' spread by which passes under two seeds differ",
            passes=3 * count,
        ),
        Symptom(
            name="output-remembers",
            value=_finite(by_call),
            limit=tolerance,
            stands=stateful,
            alarming=True,
            image_count=count,
            mechanisms=("stateful",),
            note="likewise for passes under one seed"
            + (f"; a pass changed {', '.join(repeated.changed[:3])}" if repeated.changed else ""),
        ),
        Symptom(
            name="output-of-batch",
            value=None,
            limit=tolerance,
            stands=traits.batch_dependent,
            alarming=True,
            image_count=count,
            mechanisms=("batch-dependent",),
            note=batch[0].message if batch else "the same in other batches",
            passes=count + 2,
        ),
    )
    return traits, symptoms, repeated.first


def _redrawn(repeated: object) -> bool:
    """Whether every pass differs from every other, and nothing that was kept changed."""
    first, third = (getattr(repeated, name) for name in ("first", "third"))
    return not getattr(repeated, "changed", ()) and difference(first, third) > _TOLERANCE


def _holds_dice(module: torch.nn.Module) -> bool:
    kinds = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
    return any(isinstance(value, kinds) for value in vars(module).values())


def probe_modes(examined: Examined) -> Iterator[Symptom]:
    """Compare answers with and without a recorded graph.

    Cost: two forward passes per image.
    """
    classifier = examined.classifier
    if not classifier.gradient_available or examined.traits.random:
        return
    examined.fresh()
    with isolated_randomness(examined.seed):
        plain = classifier.logits_in_batches(examined.images)
    examined.fresh()
    try:
        with isolated_randomness(examined.seed), torch.enable_grad():
            leaf = examined.images.clone().requires_grad_()
            parts = [classifier.logits(p).detach().cpu() for p in leaf.split(classifier.batch_size)]
    except Exception:  # noqa: BLE001 - a model that cannot record is looked at elsewhere
        return
    gap = difference(plain, torch.cat(parts))
    yield Symptom(
        name="output-of-mode",
        value=_finite(gap),
        limit=_MODE,
        stands=gap > _MODE,
        alarming=True,
        image_count=len(examined),
        mechanisms=("mode-dependent",),
        note="share of the logits' spread by which recording gradients changes the output",
        passes=2 * len(examined),
    )


def probe_form(logits: Logits) -> Symptom:
    """Look whether the output holds logits at all.

    Args:
        logits: (m, classes) of one pass.
    """
    values = logits.double()
    classes = values.shape[1]
    sums = values.sum(dim=1)
    probabilities = bool(((sums - 1).abs() < 1e-3).all()) and float(values.min()) >= 0
    kinds = len(torch.unique(values.mul(1e4).round()))
    share = kinds / values.numel()
    few = kinds <= max(3, _FEW_VALUES * values.numel()) and classes > 1
    what = "probabilities" if probabilities else "logits"
    return Symptom(
        name="output-form",
        value=share,
        limit=_FEW_VALUES,
        stands=probabilities or few,
        image_count=len(logits),
        mechanisms=("output-form",),
        note=f"{what} with {kinds} different values in {values.numel()}",
    )


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None
