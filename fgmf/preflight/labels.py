"""Checks on the labels: form, type, range, and what share of them the model gets right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from fgmf.preflight.policy import Observation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.types import Json, Labels, Logits

_SIGNIFICANCE: Final = 0.05
_CLEAR_KAPPA: Final = 0.25
"""A quarter of the way from guessing to perfect is no error, even where few images or a rare
class leave the test without power."""
_ENOUGH_IMAGES: Final = 30
"""On fewer images a weak but honest model passes for guessing."""


def class_indices(labels: torch.Tensor) -> Labels | None:
    """Return labels as class indices, where they can be read as such.

    Args:
        labels: As the user gave them: (n,) or (n, 1), whole numbers of any dtype.

    Returns:
        (n,) int64 on the CPU; None for one-hot, multi-label, fractional and non-finite labels.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.is_complex:
        return None
    values = labels.detach().cpu()
    if values.dtype.is_floating_point:
        whole = torch.isfinite(values).all() and bool((values == values.round()).all())
        return values.to(torch.int64) if whole else None
    return values.to(torch.int64)


def observe_labels(labels: torch.Tensor, *, image_count: int) -> Iterator[Observation]:
    """Judge the form of the labels.

    Args:
        labels: As the user gave them.
        image_count: Number of images that they belong to.
    """
    rows = labels.shape[0] if labels.ndim else 0
    if rows != image_count:
        yield Observation(
            name="labels-image-count",
            severity="error",
            message=f"expected one label for each of {image_count} images, got labels of shape "
            f"{tuple(labels.shape)}",
            fix="pass images and labels of the same length, in the same order",
            evidence={"image_count": image_count, "labels_shape": list(labels.shape)},
        )
    indices = class_indices(labels)
    if indices is None:
        yield _observe_form(labels)
        return
    if labels.dtype != torch.int64 or labels.ndim == 2:
        yield Observation(
            name="labels-dtype",
            severity="note",
            message=f"labels are {_text(labels)}; they are read as int64 class indices",
            fix="nothing to do; pass int64 of shape (n,) to silence this",
            evidence={"dtype": _dtype(labels), "shape": list(labels.shape)},
        )
    if rows > 1 and labels.numel() and int(indices.min()) == int(indices.max()):
        yield Observation(
            name="single-class-data",
            severity="warning",
            message=f"all {rows} labels are class {int(indices[0])}: a model that always says so "
            "would be perfectly robust",
            fix="pass images of all classes",
            evidence={"class": int(indices[0]), "image_count": rows},
        )


def _observe_form(labels: torch.Tensor) -> Observation:
    evidence: dict[str, Json] = {"dtype": _dtype(labels), "shape": list(labels.shape)}
    if labels.ndim != 2 or labels.dtype.is_complex or labels.shape[1] < 2:
        return Observation(
            name="labels-dtype",
            severity="error",
            message=f"expected labels as whole class indices of shape (n,), got {_text(labels)}",
            fix="pass int64 class indices of shape (n,)",
            evidence=evidence,
        )
    binary = bool(((labels == 0) | (labels == 1)).all())
    if binary and bool((labels.to(torch.float64).sum(dim=1) == 1).all()):
        return Observation(
            name="labels-one-hot",
            severity="error",
            message=f"expected class indices of shape (n,), got one-hot labels {_text(labels)}",
            fix="pass labels.argmax(1)",
            evidence=evidence,
        )
    kind = "several labels per image" if binary else "a number per class (soft labels)"
    return Observation(
        name="labels-multi-label",
        severity="error",
        message=f"expected one class per image, got {kind}: {_text(labels)}",
        fix="multi-label models are not supported; pass one class index per image",
        evidence=evidence,
    )


def observe_label_range(labels: Labels, *, class_count: int) -> Iterator[Observation]:
    """Judge class indices against the number of classes of the model.

    Args:
        labels: (n,) int64.
        class_count: Columns of the logits.
    """
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest >= 0 and highest < class_count:
        return
    fix = f"map the labels to 0..{class_count - 1} in the order of the model's outputs"
    if lowest == 1 and highest == class_count:
        fix = "the labels seem to count from 1: subtract 1"
    yield Observation(
        name="labels-out-of-range",
        severity="error",
        message=f"expected labels in 0..{class_count - 1} for a model with {class_count} "
        f"classes, got {lowest}..{highest}",
        fix=fix,
        evidence={"lowest": lowest, "highest": highest, "classes": class_count},
    )


def observe_accuracy(logits: Logits, labels: Labels) -> Iterator[Observation]:
    """Judge whether the model is better than guessing.

    Args:
        logits: (n, classes) of the inspected images.
        labels: (n,) int64.

    Source: agreement of predictions and labels against what independent ones of the same
        frequencies would give (Cohen 1960, kappa), one-sided binomial tail. For a model that
        always names one class this is the share of that class. Where all labels are the same,
        against uniform guessing.
    """
    from scipy.stats import binom

    predicted, count, classes = logits.argmax(dim=1), labels.shape[0], logits.shape[1]
    correct = int((predicted == labels).sum())
    chance = 1 / classes
    if int(labels.min()) != int(labels.max()):
        shares = (torch.bincount(part, minlength=classes) / count for part in (predicted, labels))
        chance = float(torch.stack(list(shares)).prod(dim=0).sum())
    accuracy = correct / count
    kappa = (accuracy - chance) / (1 - chance) if chance < 1 else 0.0
    p_value = float(binom.sf(correct - 1, count, chance))
    if p_value < _SIGNIFICANCE or kappa > _CLEAR_KAPPA:
        return
    yield Observation(
        name="clean-accuracy-at-chance",
        severity="error" if count >= _ENOUGH_IMAGES else "warning",
        message=f"clean accuracy {accuracy:.2f} on {count} images is no better than guessing "
        f"({chance:.2f}; p = {p_value:.2g})",
        fix="check that labels and images belong together, that the class order is the model's, "
        "that the weights are loaded, and the normalisation",
        evidence={
            "correct": correct,
            "image_count": count,
            "chance": round(chance, 6),
            "p_value": round(p_value, 6),
        },
    )


def _dtype(labels: torch.Tensor) -> str:
    return str(labels.dtype).removeprefix("torch.")


def _text(labels: torch.Tensor) -> str:
    return f"{_dtype(labels)} of shape {tuple(labels.shape)}"
