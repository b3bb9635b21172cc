"""One Hutchinson estimate of the diagonal of a Hessian in the parameters.

z = +-1 at random, by (seed, number);  D = z * (H z);  E[D] = diag H
a loss or gradient that is not finite:  D = NaN, whatever H z says
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from fgmf.curvature import ParameterCurvature
from fgmf.errors import InvalidInput
from fgmf.seeding import derive_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fgmf.curvature import PassCount

CurvatureMode = Literal["exact", "secant"]


@dataclass(frozen=True, kw_only=True)
class Hutchinson:
    """How estimates are made.

    Attributes:
        mode: ``exact`` (double backward) or ``secant``, a finite difference, for compiled models
            and for losses whose exact curvature says nothing.
        secant_step: h of the difference, along a direction of +-1.
        seed: Of the random signs.
    """

    mode: CurvatureMode = "exact"
    secant_step: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what estimates nothing.

        Raises:
            InvalidInput: An unknown mode, or a step that is none.
        """
        if self.mode not in ("exact", "secant"):
            raise InvalidInput(f"expected mode exact or secant, got {self.mode!r}")
        if not (math.isfinite(self.secant_step) and self.secant_step > 0):
            raise InvalidInput(f"expected secant_step above 0, got {self.secant_step!r}")

    def estimate(
        self,
        loss_of: Callable[[], torch.Tensor],
        parameters: Sequence[torch.Tensor],
        number: int,
    ) -> tuple[torch.Tensor, PassCount]:
        """Return an estimate (all parameters flattened, in order), and the passes spent.

        It is NaN throughout where a loss or the gradient is not finite: products may be finite
        there all the same, such as those of a loss that NaN makes linear.

        Args:
            loss_of: Computes the loss anew from the parameters as they are.
            parameters: All of one floating-point type.
            number: Of the estimate: with the seed it fixes the signs.

        Raises:
            GradientUnavailable: Mode ``exact`` on a compiled model.
            InvalidInput: A loss that is not one number.
        """
        losses: list[torch.Tensor] = []

        def one_loss() -> torch.Tensor:
            loss = loss_of()
            if loss.numel() != 1:
                raise InvalidInput(
                    f"expected one loss, got a tensor of shape {tuple(loss.shape)}; return its mean"
                )
            losses.append(loss.detach().flatten())
            return loss

        curvature = ParameterCurvature(
            one_loss,
            parameters,
            mode="double-backward" if self.mode == "exact" else "finite-difference",
            step=self.secant_step,
        )
        draws = torch.Generator().manual_seed(derive_seed(self.seed, "signs", number))
        signs = 2 * torch.randint(2, (1, curvature.size), generator=draws) - 1
        signs = signs.to(parameters[0])
        estimate = (signs * curvature.product(signs))[0]
        seen = (*losses, curvature.gradient.flatten())
        finite = torch.stack([values.isfinite().all() for values in seen]).all()
        return torch.where(finite, estimate, math.nan), curvature.cost
