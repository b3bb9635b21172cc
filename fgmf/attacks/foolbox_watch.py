"""Watching what a model answers while it is attacked: an answer of NaN is no robustness.

Attacks that keep the best point found so far swallow NaN, and those that add a distance to their
loss do not miss the model's gradient: the image would look as if nothing could break it. So the
answers are watched, image by image, and an image for which the model gave NaN or infinite logits
or gradients, or no gradient at all, counts as one that the attack could not be carried out on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fgmf.errors import AttackFailed

if TYPE_CHECKING:
    from fgmf.types import ImageFlags, Images, Logits

_LOGITS = "the model returned NaN or infinite logits during the attack"
_NO_GRADIENT = "no gradient leads from the model's output to the image"
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
        self._bad_gradient, self._beyond = self._bad_logits.clone(), self._bad_logits.clone()
        self._gradient_wanted = self._gradient_came = False

    def enter(self, unit_images: Images) -> Images:
        """Watch the images on their way into the model.

        Args:
            unit_images: (m * n, ...): m copies of the images, one after the other.

        Returns:
            The same images, for the model alone: what flows back through them is its gradient.

        Raises:
            AttackFailed: It is strict and a gradient is not finite; from where it is taken.
        """
        flat = unit_images.detach().flatten(1)
        self._beyond = beyond = (flat.amin(dim=1) < 0) | (flat.amax(dim=1) > 1)
        if not unit_images.requires_grad:
            return unit_images
        self._gradient_wanted = True

        def watch(gradient: torch.Tensor) -> None:
            self._gradient_came = True
            bad = ~gradient.flatten(1).isfinite().all(dim=1) & ~beyond
            self._bad_gradient |= self._by_image(bad)
            self._insist()

        entered = unit_images.view_as(unit_images)
        entered.register_hook(watch)
        return entered

    def leave(self, logits: Logits) -> None:
        """Watch what came out of the model for the images that went in last.

        Args:
            logits: (m * n, classes).

        Raises:
            AttackFailed: It is strict and a logit is not finite.
        """
        self._bad_logits |= self._by_image(~logits.isfinite().all(dim=1) & ~self._beyond)
        self._insist()

    def failures(self) -> dict[int, str]:
        """Reason by position, for the images that saw such an answer."""
        if self._gradient_wanted and not self._gradient_came:
            return dict.fromkeys(range(self._count), _NO_GRADIENT)
        found = dict.fromkeys(self._bad_gradient.nonzero().flatten().tolist(), _GRADIENT)
        return found | dict.fromkeys(self._bad_logits.nonzero().flatten().tolist(), _LOGITS)

    def _insist(self) -> None:
        if self._strict and bool((self._bad_logits | self._bad_gradient).any()):
            raise AttackFailed(_LOGITS if bool(self._bad_logits.any()) else _GRADIENT)

    def _by_image(self, flags: torch.Tensor) -> ImageFlags:
        return flags.reshape(-1, self._count).any(dim=0)
