"""When an image counts as broken, judged from logits alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    import torch

    from fgmf.types import ImageFlags, Labels, Logits

CriterionKind = Literal["misclassification", "targeted", "top-k"]


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
        """
        copies = logits.shape[0] // max(1, self.labels.shape[0])
        finite = logits.isfinite().all(dim=1)
        if self.kind == "targeted" and self.targets is not None:
            targets = self.targets.to(logits.device).repeat(copies)
            return (logits.argmax(dim=1) == targets) & finite
        labels = self.labels.to(logits.device).repeat(copies)
        if self.kind == "top-k":
            return ~_in_top(logits, labels, self.top_k) & finite
        return (logits.argmax(dim=1) != labels) & finite

    def correct(self, logits: Logits) -> ImageFlags:
        """(n,) True where a clean image counts as right: in the top k, or the top class."""
        labels = self.labels.to(logits.device)
        right = _in_top(logits, labels, self.top_k)
        return right & logits.isfinite().all(dim=1)


def _in_top(logits: Logits, labels: Labels, k: int) -> ImageFlags:
    if k == 1:
        return logits.argmax(dim=1) == labels
    if k >= logits.shape[1]:
        message = f"expected top_k below the number of classes, got {k} of {logits.shape[1]}"
        raise InvalidInput(message)
    top = logits.topk(k, dim=1).indices
    return (top == labels.unsqueeze(1)).any(dim=1)
