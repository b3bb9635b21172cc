"""What a classifier's last linear layer sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.types import Images, Logits


def features_and_logits(model: nn.Module, images: Images) -> tuple[torch.Tensor, Logits]:
    """Features (n, d) that go into the last linear layer, and logits, in one forward pass.

    Args:
        model: Has an `nn.Linear` that is used once, with one row for each image; the last one
            counts.
        images: (n, c, h, w).

    Raises:
        InvalidInput: There is no such layer.

    Cost: 1 forward pass. The hook comes off, also on errors.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise InvalidInput(
            f"expected a linear layer in {type(model).__name__}, whose input are its features, "
            "got none"
        )
    seen: list[torch.Tensor] = []
    handle = layers[-1].register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    try:
        logits: Logits = model(images)
    finally:
        handle.remove()
    if len(seen) != 1 or seen[0].ndim != 2 or len(seen[0]) != len(images):
        shapes = [tuple(each.shape) for each in seen]
        raise InvalidInput(
            f"expected one use of the last linear layer, with features ({len(images)}, d), "
            f"got {shapes}"
        )
    return seen[0], logits
