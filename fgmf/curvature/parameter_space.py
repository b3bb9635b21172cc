"""Products of the Hessian with directions in the space of the parameters.

ParameterCurvature   H v of one scalar loss, flattened, for its spectrum and for optimizers
    double-backward     H v = d <g, v> / d theta
    finite-difference   H v ~ (g(theta + h v) - g(theta)) / h
per image            H_i v of each image's loss, all at once:  vmap over images of jvp(grad)
along one direction  v'H_i v of each image's loss, from such products

Two nested forward derivatives would give v'H_i v more cheaply, but are wrong through torch's layer
norm (2.13), without a warning: not used.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch.nn.functional import cross_entropy

from fgmf.curvature.passes import GRADIENT_COST, PRODUCT_COSTS, PassCount, second_derivatives
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from fgmf.types import Images, Labels

ParameterMode: TypeAlias = Literal["double-backward", "finite-difference"]


class ParameterCurvature:
    """Gradient and Hessian of one scalar loss in some parameters.

    Vectors are flat: (1, d), the parameters one after the other, so that
    :func:`fgmf.curvature.lanczos` applies.

    Args:
        loss_of: Computes the loss anew from the parameters as they are.
        parameters: Those to differentiate, all of one floating-point type. The difference mode
            moves them and puts them back.
        mode: ``double-backward``, exact, or ``finite-difference``.
        step: h of the difference, a multiple of the direction.

    Raises:
        InvalidInput: No parameters, parameters of several types, a mode or step that is none.

    Cost: as in :mod:`fgmf.curvature.passes`.
    """

    def __init__(
        self,
        loss_of: Callable[[], torch.Tensor],
        parameters: Sequence[torch.Tensor],
        *,
        mode: ParameterMode = "double-backward",
        step: float = 1e-3,
    ) -> None:
        if mode not in ("double-backward", "finite-difference"):
            raise InvalidInput(
                f"expected a mode of double-backward, finite-difference, got {mode!r}"
            )
        if not (math.isfinite(step) and step > 0):
            raise InvalidInput(f"expected a step above 0, got {step!r}")
        types = {p.dtype for p in parameters}
        if len(types) != 1 or not all(p.requires_grad for p in parameters):
            raise InvalidInput(
                "expected parameters of one floating-point type that require a gradient, "
                f"got {len(parameters)} of types {sorted(map(str, types))}"
            )
        self.mode: ParameterMode = mode
        self.step = step
        self._loss_of, self._parameters = loss_of, list(parameters)
        self._gradient: tuple[torch.Tensor, ...] | None = None
        self._cost = PassCount()

    @property
    def size(self) -> int:
        """Length d of a flat vector."""
        return sum(p.numel() for p in self._parameters)

    @property
    def cost(self) -> PassCount:
        """Passes so far."""
        return self._cost

    @property
    def gradient(self) -> torch.Tensor:
        """(1, d)."""
        return self._flat(self._point())

    def product(self, directions: torch.Tensor) -> torch.Tensor:
        """Hessian times one direction.

        Args:
            directions: (1, d), one flat tensor.

        Returns:
            (1, d).

        Raises:
            InvalidInput: No tensor, or one of another shape.
            GradientUnavailable: The exact mode on a loss without second derivative.
        """
        tensor = isinstance(directions, torch.Tensor)
        if not tensor or directions.shape != (1, self.size):
            got = tuple(directions.shape) if tensor else type(directions).__name__
            raise InvalidInput(
                f"expected directions as one tensor of shape (1, {self.size}), got {got}; flatten "
                "those of several parameters and join them with torch.cat"
            )
        pieces = self._pieces(directions)
        exact = self.mode == "double-backward"
        product = self._exact(pieces) if exact else self._difference(pieces)
        self._cost += PRODUCT_COSTS[self.mode]
        return product

    def _point(self) -> tuple[torch.Tensor, ...]:
        if self._gradient is None:
            self._gradient = self._gradient_here(keep_graph=self.mode == "double-backward")
            self._cost += GRADIENT_COST
        return self._gradient

    def _gradient_here(self, *, keep_graph: bool) -> tuple[torch.Tensor, ...]:
        with torch.enable_grad(), second_derivatives():
            return torch.autograd.grad(
                self._loss_of(),
                self._parameters,
                create_graph=keep_graph,
                allow_unused=True,
                materialize_grads=True,
            )

    def _exact(self, pieces: list[torch.Tensor]) -> torch.Tensor:
        used = [
            (slope, piece)
            for slope, piece in zip(self._point(), pieces, strict=True)
            if slope.requires_grad
        ]
        if not used:
            return torch.zeros(1, self.size, dtype=pieces[0].dtype, device=pieces[0].device)
        with torch.enable_grad(), second_derivatives():
            found = torch.autograd.grad(
                [slope for slope, _ in used],
                self._parameters,
                grad_outputs=[piece for _, piece in used],
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        return self._flat(found)

    def _difference(self, pieces: list[torch.Tensor]) -> torch.Tensor:
        here = self._flat(self._point())
        kept = [p.detach().clone() for p in self._parameters]
        try:
            with torch.no_grad():
                for parameter, piece in zip(self._parameters, pieces, strict=True):
                    parameter.add_(piece, alpha=self.step)
            there = self._flat(self._gradient_here(keep_graph=False))
        finally:
            with torch.no_grad():
                for parameter, value in zip(self._parameters, kept, strict=True):
                    parameter.copy_(value)
        return (there - here) / self.step

    def _pieces(self, flat: torch.Tensor) -> list[torch.Tensor]:
        parts = flat[0].split([p.numel() for p in self._parameters])
        return [part.view_as(p) for part, p in zip(parts, self._parameters, strict=True)]

    def _flat(self, pieces: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat([piece.detach().flatten() for piece in pieces])[None]


def parameter_products_per_image(
    model: nn.Module, images: Images, labels: Labels, directions: torch.Tensor
) -> torch.Tensor:
    """Hessian of each image's cross-entropy in all parameters, times its own direction.

    Args:
        model: Maps images to logits, each row from its image alone; parameters that require no
            gradient are left out.
        images: (n, c, h, w).
        labels: (n,) int64.
        directions: (n, d), parameters flattened one after the other in their own order.

    Returns:
        (n, d).

    Raises:
        InvalidInput: Directions of another shape.
        GradientUnavailable: An operation without forward derivatives.

    Cost: 2 forward and 2 backward passes, with n gradients of the parameters in memory.
    """
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    sizes = [p.numel() for p in parameters.values()]
    if directions.shape != (len(images), sum(sizes)):
        raise InvalidInput(
            f"expected directions of shape ({len(images)}, {sum(sizes)}), "
            f"got {tuple(directions.shape)}"
        )

    def loss(values: dict[str, torch.Tensor], image: Images, label: Labels) -> torch.Tensor:
        logits = torch.func.functional_call(model, values, (image[None],))
        return cross_entropy(logits, label[None])

    def one(image: Images, label: Labels, direction: torch.Tensor) -> torch.Tensor:
        parts = direction.split(sizes)
        tangents = {
            name: part.view_as(p) for part, (name, p) in zip(parts, parameters.items(), strict=True)
        }
        product = torch.func.jvp(
            lambda values: torch.func.grad(loss)(values, image, label), (parameters,), (tangents,)
        )[1]
        return torch.cat([product[name].flatten() for name in parameters])

    with second_derivatives():
        found: torch.Tensor = torch.func.vmap(one)(images, labels, directions)
    return found


def parameter_curvature_per_image(
    model: nn.Module,
    images: Images,
    labels: Labels,
    direction: torch.Tensor,
    *,
    chunk_size: int = 32,
) -> torch.Tensor:
    """v'H_i v / v'v of each image's cross-entropy, for one direction v of all parameters.

    Args:
        model: As in :func:`parameter_products_per_image`.
        images: (n, c, h, w).
        labels: (n,) int64.
        direction: (d,), not zero.
        chunk_size: Images at once: that many gradients of the parameters are in memory.

    Returns:
        (n,).

    Raises:
        InvalidInput: A direction of another shape, or zero.

    Cost: 2 forward and 2 backward passes.
    """
    length = direction.square().sum()
    if direction.ndim != 1 or not bool(length > 0):
        raise InvalidInput(
            f"expected a direction of shape (d,) that is not zero, got {tuple(direction.shape)}"
        )
    found = [
        parameter_products_per_image(model, some, of, direction.expand(len(some), -1)) @ direction
        for some, of in zip(images.split(chunk_size), labels.split(chunk_size), strict=True)
    ]
    return torch.cat(found) / length
