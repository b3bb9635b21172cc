"""An optimizer that divides its steps by a positive estimate of the diagonal of the Hessian.

every `every` steps, from a loss of its own (the caller's):
    z = +-1 at random;  D = z * (H z)                                  Hutchinson: E[D] = diag H
    curvature = decay * curvature + (1 - decay) * D                    bias corrected when used
every step:
    momentum = beta * momentum + (1 - beta) * gradient                 bias corrected
    positive = max(curvature, 0)                                       clamped: semi-definite
    step = clamp(momentum / max(scale * positive, floor), -1, 1)
    parameter -= lr * (step + weight_decay * parameter)                decoupled

Where the curvature is negative the divisor is the floor, and the clamp holds the step to lr: it
goes downhill like a sign method, and never uphill as a Newton step would.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from fgmf.errors import InvalidInput
from fgmf.scorpio.curvature_optimizer import CurvatureOptimizer
from fgmf.scorpio.hutchinson import CurvatureMode, Hutchinson

if TYPE_CHECKING:
    from collections.abc import Iterable


class CurvatureAware(CurvatureOptimizer):
    """Momentum over a clamped Hutchinson estimate of the Hessian's diagonal.

        if optimizer.due():
            optimizer.update_curvature(lambda: loss_of(model, images, labels))
        loss.backward()
        optimizer.step()

    Parameter groups have their own `lr`, `beta`, `curvature_decay`, `scale`, `floor` and
    `weight_decay`. `state_dict` holds everything: a run goes on bit by bit where it stopped.
    Gradient clipping and `torch.amp.GradScaler` work on the gradients before :meth:`step`, as
    with any optimizer; the curvature's loss comes unscaled, and an estimate that is not finite,
    or whose loss is not, is left out and counted in `skipped_estimates`; the first one warns.

    Args:
        params: Parameters or groups, all of one floating-point type.
        lr: Length of the longest step of a coordinate.
        beta: Of the momentum.
        curvature_decay: Of the average of estimates.
        scale: Of the curvature in the divisor: smaller takes longer steps, and clamps more.
        floor: Smallest divisor.
        weight_decay: Decoupled.
        every: Steps from one estimate to the next.
        mode: ``exact`` (double backward) or ``secant``, a finite difference, for compiled models
            and for losses whose exact curvature says nothing.
        secant_step: h of the difference, along a direction of +-1.
        seed: Of the random signs.

    Raises:
        InvalidInput: A value outside its range.

    Source: Liu et al. (2023), Sophia-H, for momentum, Hutchinson and clipping; Yao et al. (2021),
        AdaHessian, for the estimate. The document asks for a curvature-aware optimizer with a
        locally positive semi-definite Hessian: the clamp; the rest is our reconstruction.
    Cost: an estimate takes 1 forward and 2 backward passes (secant: 2 and 2); a step none.
    Randomness: (seed, number of the estimate) fixes the signs.
    """

    def __init__(  # noqa: PLR0913 - an optimizer has one argument per hyper-parameter
        self,
        params: Iterable[torch.Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float = 1e-3,
        beta: float = 0.9,
        curvature_decay: float = 0.95,
        scale: float = 0.05,
        floor: float = 1e-8,
        weight_decay: float = 0.0,
        every: int = 10,
        mode: CurvatureMode = "exact",
        secant_step: float = 1e-3,
        seed: int = 0,
    ) -> None:
        Hutchinson(mode=mode, secant_step=secant_step)
        if not isinstance(every, int) or every < 1:
            raise InvalidInput(f"expected every as a whole number above 0, got {every!r}")
        super().__init__(
            params,
            {
                "lr": lr,
                "beta": beta,
                "curvature_decay": curvature_decay,
                "scale": scale,
                "floor": floor,
                "weight_decay": weight_decay,
                "every": every,
                "mode": mode,
                "secant_step": secant_step,
                "seed": seed,
                "steps": 0,
                "estimates": 0,
                "skipped_estimates": 0,
            },
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with hyper-parameters of their own; see torch.

        Raises:
            InvalidInput: A hyper-parameter outside its range.
        """
        _check_group({**self.defaults, **param_group})
        super().add_param_group(param_group)

    @property
    def skipped_estimates(self) -> int:
        """Estimates that were left out, because they were not finite."""
        return int(self.param_groups[0]["skipped_estimates"])

    def due(self) -> bool:
        """Return whether an estimate is wanted before the next step."""
        group = self.param_groups[0]
        return bool(group["steps"] % group["every"] == 0)

    def _estimating(self) -> tuple[Hutchinson, int]:
        first = self.param_groups[0]
        estimating = Hutchinson(
            mode=first["mode"], secant_step=first["secant_step"], seed=first["seed"]
        )
        return estimating, first["estimates"]

    def _count_estimate(self, *, skipped: bool) -> None:
        for group in self.param_groups:
            group["estimates"] += 1
            group["skipped_estimates"] += skipped

    def _average(
        self, parameter: torch.Tensor, estimate: torch.Tensor, group: dict[str, Any]
    ) -> None:
        decay, state = group["curvature_decay"], self._state_of(parameter)
        state["curvature"].lerp_(estimate, 1.0 - decay)
        state["curvature_weight"] = decay * state["curvature_weight"] + 1.0 - decay

    def _move_all(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
            group["steps"] += 1

    def _move(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state, beta = self._state_of(parameter), group["beta"]
        state["momentum"].lerp_(gradient, 1.0 - beta)
        state["momentum_weight"] = beta * state["momentum_weight"] + 1.0 - beta
        momentum = state["momentum"] / state["momentum_weight"]
        known = state["curvature_weight"]
        positive = state["curvature"].clamp(min=0.0) / known if known else state["curvature"]
        divisor = (group["scale"] * positive).clamp(min=group["floor"])
        step = (momentum / divisor).clamp(-1.0, 1.0)
        parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
        parameter.add_(step, alpha=-group["lr"])

    def _state_of(self, parameter: torch.Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
            state["curvature"] = torch.zeros_like(parameter)
            state["momentum_weight"] = 0.0
            state["curvature_weight"] = 0.0
        return state


def _check_group(group: dict[str, Any]) -> None:
    for name, low, high in (
        ("lr", 0.0, math.inf),
        ("beta", 0.0, 1.0),
        ("curvature_decay", 0.0, 1.0),
        ("scale", 0.0, math.inf),
        ("floor", 0.0, math.inf),
        ("weight_decay", 0.0, math.inf),
    ):
        value, open_below = group[name], name in ("scale", "floor")
        inside = low < value < high if open_below else low <= value < high
        if not inside:
            bracket = "above" if open_below else "from"
            raise InvalidInput(f"expected {name} {bracket} {low:g}, below {high:g}, got {value!r}")
