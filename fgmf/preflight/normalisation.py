"""Checks on the adapter's normalisation: missing, applied twice, or in other units.

A few passes with other scalings of the same images: where one of them is much more accurate,
the model was not trained on what it is given now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from fgmf.preflight.policy import Observation
from fgmf.statistics import mcnemar_exact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.classifier import Classifier, Normalization
    from fgmf.preflight.behaviour import Repetition
    from fgmf.preflight.data import ImageStatistics
    from fgmf.types import Bounds, Images, Labels

_GAIN: Final = 0.15
"""Accuracy that another scaling must gain; a robust model gains a few points at the most."""
_P_VALUE: Final = 1e-3
"""Few false alarms over at most three scalings."""
_WIDEST: Final = 20.0
_NARROWEST: Final = 0.25
"""A normalised range is 2 (deviation 0.5) to 10 (deviation 0.1) wide."""


def observe_units(normalization: Normalization | None, *, bounds: Bounds) -> Iterator[Observation]:
    """Judge mean and deviation against the bounds, without the model.

    Args:
        normalization: The adapter's.
        bounds: The classifier's bounds.
    """
    if normalization is None or all(mean == 0 for mean in normalization.mean):
        return  # A pure change of scale, such as 0..1 to 0..255, says nothing.
    lower, upper = bounds
    width = (upper - lower) / max(normalization.std)
    if width >= _NARROWEST and (upper - lower) / min(normalization.std) <= _WIDEST:
        return
    yield Observation(
        name="normalisation-units",
        severity="warning",
        message=f"mean {_text(normalization.mean)} and std {_text(normalization.std)} map the "
        f"bounds [{lower:g}, {upper:g}] to a range {width:.3g} wide: they seem to be in other "
        "units than the images",
        fix="give mean and std in the units of the bounds: about 0.5 and 0.25 for bounds (0, 1), "
        "about 120 and 60 for (0, 255)",
        evidence={
            "mean": list(normalization.mean),
            "std": list(normalization.std),
            "normalised_width": round(width, 6),
        },
    )


def observe_scalings(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    passes: Repetition,
    statistics: ImageStatistics,
) -> Iterator[Observation]:
    """Compare the accuracy with that under other scalings of the same images.

    Args:
        classifier: Inside its guard; deterministic.
        images: (n, ...) within the bounds.
        labels: (n,) int64.
        passes: Of these images, as the classifier is used.
        statistics: Of all images.

    Source: exact McNemar test on the images, and a gain of 0.15 in accuracy.
    Cost: n forward passes with a normalisation, 3n without; none where accuracy is above 0.85.
    """
    right = passes.first.argmax(dim=1) == labels
    if float(right.double().mean()) > 1 - _GAIN:
        return
    normalization = classifier.normalization
    if normalization is not None:
        # What the model gives on the images as they are: undo what the adapter will do.
        scalings = {"no normalisation": _undone(images, normalization)}
        name, fix = "normalised-twice", "drop `normalize`: the images or the model do it already"
    else:
        scalings = _candidates(images, classifier.bounds, statistics)
        name, fix = "normalisation-missing", "give the mean and std of training as `normalize`"
    for words, scaled in scalings.items():
        found = _much_better(classifier, scaled, labels, right)
        if found is not None:
            before, after, p_value = found
            yield Observation(
                name=name,
                severity="error",
                message=f"clean accuracy is {before:.2f}, but {after:.2f} with {words} "
                f"(McNemar p = {p_value:.2g}, {labels.shape[0]} images)",
                fix=fix,
                evidence={
                    "accuracy": round(before, 4),
                    "accuracy_rescaled": round(after, 4),
                    "scaling": words,
                    "p_value": p_value,
                },
            )
            return


def _undone(images: Images, normalization: Normalization) -> Images:
    zero = normalization.apply(torch.zeros_like(images[:1]))
    one = normalization.apply(torch.ones_like(images[:1]))
    return (images - zero) / (one - zero)


def _candidates(
    images: Images, bounds: Bounds, statistics: ImageStatistics
) -> dict[str, torch.Tensor]:
    lower, upper = bounds
    width = upper - lower
    shape = (1, -1, *([1] * (images.ndim - 2)))
    # Flat images have one mean for all pixels, whatever the length of the second axis.
    mean = torch.tensor(statistics.mean, dtype=images.dtype).reshape(shape)
    std = torch.tensor(statistics.std, dtype=images.dtype).clamp(min=1e-6 * width).reshape(shape)
    return {
        "images normalised by their own mean and std": (images - mean) / std,
        "images rescaled to [-1, 1]": (images - lower) * (2 / width) - 1,
        ("images rescaled to [0, 1]" if width > 2 else "images rescaled to [0, 255]"): (
            images - lower
        )
        / width
        * (1 if width > 2 else 255),
    }


def _much_better(
    classifier: Classifier, images: Images, labels: Labels, right: torch.Tensor
) -> tuple[float, float, float] | None:
    """Accuracy before and after, and p-value, where it is much better on these images."""
    try:
        logits = classifier.logits_in_batches(images)
    except Exception:  # noqa: BLE001 - a model may well refuse images outside its bounds
        return None
    better = logits.argmax(dim=1) == labels
    before, after = float(right.double().mean()), float(better.double().mean())
    p_value = mcnemar_exact(int((right & ~better).sum()), int((better & ~right).sum()))
    if after - before < _GAIN or p_value > _P_VALUE:
        return None
    return before, after, float(f"{p_value:.3g}")


def _text(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"
