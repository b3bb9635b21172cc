"""The model, asked about points; passes counted per image, and what looked wrong kept.

Cost: one forward per row and call, one backward per row where a gradient is taken, times the
passes that one call of the logits function costs by its own say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fgmf.attacks.own.losses import LossName, logit_direction
from fgmf.attacks.own.task import LogitsFunction, passes_per_call
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.attacks.criteria import Criterion
    from fgmf.types import Images, Labels, Logits


class Questions:
    """One attack's questions to a model.

    Args:
        logits: The model.
        image_count: n, images of the task.
        device: Where answers are wanted.

    Attributes:
        forward_passes: (n,) int64, on the CPU.
        backward_passes: (n,) int64.
        vanished: (n,) a gradient of this image was zero in every entry.
        not_finite: (n,) logits or a gradient of this image held NaN or infinity.
    """

    def __init__(self, logits: LogitsFunction, image_count: int, device: torch.device) -> None:
        self._logits, self._device = logits, device
        self._cost = passes_per_call(logits)
        self.forward_passes = torch.zeros(image_count, dtype=torch.int64)
        self.backward_passes = torch.zeros(image_count, dtype=torch.int64)
        self.vanished = torch.zeros(image_count, dtype=torch.bool)
        self.not_finite = torch.zeros(image_count, dtype=torch.bool)

    def logits(self, points: Images, position: torch.Tensor) -> Logits:
        """Ask without a gradient.

        Args:
            points: (m, ...).
            position: (m,) which image of the task each is about.

        Returns:
            (m, classes) detached, on the device.

        Raises:
            InvalidInput: The model returned something else.
        """
        with torch.no_grad():
            return self._checked(self._logits(points.detach()), position)

    def gradient(
        self,
        points: Images,
        position: torch.Tensor,
        loss: LossName,
        criterion: Criterion,
        targets: Labels,
    ) -> tuple[Logits, torch.Tensor, Images]:
        """Ask with a gradient.

        Args:
            points: (m, ...).
            position: (m,) which image of the task each is about.
            loss: What is raised.
            criterion: For these m points.
            targets: (m,) class aimed at, or `NO_TARGET`.

        Returns:
            (m, classes) logits; (m,) float64 loss; (m, ...) its gradient up to a positive factor
            per row (1 for the margin), zero where it is not finite.

        Raises:
            InvalidInput: The model returned no logits, or cut the graph.
        """
        with torch.enable_grad():
            inputs = points.detach().requires_grad_()
            raw = self._logits(inputs)
        seen = self._checked(raw.detach(), position)
        if not raw.requires_grad:
            message = (
                "expected logits with a gradient to the images, got logits cut from the graph; "
                "use a score-based attack, or SubstituteBackward"
            )
            raise InvalidInput(message)
        values, direction = logit_direction(loss, seen, criterion, targets)
        (slope,) = torch.autograd.grad(raw, inputs, direction.nan_to_num(nan=0.0).to(raw))
        self._count(self.backward_passes, position)
        flat = slope.flatten(1)
        self._mark(self.not_finite, position, ~flat.isfinite().all(dim=1))
        self._mark(self.vanished, position, (flat == 0).all(dim=1))
        return seen, values, slope.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)

    def _checked(self, logits: Logits, position: torch.Tensor) -> Logits:
        if logits.ndim != 2 or logits.shape[0] != len(position):
            shape = tuple(logits.shape)
            raise InvalidInput(f"expected logits ({len(position)}, classes), got shape {shape}")
        self._count(self.forward_passes, position)
        seen = logits.to(self._device)
        self._mark(self.not_finite, position, ~seen.isfinite().all(dim=1))
        return seen

    def _count(self, passes: torch.Tensor, position: torch.Tensor) -> None:
        places = position.cpu()
        passes.index_add_(0, places, torch.full_like(places, self._cost))

    @staticmethod
    def _mark(flags: torch.Tensor, position: torch.Tensor, holds: torch.Tensor) -> None:
        flags[position[holds].cpu()] = True
