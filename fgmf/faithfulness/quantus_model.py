"""What Quantus asks of a model, answered by a classifier; nothing of Quantus is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from fgmf.classifier.copies import copied_module
from fgmf.classifier.outputs import refuse_fixed_logit
from fgmf.errors import InvalidInput, MetricFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fgmf.classifier import Classifier
    from fgmf.faithfulness.scores import Explain

    Floats = NDArray[np.float64]


def predict(classifier: Classifier, images: Floats, *, softmax: bool) -> Floats:
    """Return logits or probabilities (n, classes) in float64 for images (n, c, h, w).

    Raises:
        InvalidInput: The logit of class 0 is the same whatever the image, and logits are asked for.
    """
    logits = classifier.logits_in_batches(torch.from_numpy(np.ascontiguousarray(images))).double()
    if not softmax:
        refuse_fixed_logit(logits)
    answers: Floats = (logits.softmax(dim=1) if softmax else logits).numpy()
    return answers


def explain_again(
    explain: Explain, classifier: Classifier, images: Floats, targets: NDArray[np.int64]
) -> Floats:
    """Return maps (n, 1, h, w) in float64.

    Raises:
        MetricFailed: Maps of another shape, NaN or infinity.
    """
    double = classifier.dtype is torch.float64
    given = torch.from_numpy(np.ascontiguousarray(images)).to(
        torch.float64 if double else torch.float32
    )
    maps = explain(classifier, given, torch.from_numpy(np.asarray(targets, dtype=np.int64)))
    expected = (len(images), *images.shape[-2:])
    if tuple(maps.shape) != expected:
        raise MetricFailed(f"expected maps of shape {expected}, got {tuple(maps.shape)}")
    values: Floats = maps.detach().cpu().double().numpy()[:, None]
    if not np.isfinite(values).all():
        raise MetricFailed("expected finite maps of changed images, got NaN or infinity")
    return values


def resettable_layers(module: torch.nn.Module) -> list[str]:
    """Names of the layers whose weights can be drawn anew, in the order of the module."""
    return [name for name, layer in module.named_modules() if hasattr(layer, "reset_parameters")]


def randomised_layers(
    classifier: Classifier, *, order: str, seed: int
) -> Iterator[tuple[str, Classifier]]:
    """Draw the weights of a copy anew, layer by layer.

    Args:
        classifier: Its module stays as it is.
        order: ``top_down`` (the last layer first), ``bottom_up``, or ``independent``: each layer
            alone.
        seed: Every layer is drawn from a generator seeded with ``seed + 1``, as Quantus does.

    Yields:
        The layer's name, and a classifier around the copy.

    Raises:
        InvalidInput: There is no module, or none of its layers can be drawn anew.
    """
    if classifier.module is None or not resettable_layers(classifier.module):
        message = "expected a torch.nn.Module with layers that have reset_parameters, got none"
        raise InvalidInput(message)
    original = classifier.module
    changed = copied_module(original)
    names = resettable_layers(original)
    for name in reversed(names) if order == "top_down" else names:
        if order == "independent":
            changed.load_state_dict(original.state_dict())
        torch.manual_seed(seed + 1)
        layer = changed.get_submodule(name)
        layer.reset_parameters()  # type: ignore[operator] # checked above
        yield name, classifier.around(changed)


def hidden_outputs(classifier: Classifier, images: Floats) -> Floats:
    """Return the outputs of all inner layers, flattened and side by side: (n, features).

    Copies, because a layer that works in place would change what was seen before it. Containers
    in sequence and the model itself are left out, as Quantus does.

    Raises:
        InvalidInput: There is no module, or no inner layer gives one row per image.
    """
    module = classifier.module
    if module is None:
        raise InvalidInput("expected a torch.nn.Module with layers, got none")
    seen: list[Floats] = []

    def keep(_module: torch.nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.shape[:1] == (len(images),):
            seen.append(output.detach().cpu().double().flatten(1).numpy().copy())

    hooks = [
        layer.register_forward_hook(keep)
        for name, layer in module.named_modules()
        if name and not isinstance(layer, type(module) | torch.nn.Sequential)
    ]
    try:
        classifier.raw_output(torch.from_numpy(np.ascontiguousarray(images)))
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise InvalidInput("expected inner layers that give one row per image, got none")
    return np.hstack(seen)
