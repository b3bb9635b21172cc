"""Maps that a good explanation has to beat; a score by itself means nothing.

random:            independent noise per pixel
centre:            a blob in the middle, where objects often are
edges:             where the image changes (Sobel), whatever the model does
randomised-model:  what the same explainer says of a copy of the model with weights drawn anew
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from fgmf.classifier.copies import copied_module
from fgmf.errors import InvalidInput
from fgmf.seeding import derive_seed, image_generator, isolated_randomness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.classifier import Classifier
    from fgmf.types import Images

_BLOB_SHARE = 0.25


def random_maps(shape: tuple[int, int], *, keys: Sequence[str], seed: int) -> torch.Tensor:
    """Return independent normal numbers (n, h, w), each map by its own key.

    Args:
        shape: (h, w).
        keys: One per image.
        seed: With the keys it fixes the maps.
    """
    drawn = [image_generator(seed, key, "random map").standard_normal(shape) for key in keys]
    return torch.from_numpy(np.stack(drawn))


def centre_maps(shape: tuple[int, int], *, count: int) -> torch.Tensor:
    """Return the same blob (n, h, w) for all: a Gaussian of a quarter of each side."""
    sides = [
        torch.exp(-0.5 * (((torch.arange(n) - (n - 1) / 2) / (_BLOB_SHARE * n)) ** 2).double())
        for n in shape
    ]
    return (sides[0][:, None] * sides[1][None]).expand(count, -1, -1).clone()


def edge_maps(images: Images) -> torch.Tensor:
    """Return the strength of edges (n, h, w) of images (n, c, h, w): Sobel, mean of channels."""
    grey = images.double().mean(dim=1, keepdim=True)
    kernel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]]).double()
    padded = functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = functional.conv2d(padded, kernel[None, None])
    down = functional.conv2d(padded, kernel.T[None, None])
    return (across**2 + down**2).sqrt()[:, 0]


def randomised_copy(classifier: Classifier, *, seed: int) -> Classifier:
    """Return a classifier around a copy of the model whose weights are drawn anew.

    Args:
        classifier: Its module stays as it is.
        seed: Fixes the weights.

    Returns:
        Layers that can draw their weights do so; parameters of at least two values that this left
        as they were are shuffled, so that they keep their distribution.

    Raises:
        InvalidInput: There is no module, or none of its parameters changes.

    Randomness: `seed`; global generators are left as they were.
    """
    if classifier.module is None:
        message = "expected a torch.nn.Module whose weights can be drawn anew, got "
        raise InvalidInput(f"{message}{classifier.name}; leave out the reference randomised-model")
    module = copied_module(classifier.module)
    with isolated_randomness(derive_seed(seed, "weights")):
        drawn = {
            id(tensor)
            for layer in module.modules()
            if hasattr(layer, "reset_parameters")
            for tensor in _drawn_anew(layer)
        }
        for tensor in module.parameters():
            if id(tensor) not in drawn and tensor.numel() > 1:
                mixed = tensor.detach().flatten()[torch.randperm(tensor.numel()).to(tensor.device)]
                tensor.detach().copy_(mixed.reshape(tensor.shape))
    pairs = zip(module.parameters(), classifier.module.parameters(), strict=True)
    if all(torch.equal(new, old) for new, old in pairs):
        raise InvalidInput("expected a model with weights that can be drawn anew, got none")
    return classifier.around(module)


def usable_maps(maps: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Put noise in the place of maps that are the same everywhere, which rank no pixel.

    Args:
        maps: (n, h, w) of a reference.
        noise: (n, h, w).

    Returns:
        The maps, and how many of them were such.

    Raises:
        InvalidInput: A map holds NaN or infinity.
    """
    flat = maps.flatten(1)
    if not bool(flat.isfinite().all()):
        raise InvalidInput("expected finite maps of references, got NaN or infinity")
    idle = flat.amax(dim=1) == flat.amin(dim=1)
    return torch.where(idle[:, None, None], noise.to(maps), maps), int(idle.sum())


def _drawn_anew(layer: torch.nn.Module) -> list[torch.Tensor]:
    """Draw a layer's own weights, and return those that changed.

    With the older weight and spectral norm a layer draws what is computed from its parameters
    anew in the next pass, and the parameters themselves stay.
    """
    before = [(tensor, tensor.detach().clone()) for tensor in layer.parameters(recurse=False)]
    layer.reset_parameters()  # type: ignore[operator] # the caller has looked
    return [tensor for tensor, old in before if not torch.equal(tensor, old)]
