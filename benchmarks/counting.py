"""A model that counts what goes through it, and one judge for the images of every attack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from fgmf.threat import ThreatModel

_SLACK = 1e-5
JUDGE_DRAWS = 100
"""Over so many forward passes a random model's prediction is averaged in what is reported."""


class Counted(nn.Module):
    """A model, with the number of images that went forward and backward through it.

    Args:
        model: Maps images (n, ...) to logits (n, classes).

    Attributes:
        forward_passes: Rows of all forward passes.
        backward_passes: Rows of all passes backward from the logits.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.forward_passes = 0
        self.backward_passes = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """As the model, counted."""
        self.forward_passes += len(images)
        logits: torch.Tensor = _Tap.apply(self.model(images), self)  # type: ignore[no-untyped-call]
        return logits

    def taken(self) -> tuple[int, int]:
        """Return forward and backward passes since the last call."""
        counts = self.forward_passes, self.backward_passes
        self.forward_passes = self.backward_passes = 0
        return counts


class _Tap(torch.autograd.Function):
    """The identity; its backward counts rows."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, owner: Counted) -> torch.Tensor:  # noqa: ANN401
        ctx.owner = owner
        return logits.view_as(logits)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # noqa: ANN401
        ctx.owner.backward_passes += len(gradient)
        return gradient, None


def judged_broken(
    model: nn.Module,
    clean: torch.Tensor,
    changed: torch.Tensor,
    labels: torch.Tensor,
    threat: ThreatModel,
    *,
    draws: int = 0,
) -> torch.Tensor:
    """Judge images that an attack returned; the same for all attacks.

    Args:
        model: Without a counter.
        clean: (n, c, h, w).
        changed: (n, c, h, w) what the attack made of them.
        labels: (n,).
        threat: Linf or L2 ball, and box.
        draws: A random model's prediction is that of its mean probabilities over this many draws
            of fixed seeds; 0 for a model that is not random.

    Returns:
        (n,) True where the image lies in ball and box and the prediction is not the label.
    """
    distance = (changed - clean).flatten(1).double()
    size = distance.abs().amax(1) if threat.norm == "linf" else distance.norm(dim=1)
    lower, upper = threat.bounds
    boxed = ((changed >= lower - _SLACK) & (changed <= upper + _SLACK)).flatten(1).all(1)
    allowed = (size <= threat.epsilon * (1 + _SLACK) + _SLACK * (threat.norm == "linf")) & boxed
    return (predicted(model, changed, draws=draws) != labels) & allowed


def predicted(model: nn.Module, images: torch.Tensor, *, draws: int = 0) -> torch.Tensor:
    """Return (n,) classes; `draws` as in :func:`judged_broken`."""
    if not len(images):
        return torch.zeros(0, dtype=torch.int64)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        if not draws:
            return model(images).argmax(dim=1)
        mean = torch.zeros(())
        for draw in range(draws):
            torch.manual_seed(1000 + draw)
            mean = mean + model(images).double().softmax(dim=1)
        classes: torch.Tensor = mean.argmax(dim=1)
        return classes
