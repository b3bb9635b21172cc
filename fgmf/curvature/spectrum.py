"""The ends of each image's Hessian spectrum, from products alone.

Lanczos, all images at once, with full reorthogonalisation (twice):
    q_1 = start / |start|
    for j = 1..k:  w = H q_j;  a_j = q_j'w;  w -= (all q) (all q)'w, twice;  b_j = |w|
                   q_{j+1} = w / b_j         b_j ~ 0: a fresh direction orthogonal to all, b_j = 0
    eigenpairs of the tridiagonal matrix (a, b): values, and vectors = Q y
    residual |H u - value u| = b_k |last entry of y|
power iteration:  q = H q / |H q|, value = q'H q:  the eigenvalue that is largest in magnitude
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import torch

from fgmf.errors import InvalidInput, NonFiniteOutput
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.curvature.passes import PassCount

SpectrumEnd: TypeAlias = Literal["largest", "smallest"]


class Products(Protocol):
    """Hessians that can be applied: :class:`InputCurvature`, :class:`ParameterCurvature`."""

    @property
    def cost(self) -> PassCount:
        """Passes so far."""

    def product(self, directions: torch.Tensor, /) -> torch.Tensor:
        """Apply one Hessian per row: (n, ...) to (n, ...)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Eigenpairs:
    """Some eigenvalues of each image's Hessian.

    Attributes:
        values: (n, count), the end that was asked for first.
        vectors: (n, count, ...), of length 1.
        residuals: (n, count): |H u - value u|. An eigenvalue of H lies within it of each value.
        cost: Passes over the batch.
    """

    values: torch.Tensor
    vectors: torch.Tensor
    residuals: torch.Tensor
    cost: PassCount


def random_directions(
    like: torch.Tensor, *, seed: int, keys: Sequence[str | int] | None = None
) -> torch.Tensor:
    """Gaussian directions of length 1, one per image.

    Args:
        like: (n, ...): gives shape, type and device.
        seed: Of the measurement.
        keys: One per image; its number in the batch if left out.

    Returns:
        (n, ...). Each depends on the seed and the image's key alone, not on the batch.
    """
    keys = range(len(like)) if keys is None else keys
    if len(keys) != len(like):
        raise InvalidInput(f"expected {len(like)} keys, one per image, got {len(keys)}")
    drawn = [
        torch.from_numpy(image_generator(seed, key, "direction").standard_normal(like[0].numel()))
        for key in keys
    ]
    rows = torch.stack(drawn) if drawn else torch.empty(0, 0, dtype=torch.float64)
    unit = rows / rows.norm(dim=1, keepdim=True)
    directions: torch.Tensor = unit.reshape(like.shape).to(device=like.device, dtype=like.dtype)
    return directions


def lanczos(
    hessians: Products,
    start: torch.Tensor,
    *,
    iterations: int = 20,
    count: int = 1,
    end: SpectrumEnd = "largest",
) -> Eigenpairs:
    """Compute eigenvalues at one end of each image's spectrum.

    Args:
        hessians: Applied once per iteration.
        start: (n, ...), no row zero: :func:`random_directions`.
        iterations: Size of the Krylov space, at most the dimension; more is more exact.
        count: Eigenvalues per image, at most `iterations`.
        end: ``largest`` or ``smallest``, algebraically.

    Returns:
        Values with their residuals.

    Raises:
        InvalidInput: Numbers that do not fit, or a start of zero.
        NonFiniteOutput: A product is NaN or infinite.

    Cost: `iterations` products.
    Randomness: that of `start`; fresh directions after a breakdown come from a fixed seed.
    Source: Lanczos (1950), with full reorthogonalisation.
    """
    if end not in ("largest", "smallest"):
        raise InvalidInput(f"expected an end of largest, smallest, got {end!r}")
    if not 1 <= count <= iterations:
        raise InvalidInput(f"expected 1 <= count <= iterations={iterations}, got {count}")
    before = hessians.cost
    rows = start.flatten(1)
    steps = min(iterations, rows.shape[1])
    basis, diagonal, beside = _krylov(hessians, start, steps)
    triangle = torch.diag_embed(diagonal)
    inner = beside[:, : steps - 1]
    triangle += torch.diag_embed(inner, offset=1) + torch.diag_embed(inner, offset=-1)
    values, weights = torch.linalg.eigh(triangle)
    if end == "largest":
        values, weights = values.flip(1), weights.flip(2)
    kept = min(count, steps)
    values, weights = values[:, :kept], weights[:, :, :kept]
    vectors = weights.transpose(1, 2) @ basis
    return Eigenpairs(
        values=values,
        vectors=vectors.reshape(len(start), kept, *start.shape[1:]),
        residuals=beside[:, -1:] * weights[:, -1].abs(),
        cost=_spent(before, hessians.cost),
    )


