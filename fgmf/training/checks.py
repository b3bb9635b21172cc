"""What a training refuses before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fgmf.errors import FgmfError, InvalidInput, NonFiniteOutput
from fgmf.training.interface import SeeingObjective, SharedObjective
from fgmf.training.perturbations import evaluating

if TYPE_CHECKING:
    from torch import nn

    from fgmf.datasets import Samples
    from fgmf.training.augmentation import Augmentation
    from fgmf.training.interface import Objective
    from fgmf.types import Bounds, Images, Labels


def check_views(objective: Objective, augmentation: Augmentation | None) -> None:
    """Refuse to move images under an objective that keeps something for each as it is.

    Raises:
        InvalidInput: It keeps something, and cannot be told of views.
    """
    keeps = isinstance(objective, SharedObjective) and not isinstance(objective, SeeingObjective)
    if augmentation is not None and keeps:
        raise InvalidInput(
            "expected no augmentation, or an objective with a method `see`, as "
            f"{type(objective).__name__} keeps something for each image"
        )


def check_samples(samples: Samples, bounds: Bounds) -> None:
    """Refuse images and labels that cannot be trained on.

    Raises:
        InvalidInput: Their shape, type or range is wrong.
    """
    images, labels = samples.images, samples.labels
    if images.ndim != 4 or not images.is_floating_point():
        raise InvalidInput(
            "expected floating-point images of shape (n, c, h, w), "
            f"got {images.dtype} of shape {tuple(images.shape)}"
        )
    if not bool(images.isfinite().all()):
        raise InvalidInput(
            "expected finite pixel values, got NaN or infinity; leave these images out"
        )
    lowest, highest = float(images.min()), float(images.max())
    if not bounds[0] <= lowest <= highest <= bounds[1]:
        raise InvalidInput(
            f"expected images within the bounds {list(bounds)} of the recipe, "
            f"got range [{lowest:g}, {highest:g}]; rescale them, or give the recipe their bounds"
        )
    whole = not labels.is_floating_point() and not labels.is_complex()
    if labels.ndim != 1 or not whole or int(labels.min()) < 0:
        raise InvalidInput(
            "expected labels as class numbers from 0 on, of shape (n,), "
            f"got {labels.dtype} of shape {tuple(labels.shape)}"
        )


def check_trainable(model: nn.Module) -> None:
    """Refuse a model of which nothing can be trained.

    Raises:
        InvalidInput: It has no parameter that requires a gradient.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InvalidInput(
            f"expected parameters that require a gradient in {type(model).__name__}, got none; "
            "are all of them frozen?"
        )


def check_weights(model: nn.Module) -> None:
    """Refuse a model whose trained weights are no numbers.

    Raises:
        NonFiniteOutput: A parameter is NaN or infinite.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not bool(parameter.isfinite().all()):
            raise NonFiniteOutput(
                f"expected finite weights at the end, got NaN or infinity in {name}; lower the "
                "learning rate, or look for what has no finite gradient in the model"
            )


def explain_failure(error: Exception, model: nn.Module, images: Images, labels: Labels) -> None:
    """Say what is wrong with a model or a batch of which no loss could be computed.

    Returns where nothing that is known is: the error itself then says it best.

    Raises:
        InvalidInput: Images of another type than the weights, an output that is no logits, too few
            of them for the labels, or batch norm over a single image.

    Cost: 1 forward pass.
    """
    if isinstance(error, FgmfError):
        return
    weight = next((p for p in model.parameters() if p.is_floating_point()), None)
    if weight is not None and weight.dtype != images.dtype and isinstance(error, RuntimeError):
        raise InvalidInput(
            f"expected images in the type of the weights, {weight.dtype}, got {images.dtype}; "
            "convert one of them"
        ) from error
    if "more than 1 value per channel" in str(error):
        raise InvalidInput(
            f"expected more than one value for each channel, as batch norm does, got {len(images)} "
            "image in the last batch, or in a part of one; choose another batch_size"
        ) from error
    try:
        with evaluating(model), torch.no_grad():
            found: object = model(images)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError, FgmfError):
        return
    if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != len(images):
        shape = f" of shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else ""
        raise InvalidInput(
            f"expected logits ({len(images)}, classes) as a tensor from {type(model).__name__}, "
            f"got {type(found).__name__}{shape}; wrap it in a module that returns them"
        ) from error
    if int(labels.max()) >= found.shape[1]:
        raise InvalidInput(
            f"expected labels below {found.shape[1]}, the number of logits, got "
            f"{int(labels.max())}; give the model more classes"
        ) from error
