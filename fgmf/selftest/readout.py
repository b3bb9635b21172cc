"""A linear read-out that tells one point on the edge of a ball from those inside it.

    w           = direction of the largest margin between the boundary point and all inner points
    threshold   = almost at the boundary point (`closeness`), so that chance does not reach it
    scale       : the clean image gets the margin that the model itself gives it

Source: Zimmermann et al. 2022 (decision boundary binarization), who fit a logistic regression,
which tends to the same direction on separable data; `closeness` .999 and logits on the scale of
the model's own as in their published runs. How the scale is chosen is ours [R].
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from fgmf.types import Logits

_HARD = 1e6
"""Penalty on a point on the wrong side: none is meant to be there."""
_MAX_ITERATIONS = 200_000
_SMALLEST_GAP = 1e-6
"""Share of the spread of the scores by which the boundary point must stand out."""


@dataclass(frozen=True, kw_only=True)
class Readout:
    """Two logits from features: class 0 inside, class 1 at the boundary point.

    Attributes:
        weights: (d,) float64.
        threshold: Score at which the class changes.
        scale: Logits per unit of score.
    """

    weights: torch.Tensor
    threshold: float
    scale: float

    def logits(self, features: torch.Tensor) -> Logits:
        """Features (n, d) to logits (n, 2), float64 where the device has it."""
        exact = torch.float32 if features.device.type == "mps" else torch.float64
        scores = features.to(exact) @ self.weights.to(features.device, exact)
        half = (scores - self.threshold) * (self.scale / 2)
        return torch.stack([-half, half], dim=1)


def fit_readout(
    inner: torch.Tensor, boundary: torch.Tensor, *, margin: float, closeness: float = 0.999
) -> Readout | None:
    """Fit a read-out, or say that there is none.

    Args:
        inner: (m, d) features of inner points, the clean image first.
        boundary: (d,) features of the boundary point.
        margin: Difference of the two logits that the clean image is to have; above 0.
        closeness: Where the threshold lies between the outermost inner point (0) and the
            boundary point (1).

    Returns:
        A read-out that separates these features in float64; None if none was found.

    Cost: one support vector machine on m + 1 points.
    """
    from sklearn.svm import SVC

    points = torch.cat([inner, boundary.unsqueeze(0)]).double().cpu()
    spread = float((points - points.mean(dim=0)).square().sum(dim=1).mean().sqrt())
    if not bool(points.isfinite().all()) or spread <= 0:
        return None
    centred = (points - points.mean(dim=0)) / spread
    machine = SVC(kernel="linear", C=_HARD, max_iter=_MAX_ITERATIONS)
    with warnings.catch_warnings():
        # Not converged means not separated, which is looked at below.
        warnings.simplefilter("ignore")
        machine.fit(centred.numpy(), [0] * len(inner) + [1])
    weights = torch.from_numpy(machine.coef_[0].copy()) / spread
    scores = points @ weights
    clean, highest, edge = float(scores[0]), float(scores[:-1].max()), float(scores[-1])
    gap = edge - highest
    if not gap > _SMALLEST_GAP * float(scores.max() - scores.min()):
        return None
    threshold = highest + closeness * gap
    return Readout(weights=weights, threshold=threshold, scale=margin / (threshold - clean))
