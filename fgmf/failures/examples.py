"""Saved adversarial examples, judged by the model as it is now."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fgmf.errors import FgmfError, InvalidInput, NonFiniteOutput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.attacks.criteria import Criterion
    from fgmf.classifier import Classifier
    from fgmf.failures.loading import SavedFailures
    from fgmf.types import Bounds, ImageFlags


def check_inside(saved: SavedFailures, bounds: Bounds) -> None:
    """Refuse examples that the threat model does not allow.

    Raises:
        InvalidInput: The model's bounds are others, or an example lies outside.
    """
    from fgmf.attacks.projection import inside

    if saved.threat.bounds != bounds:
        message = (
            f"expected a model with bounds {saved.threat.bounds}, as the examples have, got "
            f"{bounds}; run the gate again to save new evidence"
        )
        raise InvalidInput(message)
    outside = int((~inside(saved.images, saved.adversarial, saved.threat)).sum())
    if outside:
        message = (
            f"expected examples within {saved.threat.describe()} and the bounds, got {outside} "
            f"of {len(saved.images)} outside; run the gate again to save new evidence"
        )
        raise InvalidInput(message)


def still_broken(saved: SavedFailures, classifier: Classifier, *, seed: int) -> ImageFlags:
    """Judge the saved examples in a fresh forward pass.

    Args:
        saved: n examples.
        classifier: Put back as it was afterwards.
        seed: Seeds the global generators, for models that draw from them.

    Returns:
        (n,) True where an example breaks this model.

    Raises:
        InvalidInput: The model does not take the examples, or has too few classes.
        NonFiniteOutput: It returns NaN or infinite logits for one.

    Cost: one forward pass per example.
    """
    with translated_errors(saved), classifier.guard(seed=seed):
        logits = classifier.logits_in_batches(saved.adversarial)
    finite = logits.isfinite().all(dim=1)
    if not bool(finite.all()):
        message = (
            f"expected finite logits, got NaN or infinite values for {int((~finite).sum())} of "
            f"{len(finite)} saved examples"
        )
        raise NonFiniteOutput(message)
    highest = int(saved.labels.max())
    if highest >= logits.shape[1]:
        message = (
            f"expected a model with more than {highest} classes, as the saved labels need, "
            f"got {logits.shape[1]}"
        )
        raise InvalidInput(message)
    return criterion_of(saved).broken(logits)


def criterion_of(saved: SavedFailures) -> Criterion:
    """Return the rule of the gate that saved the examples; their targets are what they hit.

    Raises:
        InvalidInput: The record names no rule that there is.
    """
    from fgmf.attacks.criteria import Criterion

    recorded: Any = saved.recipe["specification"]
    specification = recorded if isinstance(recorded, dict) else {}
    kind = specification.get("criterion", "misclassification")
    top_k = specification.get("top_k") or 1
    if kind not in {"misclassification", "targeted", "top-k"} or not isinstance(top_k, int):
        message = (
            "expected criterion misclassification, targeted or top-k with an integer k, "
            f"got {kind!r} with k={top_k!r}"
        )
        raise InvalidInput(message)
    targets = saved.predicted if kind == "targeted" else None
    return Criterion(kind=kind, labels=saved.labels, targets=targets, top_k=top_k)


@contextmanager
def translated_errors(saved: SavedFailures) -> Iterator[None]:
    """Turn what the model raises into an error that says what it was given.

    Raises:
        InvalidInput: The model raised.
    """
    try:
        yield
    except FgmfError:
        raise
    except Exception as error:
        message = (
            f"expected a model that takes the saved examples (shape "
            f"{tuple(saved.adversarial.shape)}), it raised {type(error).__name__}: {error}"
        )
        raise InvalidInput(message) from error
