"""One member of a team: a name, a model, and what the model sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.fx
from torch import nn

from fgmf.agents.views import View
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.types import Images, Logits

torch.fx.wrap("_checked_logits")  # a check of shapes, not a part of the graph


class Agent(nn.Module):
    """A model with a name and a view.

    The model is a classifier, or a policy that gives a logit for each of its discrete actions. Its
    saliency mask comes with it: ``Agent("cnn", Sgam.wrap(cnn, channels=1))`` masks what this
    agent sees, and nothing else.

    Args:
        name: Letters, digits, ``-`` and ``_``: it names the agent's stream in a mask log, its row
            in a report, its files.
        model: From images (n, c, h, w) to logits (n, classes), or to an object or mapping with
            `logits`.
        view: What the model sees; None: everything. A mapping as in `View.as_document` works too.

    Raises:
        InvalidInput: A name that is none, no module, or a view that shows nothing.
    """

    def __init__(
        self, name: str, model: nn.Module, *, view: View | Mapping[str, object] | None = None
    ) -> None:
        super().__init__()
        self.name, self.model, self.view = _checked_name(name), _checked_model(model), View.of(view)

    def forward(self, images: Images) -> Logits:
        """The team's images (n, c, h, w) to this agent's logits (n, classes).

        Raises:
            InvalidInput: The images lack what the agent sees, or the model returns no logits.

        Cost: 1 forward pass of the agent's model per image.
        """
        return _checked_logits(self.name, self.model(self.view.applied(images)), len(images))

    def extra_repr(self) -> str:
        """Name and view."""
        return f"name={self.name!r}, view={self.view}"


def _checked_name(name: object) -> str:
    good = isinstance(name, str) and 0 < len(name) <= 64 and name.isascii()
    if (
        not isinstance(name, str)
        or not good
        or not name.replace("-", "").replace("_", "").isalnum()
    ):
        raise InvalidInput(
            f"expected the name of an agent as 1 to 64 letters, digits, - and _, got {name!r:.80}"
        )
    return name


def _checked_model(model: object) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise InvalidInput(
            f"expected the model of an agent as a torch.nn.Module, got {type(model).__name__}"
        )
    return model


def _checked_logits(name: str, output: Any, image_count: int) -> Logits:  # noqa: ANN401 - whatever a model returns
    logits = output
    if not isinstance(output, torch.Tensor):
        logits = (
            output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)
        )
    if not isinstance(logits, torch.Tensor) or not logits.is_floating_point():
        raise InvalidInput(
            f"expected floating-point logits from agent {name}, got {_described(output)}"
        )
    if logits.ndim != 2 or logits.shape[0] != image_count or logits.shape[1] < 2:
        raise InvalidInput(
            f"expected logits of shape ({image_count}, classes) with at least two classes from "
            f"agent {name}, got {tuple(logits.shape)}"
        )
    return logits


def _described(output: object) -> str:
    if isinstance(output, torch.Tensor):
        return f"a tensor of {output.dtype}"
    return f"a {type(output).__name__} without a tensor `logits`"
