"""Images moved to where a model is worse at them, for training; Linf only.

projected_step     clamp(u + step sign(grad loss(x + u)), cube)                           # FGSM-RS
noisy_step         x + u + step sign(grad loss(x + u)),  u uniform in the noise cube     # N-FGSM
climb_loss         from a random point of the cube: k steps up the loss, projected       # PGD-k
climb_divergence   from beside x: k steps up KL(p(x) || p(x')), projected                # TRADES

Every result lies within `bounds`. Gradients are taken in evaluation mode, so that crafting
changes no running statistics, and with respect to the images only: no `.grad` is left behind.
Randomness: noise is drawn on the CPU from `draws`, so that it does not depend on the device.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from fgmf.curvature import loss_scale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fgmf.types import Bounds, Images, Labels


_MODAL: Final = (
    nn.modules.batchnorm._NormBase,  # noqa: SLF001 - the common base of batch and instance norm
    nn.modules.dropout._DropoutNd,  # noqa: SLF001 - the common base of dropouts
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RReLU,
)


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """Projected gradient ascent inside a cube.

    Attributes:
        epsilon: Radius of the cube in the units of `bounds`.
        steps: Number of gradient steps.
        step: Length of each.
        bounds: Range of the pixels.
    """

    epsilon: float
    steps: int
    step: float
    bounds: Bounds


def noisy_step(  # noqa: PLR0913 - three tensors of a batch and four parts of one formula
    model: nn.Module,
    images: Images,
    labels: Labels,
    *,
    noise: float,
    step: float,
    bounds: Bounds,
    draws: torch.Generator,
) -> Images:
    """Move images by noise and one gradient step, without projection onto a ball.

    Args:
        model: Maps images to logits.
        images: (n, c, h, w) within `bounds`.
        labels: (n,) int64.
        noise: Half the side of the cube of the uniform noise, in the units of `bounds`.
        step: Length of the step, in the same units: the result is up to noise + step away.
        bounds: Range of the pixels.
        draws: Gives the noise.

    Returns:
        Images of the same shape, without gradient.

    Source: de Jorge et al. (2022), N-FGSM.
    Cost: 1 forward and 1 backward pass per image.
    """
    noisy = (images + uniform_noise(images, noise, draws)).clamp(*bounds)
    with evaluating(model):
        gradient = _gradient(lambda moved: cross_entropy(model(moved), labels), noisy)
    return (noisy + step * gradient.sign()).clamp(*bounds)


def projected_step(
    model: nn.Module, images: Images, labels: Labels, ascent: Ascent, *, draws: torch.Generator
) -> Images:
    """Move images by noise and one gradient step, projected onto the cube.

    Args:
        model: Maps images to logits.
        images: (n, c, h, w) within the bounds.
        labels: (n,) int64.
        ascent: Cube and length of the step; its number of steps does not count.
        draws: Gives the noise.

    Returns:
        Images of the same shape, without gradient.

    Source: Wong et al. (2020), FGSM with random start.
    Cost: 1 forward and 1 backward pass per image.
    """
    return climb_loss(model, images, labels, replace(ascent, steps=1), draws=draws)


def climb_loss(
    model: nn.Module, images: Images, labels: Labels, ascent: Ascent, *, draws: torch.Generator
) -> Images:
    """Climb the cross-entropy inside the cube, from a random point of it.

    Args:
        model: Maps images to logits.
        images: (n, c, h, w) within the bounds.
        labels: (n,) int64.
        ascent: Cube and steps.
        draws: Gives the starting point.

    Returns:
        Images of the same shape, without gradient.

    Source: Madry et al. (2018), PGD.
    Cost: `steps` forward and backward passes per image.
    """
    start = images + uniform_noise(images, ascent.epsilon, draws)
    with evaluating(model):
        return _climb(lambda moved: cross_entropy(model(moved), labels), images, start, ascent)


def climb_divergence(
    model: nn.Module,
    images: Images,
    ascent: Ascent,
    *,
    start_deviation: float,
    draws: torch.Generator,
) -> Images:
    """Climb KL(p(x) || p(x')) inside the cube, away from the prediction at the clean image.

    Args:
        model: Maps images to logits.
        images: (n, c, h, w) within the bounds.
        ascent: Cube and steps.
        start_deviation: Standard deviation of the Gaussian noise at the start: at the clean image
            itself the gradient of the divergence is zero.
        draws: Gives the noise.

    Returns:
        Images of the same shape, without gradient.

    Source: Zhang et al. (2019), TRADES.
    Cost: `steps` + 1 forward and `steps` backward passes per image.
    """
    noise = torch.randn(images.shape, generator=draws, dtype=images.dtype).to(images.device)
    start = images + start_deviation * noise
    with evaluating(model):
        with torch.no_grad():
            clean = log_softmax(model(images), dim=1)

        def divergence(moved: Images) -> torch.Tensor:
            logs = log_softmax(model(moved), dim=1)
            return kl_div(logs, clean, reduction="batchmean", log_target=True)

        return _climb(divergence, images, start, ascent)


def _climb(
    objective: Callable[[Images], torch.Tensor], images: Images, start: Images, ascent: Ascent
) -> Images:
    lowest = (images - ascent.epsilon).clamp(*ascent.bounds)
    highest = (images + ascent.epsilon).clamp(*ascent.bounds)
    moved = start.clamp(lowest, highest)
    for _ in range(ascent.steps):
        uphill = _gradient(objective, moved).sign()
        moved = (moved + ascent.step * uphill).clamp(lowest, highest)
    return moved


def _gradient(objective: Callable[[Images], torch.Tensor], images: Images) -> Images:
    """Of an objective that is a mean over images, up to its scale: signs are taken of it."""
    at, scale = images.detach().requires_grad_(), loss_scale(images)
    loss = objective(at) if scale == 1.0 else scale * len(at) * objective(at)
    (gradient,) = torch.autograd.grad(loss, at)
    return gradient


def uniform_noise(images: Images, radius: float, draws: torch.Generator) -> Images:
    """Noise of the images' shape, uniform in the cube of that radius, drawn on the CPU."""
    noise = torch.rand(images.shape, generator=draws, dtype=images.dtype)
    return (radius * (2 * noise - 1)).to(images.device)


@contextmanager
def penalising(model: nn.Module, images: Images) -> Iterator[None]:
    """Evaluation mode, and full precision under autocast: for differences of gradients or logits.

    In bfloat16 two logits a small step apart differ by their rounding.
    """
    with evaluating(model), torch.autocast(images.device.type, enabled=False):
        yield


def differs_in_training(model: nn.Module) -> bool:
    """Whether a loss in evaluation mode may be another one than in training mode.

    True for batch norm, dropout and what else draws or keeps statistics, and for any module that is
    neither PyTorch's nor this project's: it may look at `training`.
    """
    return any(
        isinstance(module, _MODAL) or not type(module).__module__.startswith(("torch.", "fgmf."))
        for module in model.modules()
    )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every submodule is in the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def uncompiled(model: nn.Module) -> nn.Module:
    """The module that `torch.compile` wrapped, or the model itself: it has second derivatives."""
    inner = getattr(model, "_orig_mod", model)
    return inner if isinstance(inner, torch.nn.Module) else model
