"""When an image counts as broken, judged from logits alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    import torch

    from fgmf.types import CriterionKind, ImageFlags, Labels, Logits

_FAR_BELOW = 1e3
"""Logits below the lowest one: no softmax notices such a class."""


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """The rule by which an adversarial image succeeds.

    Attributes:
        kind: ``misclassification``: the predicted class is not the label. ``targeted``: it is
            the target. ``top-k``: the label is not among the k highest logits.
        labels: (n,) true classes.
        targets: (n,) target classes; only for ``targeted``.
        top_k: k; only for ``top-k``.
    """

    kind: CriterionKind
    labels: Labels
    targets: Labels | None = None
    top_k: int = 1

    def __post_init__(self) -> None:
        """Check that there is what the kind needs.

        Raises:
            InvalidInput: Targets for another kind than ``targeted``, none or too few for it, or
                k below one.
        """
        if (self.kind == "targeted") != (self.targets is not None):
            raise InvalidInput(f"expected targets for a targeted criterion alone, got {self.kind}")
        if self.targets is not None and self.targets.shape != self.labels.shape:
            shapes = f"{tuple(self.targets.shape)} for {tuple(self.labels.shape)} labels"
            raise InvalidInput(f"expected one target for each label, got targets {shapes}")
        if self.top_k < 1:
            raise InvalidInput(f"expected top_k >= 1, got {self.top_k}")

    def of(self, rows: torch.Tensor | slice) -> Criterion:
        """The same rule for some of the images."""
        targets = None if self.targets is None else self.targets[rows]
        return Criterion(
            kind=self.kind, labels=self.labels[rows], targets=targets, top_k=self.top_k
        )

    def broken(self, logits: Logits) -> ImageFlags:
        """Judge a batch.

        Args:
            logits: (m * n, classes); with m > 1, m perturbed copies of the n images, one after
                the other.

        Returns:
            (m * n,) True where the image is broken; never where a logit is NaN.

        Raises:
            InvalidInput: A target is no class of the model, or k leaves no other class.
        """
        self._check_classes(logits.shape[1])
        copies = logits.shape[0] // max(1, self.labels.shape[0])
        finite = logits.isfinite().all(dim=1)
        if self.targets is not None:
            targets = self.targets.to(logits.device).repeat(copies)
            return (logits.argmax(dim=1) == targets) & finite
        labels = self.labels.to(logits.device).repeat(copies)
        if self.kind == "top-k":
            return ~_in_top(logits, labels, self.top_k) & finite
        return (logits.argmax(dim=1) != labels) & finite

    def as_misclassification(self) -> Criterion:
        """The rule as attacks know it; ``top-k`` holds for logits from :meth:`lower_rivals`."""
        if self.kind != "top-k":
            return self
        return Criterion(kind="misclassification", labels=self.labels)

    def lower_rivals(self, logits: Logits) -> Logits:
        """Turn ``top-k`` into misclassification, which is all that most attacks aim at.

        The k - 1 strongest rivals of the label are put out of the running: then the label is
        not the top class exactly if it was not among the top k.

        Args:
            logits: (m * n, classes), as for :meth:`broken`.

        Returns:
            The same for other kinds; else a differentiable copy with lowered rivals.
        """
        if self.kind != "top-k":
            return logits
        labels = self.labels.to(logits.device)
        rows = labels.repeat(logits.shape[0] // max(1, labels.shape[0])).unsqueeze(1)
        known = logits.detach()
        rivals = known.scatter(1, rows, -math.inf).topk(self.top_k - 1, dim=1).indices
        floor = known.amin(dim=1, keepdim=True) - _FAR_BELOW
        return logits.scatter(1, rivals, floor.expand_as(rivals))

    def correct(self, logits: Logits) -> ImageFlags:
        """(n,) True where a clean image counts as right: in the top k, or the top class.

        Raises:
            InvalidInput: As for :meth:`broken`.
        """
        self._check_classes(logits.shape[1])
        labels = self.labels.to(logits.device)
        right = _in_top(logits, labels, self.top_k)
        return right & logits.isfinite().all(dim=1)

    def _check_classes(self, class_count: int) -> None:
        if self.targets is not None and bool((self.targets >= class_count).any()):
            message = f"expected targets below the number of classes, got {int(self.targets.max())}"
            raise InvalidInput(f"{message} of {class_count}")
        if self.kind == "top-k" and self.top_k >= class_count:
            message = f"expected top_k below the number of classes, got {self.top_k}"
            raise InvalidInput(f"{message} of {class_count}")


def _in_top(logits: Logits, labels: Labels, k: int) -> ImageFlags:
    if k == 1:
        return logits.argmax(dim=1) == labels
    top = logits.topk(k, dim=1).indices
    return (top == labels.unsqueeze(1)).any(dim=1)
