"""Saliency-guided training: what the gradient calls unimportant must not matter.

s = |d logit of the label / dx|, summed over channels
x~ = x with the pixels of the smallest s, `share` of them, replaced by noise in [min x, max x]
loss = CE(f(x), y) + weight KL(p(x) || p(x~))

It is no defence: models trained by it alone are easier to attack than plain ones. It is here to be
compared, and to be put under adversarial recipes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from fgmf.errors import InvalidInput
from fgmf.scorpio.salience import salient_region
from fgmf.training.perturbations import evaluating
from fgmf.training.schedule import Schedule, check_positive

if TYPE_CHECKING:
    from torch import nn

    from fgmf.types import Bounds, Images, Labels


@dataclass(frozen=True, kw_only=True)
class SaliencyGuidedRecipe:
    """Clean cross-entropy, and the divergence when unimportant pixels become noise.

    Attributes:
        weight: Of the divergence.
        share: Of the pixels that are replaced; exact, however many gradients are equal.
        bounds: Range of the pixels.
        schedule: Length and speed.

    Source: Ismail et al. (2021), saliency-guided training (weight 1, half of the pixels). The
        gradient of the label's logit and the sum over channels are our reading. That it makes
        models easier to attack: arXiv 2306.16581.
    Cost: 3 forward and 3 backward passes per image and epoch.
    """

    weight: float = 1.0
    share: float = 0.5
    bounds: Bounds = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse what replaces nothing, or everything."""
        check_positive(self, "weight")
        if not 0.0 < self.share < 1.0:
            raise InvalidInput(f"expected a share between 0 and 1, got {self.share!r}")

    @property
    def passes(self) -> tuple[float, float]:
        """Forward and backward passes per image and epoch."""
        return 3, 3

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        *,
        progress: float,  # noqa: ARG002 - of the interface
        draws: torch.Generator,
    ) -> torch.Tensor:
        """Cross-entropy and divergence; see :meth:`fgmf.training.Recipe.loss`."""
        replaced = self.replaced(model, images, labels, draws=draws)
        logits = model(images)
        divergence = kl_div(
            log_softmax(model(replaced), dim=1),
            log_softmax(logits, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return cross_entropy(logits, labels) + self.weight * divergence

    def replaced(
        self, model: nn.Module, images: Images, labels: Labels, *, draws: torch.Generator
    ) -> Images:
        """Images with noise where the gradient is smallest, without gradient.

        Cost: 1 forward and 1 backward pass.
        """
        at = images.detach().clone().requires_grad_()
        with evaluating(model):
            chosen = model(at).gather(1, labels[:, None]).sum()
            (gradient,) = torch.autograd.grad(chosen, at)
        kept = salient_region(gradient.abs().sum(dim=1, keepdim=True), 1.0 - self.share)
        low, high = (
            end(images.flatten(1), dim=1).view(-1, 1, 1, 1) for end in (torch.amin, torch.amax)
        )
        drawn = torch.rand(images.shape, generator=draws, dtype=images.dtype).to(images.device)
        return torch.where(kept, images, low + (high - low) * drawn).detach()
