"""Watching what a model answers while it is attacked: an answer of NaN is no robustness.

Attacks that keep the best point found so far swallow NaN: the image would look as if nothing
could break it. So the answers are watched, image by image, and an image for which the model
gave NaN or infinite logits or gradients counts as one that the attack could not be carried out
on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fgmf.errors import AttackFailed

if TYPE_CHECKING:
    from fgmf.types import ImageFlags, Images, Logits

_LOGITS = "the model returned NaN or infinite logits during the attack"
_GRADIENT = "the model's gradient was NaN or infinite during the attack"


class FiniteWatch:
    """Which of the n images of a batch saw an answer that is not finite.

    Points outside the unit box are not watched: some attacks extrapolate beyond it, where a
    model owes no answer.

    Args:
        image_count: n.
        device: Where the answers lie.
        strict: Raise at once, for attacks that would never come back from NaN.
    """

    def __init__(self, image_count: int, device: torch.device, *, strict: bool = False) -> None:
        self._count, self._strict = image_count, strict
        self._bad_logits = torch.zeros(image_count, dtype=torch.bool, device=device)
        self._bad_gradient = self._bad_logits.clone()

    def observe(self, unit_images: Images, logits: Logits) -> None:
        """Watch one pass, and the gradient that is taken through it.

        Args:
            unit_images: (m * n, ...): m copies of the images, one after the other.
            logits: (m * n, classes) of them.

        Raises:
            AttackFailed: It is strict and an answer is not finite; from here, or from where the
                gradient is taken.
        """
        flat = unit_images.detach().flatten(1)
        beyond = (flat.amin(dim=1) < 0) | (flat.amax(dim=1) > 1)
        self._bad_logits |= self._by_image(~logits.isfinite().all(dim=1) & ~beyond)
        self._insist()
        if not unit_images.requires_grad:
            return

        def watch(gradient: torch.Tensor) -> None:
            bad = ~gradient.flatten(1).isfinite().all(dim=1) & ~beyond
            self._bad_gradient |= self._by_image(bad)
            self._insist()

        unit_images.register_hook(watch)

    def failures(self) -> dict[int, str]:
        """Reason by position, for the images that saw such an answer."""
        found = dict.fromkeys(self._bad_gradient.nonzero().flatten().tolist(), _GRADIENT)
        return found | dict.fromkeys(self._bad_logits.nonzero().flatten().tolist(), _LOGITS)

    def _insist(self) -> None:
        if not self._strict:
            return
        for reason in self.failures().values():
            raise AttackFailed(reason)

    def _by_image(self, flags: torch.Tensor) -> ImageFlags:
        return flags.reshape(-1, self._count).any(dim=0)
