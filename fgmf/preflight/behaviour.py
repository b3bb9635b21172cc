"""Checks on behaviour: does the same image always give the same output, and change nothing?

first  = forward(images), seed A          # state compared before and after
second = forward(images), seed B          # differs: nondeterministic
third  = forward(images), seed A          # differs from the first: hidden state
permuted, alone                           # differ: an image depends on its batch
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from fgmf.preflight.policy import Observation
from fgmf.seeding import derive_seed, isolated_randomness

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fgmf.classifier import Classifier
    from fgmf.types import Images, Logits

_REPEAT_TOLERANCE: Final = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2}
"""Largest difference of two equal passes, as a share of the spread of the logits: kernels that
sum in varying order stay far below, noise that matters to an attack does not."""
_BATCH_TOLERANCE: Final = {torch.float64: 1e-7, torch.float32: 1e-3, torch.float16: 5e-2}
"""Likewise for other batch shapes, which choose other kernels."""
_COARSE_TOLERANCE: Final = 1e-1
_TF32_TOLERANCE: Final = 1e-2
_ALONE: Final = 2
"""Images that are also passed alone."""


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """Three passes of the same images, and what they did to the model.

    Attributes:
        first: (n, classes) under seed A.
        second: (n, classes) under seed B.
        third: (n, classes) under seed A again.
        changed: Names of the parts of the model's state that the first pass changed.
    """

    first: Logits
    second: Logits
    third: Logits
    changed: tuple[str, ...]


def repeat_forward(classifier: Classifier, images: Images, *, seed: int) -> Repetition:
    """Run three passes under two seeds.

    Args:
        classifier: Inside its guard.
        images: (n, ...) within the bounds.
        seed: Both seeds are derived from it.

    Returns:
        What came, and what changed; the model's state is put back after the third pass.

    Cost: 3n forward passes and one copy of the model's state.
    """
    from fgmf.classifier.state import ModelSnapshot

    snapshot = None if classifier.module is None else ModelSnapshot(classifier.module)
    passes = [_seeded(classifier, images, derive_seed(seed, name)) for name in ("a", "b", "a")]
    changed = () if snapshot is None else tuple(snapshot.restore())
    return Repetition(first=passes[0], second=passes[1], third=passes[2], changed=changed)


def _seeded(classifier: Classifier, images: Images, seed: int) -> Logits:
    with isolated_randomness(seed):
        return classifier.logits_in_batches(images)


def observe_train_mode(names: Sequence[str]) -> Iterator[Observation]:
    """Note submodules that were in train mode.

    Args:
        names: As :meth:`Classifier.training_modules` gives them, outside the guard.
    """
    if names:
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        yield Observation(
            name="train-mode",
            severity="note",
            message=f"the model was in train mode ({shown}); it is measured in eval mode and "
            "put back afterwards",
            fix="nothing to do; call model.eval() to silence this",
            evidence={"modules": list(names[:20]), "count": len(names)},
        )


def observe_repetition(repetition: Repetition, *, dtype: torch.dtype) -> Iterator[Observation]:
    """Judge whether passes of the same images agree and leave the model alone.

    Args:
        repetition: Three passes.
        dtype: The model's type, which sets the tolerance.
    """
    tolerance = _REPEAT_TOLERANCE.get(dtype, _COARSE_TOLERANCE)
    by_seed = difference(repetition.first, repetition.second)
    by_call = difference(repetition.first, repetition.third)
    if by_seed > tolerance:
        yield Observation(
            name="nondeterministic-output",
            severity="error",
            message=f"two passes of the same images differ by {by_seed:.2g} of the spread of "
            f"the logits ({_flips(repetition.first, repetition.second)} predictions change)",
            fix="remove noise, dropout that is active in eval mode, or randomised input "
            "transformations from the forward pass",
            evidence={
                "relative_difference": _digits(by_seed),
                "tolerance": tolerance,
                "predictions_changed": _flips(repetition.first, repetition.second),
            },
        )
    if repetition.changed or by_call > tolerance:
        yield _changed_state(repetition.changed, by_call, tolerance)


def _changed_state(names: Sequence[str], by_call: float, tolerance: float) -> Observation:
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    what = f"it changed {shown} (put back)" if names else "no parameter or buffer changed"
    return Observation(
        name="forward-changes-state",
        severity="error",
        message=f"expected a forward pass to leave the model as it is, but {what}; the first "
        f"and the third pass under one seed differ by {by_call:.2g} of the spread of the logits",
        fix="remove counters, running statistics, caches or a random generator of its own from "
        "the forward pass in eval mode",
        evidence={
            "changed": list(names[:20]),
            "relative_difference": _digits(by_call),
            "tolerance": tolerance,
        },
    )


def observe_batch_dependence(
    classifier: Classifier, images: Images, reference: Logits, *, seed: int
) -> Iterator[Observation]:
    """Judge whether the output of an image depends on the others in its batch.

    Args:
        classifier: Inside its guard; deterministic.
        images: (n, ...) within the bounds.
        reference: (n, classes) of one pass over them.
        seed: Fixes the order of the permuted batch.

    Cost: n + 2 forward passes. Randomness: `seed`, through a generator of its own.
    """
    order = torch.randperm(images.shape[0], generator=torch.Generator().manual_seed(seed))
    if images.shape[0] > 1:
        # Leave one out: a batch of another size and other neighbours for each image.
        order = order[: images.shape[0] - 1]
    alone = [torch.tensor([index]) for index in range(min(_ALONE, images.shape[0]))]
    worst, worst_size, flips = 0.0, 0, 0
    for chosen in (order, *alone):
        try:
            seen = _seeded(classifier, images[chosen], derive_seed(seed, "a"))
        except Exception as error:  # noqa: BLE001 - a user's model can raise anything
            yield _batch_failure(chosen.shape[0], error)
            return
        if seen.shape[1] != reference.shape[1]:
            yield _varying_classes(reference.shape[1], seen.shape[1], chosen.shape[0])
            return
        gap = difference(reference[chosen], seen, spread=_spread(reference))
        flips += _flips(reference[chosen], seen)
        if gap > worst:
            worst, worst_size = gap, chosen.shape[0]
    tolerance = _BATCH_TOLERANCE.get(classifier.dtype, _COARSE_TOLERANCE)
    if classifier.device.type == "cuda":
        tolerance = max(tolerance, _TF32_TOLERANCE)
    if worst > tolerance:
        yield Observation(
            name="batch-dependent-output",
            severity="error",
            message=f"the logits of an image differ by {worst:.2g} of their spread when it is "
            f"in another batch (of {worst_size}; {flips} predictions change): adversarial "
            "examples found in one batch cannot be confirmed in another",
            fix="use stored statistics (BatchNorm in eval mode) and no operation across the batch",
            evidence={
                "relative_difference": _digits(worst),
                "tolerance": tolerance,
                "batch_size": worst_size,
                "predictions_changed": flips,
            },
        )


def _batch_failure(size: int, error: Exception) -> Observation:
    lines = str(error).strip().splitlines()
    words = f"{type(error).__name__}: {lines[0][:300] if lines else '(no message)'}"
    return Observation(
        name="batch-dependent-output",
        severity="error",
        message=f"the model raised {words} on a batch of {size}, and not on a larger one",
        fix="make the model take any batch size; a bare .squeeze() drops the axis of a batch of 1",
        evidence={"exception": words, "batch_size": size},
    )


def _varying_classes(expected: int, seen: int, size: int) -> Observation:
    return Observation(
        name="output-shape",
        severity="error",
        message=f"expected {expected} classes in every batch, got {seen} in a batch of {size}",
        fix="return logits of shape (images, classes), the same classes for every batch",
        evidence={"classes": expected, "classes_in_other_batch": seen, "batch_size": size},
    )


def difference(left: Logits, right: Logits, *, spread: float | None = None) -> float:
    """Largest difference of two sets of logits, as a share of their spread.

    Args:
        left: (n, classes), finite.
        right: (n, classes).
        spread: Replaces the spread of `left`.

    Returns:
        0.0 where they are equal; infinity where only one of them is finite.
    """
    gap = (left.double() - right.double()).abs()
    largest = float(gap.max()) if bool(torch.isfinite(gap).all()) else float("inf")
    return largest / (_spread(left) if spread is None else spread)


def _spread(logits: Logits) -> float:
    """Distance from the smallest to the largest logit; never zero."""
    values = logits.double()
    widest = float(values.max() - values.min())
    return max(widest, 1e-6 * float(values.abs().max()), 1e-12)


def _flips(left: Logits, right: Logits) -> int:
    return int((left.argmax(dim=1) != right.argmax(dim=1)).sum())


def _digits(value: float) -> float | None:
    return float(f"{value:.3g}") if value < float("inf") else None