def power_iteration(hessians: Products, start: torch.Tensor, *, iterations: int = 20) -> Eigenpairs:
    """Compute the eigenvalue that is largest in magnitude, for each image.

    Slower than :func:`lanczos`, and needs the memory of one direction only.

    Args:
        hessians: Applied `iterations` times.
        start: (n, ...), no row zero.
        iterations: More is more exact.

    Returns:
        One value per image, with its sign.

    Raises:
        InvalidInput: No iteration, or a start of zero.
        NonFiniteOutput: A product is NaN or infinite.

    Cost: `iterations` products.
    """
    if iterations < 1:
        raise InvalidInput(f"expected at least 1 iteration, got {iterations}")
    before, vector = hessians.cost, _unit(start)
    value = residual = torch.zeros(len(start))
    for i in range(iterations):
        applied = _finite(hessians.product(vector.reshape(start.shape))).flatten(1)
        value = (vector * applied).sum(dim=1)
        residual = (applied - value[:, None] * vector).norm(dim=1)
        length = applied.norm(dim=1, keepdim=True)
        if i < iterations - 1:
            vector = torch.where(length > 0, applied / length.clamp(min=_tiny(length)), vector)
    return Eigenpairs(
        values=value[:, None],
        vectors=vector.reshape(len(start), 1, *start.shape[1:]),
        residuals=residual[:, None],
        cost=_spent(before, hessians.cost),
    )


def _krylov(
    hessians: Products, start: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Basis (n, steps, d), diagonal (n, steps), and beside it (n, steps)."""
    vector = _unit(start)
    basis = vector[:, None]
    diagonal, beside = [], []
    scale = torch.zeros_like(vector[:, 0])
    fresh = torch.Generator().manual_seed(0)
    for j in range(steps):
        applied = _finite(hessians.product(vector.reshape(start.shape))).flatten(1)
        diagonal.append((vector * applied).sum(dim=1))
        rest = _orthogonal(applied, basis)
        length = rest.norm(dim=1)
        scale = torch.maximum(scale, applied.norm(dim=1))
        broken = length <= 10 * torch.finfo(length.dtype).eps * scale
        beside.append(torch.where(broken, 0.0, length))
        if j < steps - 1:
            if bool(broken.any()):
                drawn = torch.randn(rest.shape, generator=fresh, dtype=torch.float64).to(rest)
                rest = torch.where(broken[:, None], _orthogonal(drawn, basis), rest)
            vector = rest / rest.norm(dim=1, keepdim=True)
            basis = torch.cat([basis, vector[:, None]], dim=1)
    return basis, torch.stack(diagonal, dim=1), torch.stack(beside, dim=1)


def _orthogonal(vectors: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """What is left of vectors (n, d) outside the span of (n, j, d); twice is enough."""
    for _ in range(2):
        shares = basis @ vectors[:, :, None]
        vectors = vectors - (basis.transpose(1, 2) @ shares).squeeze(2)
    return vectors


def _unit(start: torch.Tensor) -> torch.Tensor:
    rows = start.detach().flatten(1)
    length = rows.norm(dim=1, keepdim=True)
    if not bool((length > 0).all()):
        raise InvalidInput("expected a start that is not zero for every image, got a zero or NaN")
    unit: torch.Tensor = rows / length
    return unit


def _finite(product: torch.Tensor) -> torch.Tensor:
    if not bool(product.isfinite().all()):
        raise NonFiniteOutput(
            "expected finite Hessian-vector products, got NaN or infinity; look at the model's "
            "logits, or take a larger step"
        )
    return product.detach()


def _tiny(like: torch.Tensor) -> float:
    return torch.finfo(like.dtype).tiny


def _spent(before: PassCount, after: PassCount) -> PassCount:
    return type(after)(
        forward=after.forward - before.forward, backward=after.backward - before.backward
    )
