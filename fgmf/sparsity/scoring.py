"""What each weight is worth: the lower, the sooner it is pruned.

magnitude    |w|
gradient     mean over batches of |w * d loss / d w|           # first-order effect of removing it

The loss is that of any training recipe: cross-entropy on clean images for accuracy; an adversarial
recipe (N-FGSM, PGD, TRADES) or SCOR-PIO, whose directions are salient ones, so that what robustness
rests on is kept.

Source: Han et al. (2015); Molchanov et al. (2019), with absolute values per batch; on an
adversarial loss, Sehwag et al. (2020) in spirit, who learn the scores instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from fgmf.errors import InvalidInput, NonFiniteOutput
from fgmf.seeding import derive_seed, isolated_randomness
from fgmf.training.interface import begin

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from fgmf.datasets import Samples
    from fgmf.training import KeepingRecipe, Recipe

    Scores = Mapping[str, torch.Tensor]

_WEIGHED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def prunable_weights(model: nn.Module, *, besides: Collection[str] = ()) -> dict[str, nn.Parameter]:
    """Return the weights of convolutions and linear layers, by the name of the parameter.

    Args:
        model: Any module.
        besides: Names of modules that are left alone, with all below them, such as the head.

    Raises:
        InvalidInput: There is no such module, or nothing is left to prune.
    """
    modules = dict(model.named_modules())
    unknown = [name for name in besides if name not in modules]
    if unknown:
        raise InvalidInput(f"expected names of modules to leave alone, got {unknown[0]!r}")
    found = {
        f"{name}.weight".lstrip("."): module.weight
        for name, module in modules.items()
        if isinstance(module, _WEIGHED)
        and isinstance(module.weight, nn.Parameter)
        and not any(f"{name}.".startswith(f"{other}.") for other in besides)
    }
    if not found:
        raise InvalidInput("expected a model with convolutions or linear layers, got none to prune")
    return found


def magnitude_scores(model: nn.Module, *, besides: Collection[str] = ()) -> dict[str, torch.Tensor]:
    """Return |w| of every weight that can be pruned; see :func:`prunable_weights`."""
    return {n: p.detach().abs() for n, p in prunable_weights(model, besides=besides).items()}


def gradient_scores(
    model: nn.Module,
    samples: Samples,
    recipe: Recipe | KeepingRecipe,
    *,
    image_count: int = 512,
    seed: int = 0,
    besides: Collection[str] = (),
) -> dict[str, torch.Tensor]:
    """Return how much the loss of a recipe changes, to first order, without each weight.

    Args:
        model: Put back as it was: mode, buffers, and no `.grad` left.
        samples: Training images within the recipe's bounds, with labels.
        recipe: Whose loss is taken, at the end of its schedule (whole budget).
        image_count: Images that are drawn, at most all, in batches of the recipe's size.
        seed: Fixes which, and every draw of the recipe.
        besides: Modules that are left alone.

    Returns:
        By the name of the parameter, scores of its shape on its device.

    Raises:
        InvalidInput: Nothing to prune, or no images.
        NonFiniteOutput: The loss or a gradient is NaN or infinite.

    Cost: the recipe's passes for each image drawn.
    Randomness: `seed` fixes everything; global generators are put back.
    """
    weights = prunable_weights(model, besides=besides)
    if image_count < 1:
        raise InvalidInput(f"expected image_count >= 1, got {image_count}")
    scores = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    draws = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(samples), generator=draws)[:image_count]
    objective = begin(recipe, len(samples), tuple(samples.images.shape[1:]))
    modes = {module: module.training for module in model.modules()}
    needed = {parameter: parameter.requires_grad for parameter in model.parameters()}
    device = next(iter(weights.values())).device
    try:
        model.eval().requires_grad_(requires_grad=True)
        with isolated_randomness(derive_seed(seed, "scores")):
            for batch in chosen.split(recipe.schedule.batch_size):
                images = samples.images[batch].to(device)
                labels = samples.labels[batch].to(device, torch.int64)
                loss = objective.loss(model, images, labels, batch, progress=1.0, draws=draws)
                gradients = torch.autograd.grad(loss, list(weights.values()))
                for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                    scores[name] += (weight.detach() * gradient).abs() * len(batch)
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, need in needed.items():
            parameter.requires_grad_(need)
    for name, score in scores.items():
        if not bool(score.isfinite().all()):
            raise NonFiniteOutput(f"expected finite gradients of {name}, got NaN or infinities")
    return {name: score / len(chosen) for name, score in scores.items()}
