"""Random search under Linf with squares, which asks for logits or labels alone.

    start: stripes of +-epsilon
    repeat: one square of the perturbation becomes +-epsilon; keep it where the margin falls

Where margins are flat (a model that gives labels), the walk goes on through ties.
Source: Andriushchenko et al. (2020), Square Attack; the window shrinks as there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

    from fgmf.threat import ThreatModel

_SHRINKS = (0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


def search(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    threat: ThreatModel,
    *,
    queries: int = 500,
    seed: int = 0,
) -> torch.Tensor:
    """Return the best point of each image."""
    draws = torch.Generator().manual_seed(seed)
    epsilon, (count, channels, height, width) = threat.epsilon, images.shape
    stripes = torch.randint(0, 2, (count, channels, 1, width), generator=draws) * 2.0 - 1
    best = (images + epsilon * stripes.expand_as(images)).clamp(*threat.bounds)
    least = _margins(model, best, labels)
    down, across = torch.arange(height)[:, None], torch.arange(width)
    for number in range(queries):
        side = _side(number / queries, height, width)
        rows = torch.randint(0, height - side + 1, (count, 1, 1, 1), generator=draws)
        columns = torch.randint(0, width - side + 1, (count, 1, 1, 1), generator=draws)
        signs = torch.randint(0, 2, (count, channels, 1, 1), generator=draws) * 2.0 - 1
        inside = (down >= rows) & (down < rows + side) & (across >= columns)
        inside = inside & (across < columns + side)
        moved = torch.where(inside, (images + epsilon * signs).clamp(*threat.bounds), best)
        now = _margins(model, moved, labels)
        better = (now <= least) & (least > 0)
        best = torch.where(better[:, None, None, None], moved, best)
        least = torch.where(better, now, least)
    return best


def _side(progress: float, height: int, width: int) -> int:
    share = 0.5 * 0.5 ** sum(progress > mark for mark in _SHRINKS)
    return max(1, min(height, width, round((share * height * width) ** 0.5)))


def _margins(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(n,) logit of the label less the best other; 0 or less is an adversarial example."""
    with torch.no_grad():
        logits = model(images).double()
    own = logits.gather(1, labels[:, None])[:, 0]
    return own - logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
