"""What a mask layer offers to a log, and which layers of a model do: SGAM's, or a user's own.

Any module with a method ``register_saliency_mask_hook(hook)`` can be logged. The hook is
called with one value for every mask that is applied; a grid is taken in place of the mask where
there is one, because the mask follows from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch


class OfferedMask(Protocol):
    """One application of a saliency mask to a batch, as a layer offers it.

    A layer may also offer `coarse` (n, ...), the float32 grid that the mask is computed from, with
    `m_min` and `upsampling_version` that say how; `variant`, `purpose` (``forward`` by default) and
    `training`.
    """

    @property
    def inputs(self) -> torch.Tensor:
        """(n, c, h, w), as they came into the layer."""

    @property
    def saliency_mask(self) -> torch.Tensor:
        """(n, 1, h, w) or (n, c, h, w), as it was applied."""


class HookHandle(Protocol):
    """What registering a hook returns."""

    def remove(self) -> None:
        """Take the hook off."""


class SaliencyMaskLayer(Protocol):
    """A layer whose masks can be logged."""

    def register_saliency_mask_hook(self, hook: Callable[[Any], None]) -> HookHandle:
        """Have every mask that is applied from now on offered to `hook`."""


def saliency_mask_layers(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Return the layers of a model that offer masks, by their name in it.

    A module that only passes a hook on to one inside of it is not counted.

    Raises:
        InvalidInput: There is none.
    """
    offering: dict[str, torch.nn.Module] = {
        name: module
        for name, module in model.named_modules()
        if callable(getattr(module, "register_saliency_mask_hook", None))
    }
    known = set(map(id, offering.values()))
    inner = {
        name: module
        for name, module in offering.items()
        if not any(id(other) in known for other in module.modules() if other is not module)
    }
    if not inner:
        message = "expected a model with a layer that has register_saliency_mask_hook"
        raise InvalidInput(f"{message}, got {type(model).__name__} without one")
    return inner
