"""Losses whose Hessians are known: quadratics, softmax regression, and any by brute force."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


class Quadratic:
    """x'Ax/2 + b'x + c per image, with symmetric A of either sign: Hessian A, gradient Ax + b."""

    def __init__(self, count: int, size: int, *, seed: int = 0) -> None:
        draws = torch.Generator().manual_seed(seed)
        half = torch.randn(count, size, size, generator=draws, dtype=torch.float64)
        self.hessian = half + half.transpose(1, 2)
        self.slope = torch.randn(count, size, generator=draws, dtype=torch.float64)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        x = images.flatten(1)
        bent = (x[:, None] @ self.hessian @ x[:, :, None]).flatten() / 2
        return bent + (self.slope * x).sum(dim=1) + 1.5

    def gradient(self, images: torch.Tensor) -> torch.Tensor:
        return self.product(images) + self.slope.view_as(images)

    def product(self, directions: torch.Tensor) -> torch.Tensor:
        return (self.hessian @ directions.flatten(1)[:, :, None]).view_as(directions)


def softmax_regression_hessian(weight: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """W'(diag p - p p')W of the cross-entropy of logits W x, (n, d, d), in x."""
    spread = torch.diag_embed(probabilities) - probabilities[:, :, None] * probabilities[:, None]
    return weight.T @ spread @ weight


def slow_hessian(
    loss_of: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor
) -> torch.Tensor:
    """(n, d, d): the whole Hessian of each image's loss, row by row, from torch."""
    size = images[0].numel()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        whole = torch.autograd.functional.hessian(
            lambda x: loss_of(x.view_as(images)).sum(), images.flatten()
        )
    blocks = [slice(i * size, (i + 1) * size) for i in range(len(images))]
    return torch.stack([whole[block, block] for block in blocks])
