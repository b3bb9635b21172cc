"""The model, asked about points; passes counted per image, and what looked wrong kept.

Rows are asked about in parts where memory runs out, and a row that makes the model raise fails
alone (`parts`). An image that failed is not asked about again: its answers are NaN.

Cost: one forward per row and call, one backward per row where a gradient is taken, times the
passes that one call of the logits function costs by its own say; attempts count, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fgmf.attacks.own.losses import LossName, logit_direction
from fgmf.attacks.own.parts import Parts, Raised
from fgmf.attacks.own.task import LogitsFunction, passes_per_call
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.attacks.criteria import Criterion
    from fgmf.types import Images, Labels, Logits


@dataclass(frozen=True, kw_only=True)
class _Reply:
    """What the model said about some rows; `wrong` if it is no answer at all."""

    logits: Logits
    loss: torch.Tensor
    slope: Images
    wrong: InvalidInput | None = None


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
        failures: What the model raised, by image.
    """

    def __init__(self, logits: LogitsFunction, image_count: int, device: torch.device) -> None:
        self._logits, self._device = logits, device
        self._cost = passes_per_call(logits)
        self._parts = Parts()
        self.forward_passes = torch.zeros(image_count, dtype=torch.int64)
        self.backward_passes = torch.zeros(image_count, dtype=torch.int64)
        self.vanished = torch.zeros(image_count, dtype=torch.bool)
        self.not_finite = torch.zeros(image_count, dtype=torch.bool)
        self.failures: dict[int, Exception] = {}
        self._classes: int | None = None

    def knows(self, logits: Logits) -> None:
        """Take the number of classes from logits that are known already."""
        self._classes = logits.shape[1]

    def logits(self, points: Images, position: torch.Tensor) -> Logits:
        """Ask without a gradient.

        Args:
            points: (m, ...).
            position: (m,) which image of the task each is about.

        Returns:
            (m, classes) detached, on the device; NaN for images that made the model raise.

        Raises:
            InvalidInput: The model returned something else, or memory ran out for one row.
            BudgetSpent: From the logits function.
        """

        def ask(at: torch.Tensor) -> _Reply:
            asked = points[at].detach()
            with torch.no_grad():
                raw = self._logits(asked)
            return _Reply(
                logits=raw, loss=raw, slope=points[:0], wrong=_wrong_shape(raw, asked.shape[0])
            )

        return self._asked(position, ask, points[:0])[0]

    def confirmed(self, points: Images, position: torch.Tensor) -> Logits | None:
        """Ask a random model about points that look broken, by draws of their own.

        Args:
            points: (m, ...).
            position: (m,) which image of the task each is about.

        Returns:
            (m, classes) detached; None where the model has nothing to confirm.

        Raises:
            InvalidInput: As for `logits`.
            BudgetSpent: From the logits function.
        """
        cost: int = getattr(self._logits, "passes_to_confirm", 0)
        if not cost:
            return None

        def ask(at: torch.Tensor) -> _Reply:
            with torch.no_grad():
                raw = self._logits.confirm(points[at].detach())  # type: ignore[attr-defined]
            return _Reply(logits=raw, loss=raw, slope=points[:0], wrong=_wrong_shape(raw, len(at)))

        return self._asked(position, ask, points[:0], cost=cost)[0]

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
            per row (1 for the margin), zero where it is not finite. NaN, NaN and zero for
            images that made the model raise.

        Raises:
            InvalidInput: The model returned no logits, or cut the graph; or as for `logits`.
            BudgetSpent: From the logits function.
        """

        def ask(at: torch.Tensor) -> _Reply:
            with torch.enable_grad():
                inputs = points[at].detach().requires_grad_()
                raw = self._logits(inputs)
            wrong = _wrong_shape(raw, inputs.shape[0]) or _cut_graph(raw)
            if wrong is not None:
                return _Reply(logits=raw.detach(), loss=raw, slope=inputs, wrong=wrong)
            seen = raw.detach().to(self._device)
            values, direction = logit_direction(loss, seen, criterion.of(at), targets[at])
            self._count(self.backward_passes, position[at])
            (slope,) = torch.autograd.grad(raw, inputs, direction.nan_to_num(nan=0.0).to(raw))
            return _Reply(logits=seen, loss=values, slope=slope)

        logits, values, slope = self._asked(position, ask, points)
        flat = slope.flatten(1)
        asked = self._unfailed(position)
        self._mark(self.not_finite, position, ~flat.isfinite().all(dim=1))
        self._mark(self.vanished, position, (flat == 0).all(dim=1) & asked)
        return logits, values, slope.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)

    def _asked(
        self,
        position: torch.Tensor,
        ask: Callable[[torch.Tensor], _Reply],
        like: Images,
        *,
        cost: int | None = None,
    ) -> tuple[Logits, torch.Tensor, Images]:
        """Ask about all rows but those of failed images, and put the answers in place."""
        rows = self._unfailed(position).nonzero()[:, 0]

        def ask_part(part: slice) -> _Reply:
            self._count(self.forward_passes, position[rows[part]], cost)
            return ask(rows[part])

        replies: list[tuple[torch.Tensor, _Reply]] = []
        for part, reply in self._parts.answers(len(rows), ask_part):
            if isinstance(reply, Raised):
                self._fail(position[rows[part]], reply.error)
            elif reply.wrong is not None:
                raise reply.wrong
            else:
                self._classes = reply.logits.shape[1]
                replies.append((rows[part], reply))
        return self._placed(position, replies, like)

    def _placed(
        self, position: torch.Tensor, replies: list[tuple[torch.Tensor, _Reply]], like: Images
    ) -> tuple[Logits, torch.Tensor, Images]:
        if self._classes is None:  # every row made the model raise, and nothing is known of it
            raise next(iter(self.failures.values()))
        count = len(position)
        first = replies[0][1].logits if replies else torch.zeros(0, device=self._device)
        logits = torch.full((count, self._classes), torch.nan, dtype=first.dtype).to(self._device)
        loss = torch.full((count,), torch.nan, dtype=torch.float64).to(self._device)
        slope = torch.zeros_like(like)
        for at, reply in replies:
            logits[at] = reply.logits.to(logits)
            if len(like):
                loss[at], slope[at] = reply.loss, reply.slope.to(slope)
        asked = self._unfailed(position)
        self._mark(self.not_finite, position, ~logits.isfinite().all(dim=1) & asked)
        return logits, loss, slope

    def _unfailed(self, position: torch.Tensor) -> torch.Tensor:
        if not self.failures:
            return torch.ones_like(position, dtype=torch.bool)
        failed = torch.tensor(list(self.failures), device=position.device)
        return ~torch.isin(position, failed)

    def _fail(self, position: torch.Tensor, error: Exception) -> None:
        self.failures.setdefault(int(position[0]), error)

    def _count(self, passes: torch.Tensor, position: torch.Tensor, cost: int | None = None) -> None:
        places = position.cpu()
        each = self._cost if cost is None else cost
        passes.index_add_(0, places, torch.full_like(places, each))

    @staticmethod
    def _mark(flags: torch.Tensor, position: torch.Tensor, holds: torch.Tensor) -> None:
        flags[position[holds].cpu()] = True


def _wrong_shape(logits: Logits, count: int) -> InvalidInput | None:
    if logits.ndim == 2 and logits.shape[0] == count:
        return None
    shape = tuple(logits.shape)
    return InvalidInput(f"expected logits ({count}, classes), got shape {shape}")


def _cut_graph(logits: Logits) -> InvalidInput | None:
    if logits.requires_grad:
        return None
    return InvalidInput(
        "expected logits with a gradient to the images, got logits cut from the graph; "
        "use a score-based attack, or SubstituteBackward"
    )
