"""Whether a model is right, image by image, in fresh forward passes."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

    from specimens.value import Subject

DRAWS = 24


def fresh(model: nn.Module) -> nn.Module:
    """A copy, so that what an attack did to a model with memory is not judged."""
    return copy.deepcopy(model).eval()


def right(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, draws: int = 1
) -> torch.Tensor:
    """(n,) share of passes that give the label; NaN logits give none."""
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    hits = torch.zeros(len(images), dtype=torch.float64)
    with torch.no_grad():
        for _ in range(draws):
            logits = model(images.to(dtype))
            valid = torch.isfinite(logits).all(dim=1)
            hits += ((logits.argmax(dim=1) == labels) & valid).double()
    return hits / draws


def judged(subject: Subject, candidates: list[torch.Tensor]) -> torch.Tensor:
    """(n,) how often each image is still right at the worst of its candidates.

    Candidates are brought back into the ball and the box first. For random models the worst is
    chosen with some draws and judged with others, so that luck is not counted as an attack.
    """
    images, labels, threat = subject.images, subject.labels, subject.threat
    lower = (images - threat.epsilon).clamp(*threat.bounds)
    upper = (images + threat.epsilon).clamp(*threat.bounds)
    points = [images, *(c.detach().float().clamp(lower, upper) for c in candidates)]
    model = fresh(subject.model)
    draws = DRAWS if subject.random else 1
    shares = torch.stack([right(model, point, labels, draws=draws) for point in points])
    if not subject.random:
        return shares.amin(dim=0)
    worst = shares.argmin(dim=0)
    chosen = torch.stack(points)[worst, torch.arange(len(images))]
    again = right(model, chosen, labels, draws=draws)
    return torch.minimum(again, right(model, images, labels, draws=draws))
