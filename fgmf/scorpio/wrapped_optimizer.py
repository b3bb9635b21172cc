"""Any optimizer, behind a positive estimate of the diagonal of the Hessian.

every `every` steps, from a loss of its own (the caller's):
    D = one Hutchinson estimate;  curvature = decay * curvature + (1 - decay) * D
every step:
    positive = max(curvature, 0)                                       clamped: semi-definite
    the base steps by  clamp(gradient / max(scale * positive, floor), -1, 1)  as its gradient

Momentum, rates, weight decay and their schedules are the base's own.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.scorpio.curvature_optimizer import CurvatureOptimizer
from fgmf.scorpio.hutchinson import Hutchinson


class CurvatureWrapped(CurvatureOptimizer):
    """Gives an optimizer gradients over a clamped Hutchinson estimate of the diagonal.

        optimizer = CurvatureWrapped(torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9))
        if optimizer.due():
            optimizer.update_curvature(lambda: loss_of(model, images, labels))
        loss.backward()
        optimizer.step()

    `param_groups` are the base's: schedulers of the rate, gradient clipping and
    `torch.amp.GradScaler` work as with the base. After a step `.grad` is what it was before.
    Take a base whose step grows with the gradient, such as SGD: Adam divides the gradient by its
    own size again.

    Args:
        base: Makes the step. Its parameters are all of one floating-point type.
        curvature_decay: Of the average of estimates.
        scale: Of the curvature in the divisor.
        floor: Smallest divisor.
        every: Steps from one estimate to the next.
        estimating: Mode, step of the difference, and seed of the signs.

    Raises:
        InvalidInput: A value outside its range, or a base that is no optimizer.

    Source: as :class:`CurvatureAware`; that the base gets the divided gradient is ours.
    Cost: an estimate takes 1 forward and 2 backward passes (secant: 2 and 2); a step none.
    Randomness: (seed, number of the estimate) fixes the signs.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        curvature_decay: float = 0.95,
        scale: float = 0.05,
        floor: float = 1e-8,
        every: int = 10,
        estimating: Hutchinson | None = None,
    ) -> None:
        if not isinstance(base, torch.optim.Optimizer):
            raise InvalidInput(f"expected an optimizer to wrap, got {type(base).__name__}")
        if not 0.0 <= curvature_decay < 1.0:
            raise InvalidInput(f"expected curvature_decay from 0, below 1, got {curvature_decay!r}")
        for name, value in (("scale", scale), ("floor", floor)):
            if not (math.isfinite(value) and value > 0):
                raise InvalidInput(f"expected {name} above 0, got {value!r}")
        if not isinstance(every, int) or every < 1:
            raise InvalidInput(f"expected every as a whole number above 0, got {every!r}")
        self.base: torch.optim.Optimizer | None = None
        super().__init__(base.param_groups, {})
        self.base, self.param_groups = base, base.param_groups
        self._decay, self._scale, self._floor, self._every = curvature_decay, scale, floor, every
        self._hutchinson = estimating or Hutchinson()
        self._steps, self._estimates, self.skipped_estimates = 0, 0, 0

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters to the base; see torch."""
        if self.base is None:  # while torch's own constructor takes over the base's groups
            super().add_param_group(param_group)
        else:
            self.base.add_param_group(param_group)

    def due(self) -> bool:
        """Return whether an estimate is wanted before the next step."""
        return self._steps % self._every == 0

    def _estimating(self) -> tuple[Hutchinson, int]:
        return self._hutchinson, self._estimates

    def _count_estimate(self, *, skipped: bool) -> None:
        self._estimates += 1
        self.skipped_estimates += skipped

    def _average(
        self,
        parameter: torch.Tensor,
        estimate: torch.Tensor,
        group: dict[str, Any],  # noqa: ARG002 - the base's, which knows no decay
    ) -> None:
        state = self.state[parameter]
        if not state:
            state["curvature"], state["weight"] = torch.zeros_like(parameter), 0.0
        state["curvature"].lerp_(estimate, 1.0 - self._decay)
        state["weight"] = self._decay * state["weight"] + 1.0 - self._decay

    def _move_all(self) -> None:
        """Let the base step by the divided gradients, which are put back afterwards."""
        plain = {p: p.grad for p in self._parameters() if p.grad is not None}
        try:
            for parameter, gradient in plain.items():
                parameter.grad = self._divided(parameter, gradient)
            if self.base is not None:
                self.base.step()
        finally:
            for parameter, gradient in plain.items():
                parameter.grad = gradient
        self._steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the base's state, the averages in the order of the parameters, and the counts."""
        if self.base is None:
            return {}
        kept = [self.state.get(p) or None for p in self._parameters()]
        return {
            "base": self.base.state_dict(),
            "curvature": [None if state is None else dict(state) for state in kept],
            "counts": [self._steps, self._estimates, self.skipped_estimates],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave, bit by bit.

        Raises:
            StaleEvidence: It is of other parameters.
        """
        if self.base is None:
            return
        kept, parameters = state_dict["curvature"], self._parameters()
        fits = len(kept) == len(parameters) and all(
            state is None or state["curvature"].shape == p.shape
            for state, p in zip(kept, parameters, strict=True)
        )
        if not fits:
            raise StaleEvidence("expected averages of these parameters, got those of others")
        self.base.load_state_dict(state_dict["base"])
        self.param_groups = self.base.param_groups
        self.state.clear()
        for parameter, state in zip(self._parameters(), kept, strict=True):
            if state is not None:
                curvature = state["curvature"].to(parameter.device).clone()
                self.state[parameter] = {"curvature": curvature, "weight": float(state["weight"])}
        self._steps, self._estimates, self.skipped_estimates = map(int, state_dict["counts"])

    def _parameters(self) -> list[torch.Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _divided(self, parameter: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        state = self.state.get(parameter)
        if not state:
            divisor = torch.full_like(gradient, self._floor)
        else:
            positive = state["curvature"].clamp(min=0.0) / state["weight"]
            divisor = (self._scale * positive).clamp(min=self._floor)
        return (gradient / divisor).clamp(-1.0, 1.0)
