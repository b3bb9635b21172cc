"""What one layer puts out while the model runs, and the gradient of the score there.

    hook:  on the way out of the layer, keep a detached copy that requires a gradient, and send
           another copy on, which later layers may change in place
    run the model once;  gradient of the score with respect to the kept copy

The gradient stops at the layer: nothing below it is differentiated. The hook is taken off
whatever happens. A layer that runs more than once in a pass counts as it ran last.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from fgmf.attribution.passes import Output, gradient_of, target_scores
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.attribution.request import Request
    from fgmf.types import Images


@dataclass(kw_only=True)
class Tap:
    """What a layer put out last."""

    outputs: list[torch.Tensor] = field(default_factory=list)

    def take(self) -> torch.Tensor:
        """Return it, and forget it.

        Raises:
            InvalidInput: The layer did not run.
        """
        if not self.outputs:
            raise InvalidInput(
                "expected the layer to run in a forward pass, but it did not; name another layer"
            )
        last = self.outputs[-1]
        self.outputs.clear()
        return last


@contextmanager
def tapped(layer: torch.nn.Module) -> Iterator[Tap]:
    """Keep what a layer puts out, as a leaf that gradients can be taken at.

    Args:
        layer: Puts out a tensor, or a tuple or list that begins with one.

    Raises:
        InvalidInput: It puts out something else.
    """
    tap = Tap()

    def keep(_module: torch.nn.Module, _inputs: object, output: Any) -> Any:  # noqa: ANN401 - whatever a user's layer returns
        found = first_tensor(output)
        if found is None:
            kind = type(output).__name__
            message = f"expected the layer to put out a floating-point tensor, got {kind}"
            raise InvalidInput(f"{message}; name another layer")
        kept = found.detach().clone().requires_grad_()
        tap.outputs.append(kept)
        return _with_first(output, kept.clone())

    handle = layer.register_forward_hook(keep)
    try:
        yield tap
    finally:
        handle.remove()


def first_tensor(output: Any) -> torch.Tensor | None:  # noqa: ANN401 - as above
    """Return a tensor, or the first of a tuple or list, if it can have a gradient; else None."""
    if isinstance(output, tuple | list) and output:
        output = output[0]
    fits = isinstance(output, torch.Tensor) and output.is_floating_point()
    return output if fits else None


def activations(
    request: Request, layer: torch.nn.Module, part: slice, *, output: Output
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run some images, and return what the layer put out, with the gradient of their scores there.

    Args:
        request: The images.
        layer: A module of the model.
        part: Which images.
        output: Whose gradient.

    Returns:
        Activations and gradients, of the shape of the layer's output, detached.

    Raises:
        GradientUnavailable: The score does not depend on the layer.
        InvalidInput: The layer did not run, or puts out no tensor.

    Cost: one forward and one backward pass (from the logits to the layer) per image.
    """
    image = torch.arange(part.start, part.stop)
    points: Images = request.images[part].detach().clone().requires_grad_()
    with tapped(layer) as tap, torch.enable_grad():
        scores = target_scores(request, points, image, output=output)
        kept = tap.take()
        return kept.detach(), gradient_of(scores, kept)


def _with_first(output: Any, replaced: torch.Tensor) -> Any:  # noqa: ANN401 - as above
    if isinstance(output, torch.Tensor):
        return replaced
    rest = list(output)[1:]
    if isinstance(output, list):
        return [replaced, *rest]
    made = getattr(type(output), "_make", tuple)  # of a named tuple
    return made([replaced, *rest])
