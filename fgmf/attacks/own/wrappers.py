"""Random and non-differentiable models, made attackable: functions from images to logits again.

    ExpectedLogits       logits(x) = mean over draws of model(x)          (EOT)
    SubstituteBackward   value f(x), gradient that of s(x)                (BPDA)

Source: Athalye et al. 2018 (both); EOT averages the loss there, here the logits, or the
probabilities. For losses that are linear in the logits (a margin between two classes) the gradient
is the same.
Cost: `draws` passes per image and call; f forwards, s forwards and backwards.
Randomness: the model's own, from wherever it draws. Where that is the global generator, results
depend on the batches: no seed of an attack can fix that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from fgmf.attacks.own.task import passes_per_call
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.attacks.own.task import LogitsFunction
    from fgmf.types import Images, Logits


class ExpectedLogits:
    """The mean of a random model over several draws.

    Each draw is a call of its own, so that a model that draws once per call is averaged too.

    Args:
        logits: The model.
        draws: Calls per answer.
        confirming: Further calls where an answer says that an image is broken; 0: none.
        average: ``logits``, or ``probabilities`` (the answer is the logarithm of their mean).

    Raises:
        InvalidInput: No draw, or an unknown average.
    """

    def __init__(
        self,
        logits: LogitsFunction,
        *,
        draws: int,
        confirming: int = 0,
        average: Literal["logits", "probabilities"] = "logits",
    ) -> None:
        if draws < 1 or average not in {"logits", "probabilities"}:
            message = f"expected draws >= 1 and average logits or probabilities, got {draws}, "
            raise InvalidInput(message + repr(average))
        self._logits, self._draws, self._average = logits, draws, average
        self.passes_per_call = draws * passes_per_call(logits)
        self.passes_to_confirm = confirming * passes_per_call(logits)

    def __repr__(self) -> str:
        """The constructor call."""
        return f"ExpectedLogits({self._logits!r}, draws={self._draws}, average={self._average!r})"

    def __call__(self, images: Images) -> Logits:
        """Images (m, ...) to mean logits (m, classes)."""
        return self._mean(images, self._draws)

    def confirm(self, images: Images) -> Logits:
        """The same from other draws, as many as `confirming` says.

        The best of many steps under few draws is the one whose draws were kindest; other draws
        are no part of that choice.

        Cost: `passes_to_confirm` per image.
        """
        return self._mean(images, self.passes_to_confirm // passes_per_call(self._logits))

    def _mean(self, images: Images, draws: int) -> Logits:
        answers = torch.stack([self._logits(images) for _ in range(draws)])
        if self._average == "logits":
            return answers.mean(dim=0)
        likely = torch.log_softmax(answers.double(), dim=2)
        mean = torch.logsumexp(likely, dim=0) - torch.log(torch.tensor(float(draws)))
        return mean.to(answers.dtype)


class SubstituteBackward:
    """A function with the gradient of another one.

    For a layer that rounds, encodes or detaches, and for a whole model: `forward` is asked for
    values and `substitute` for gradients.

    Args:
        forward: The real function; its graph is not used.
        substitute: A differentiable function with outputs of the same shape; None: the identity.
    """

    def __init__(
        self,
        forward: Callable[[torch.Tensor], torch.Tensor],
        substitute: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self._forward, self._substitute = forward, substitute

    def __repr__(self) -> str:
        """The constructor call."""
        return f"SubstituteBackward({self._forward!r}, {self._substitute!r})"

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return exactly `forward(images)`, with the graph of the substitute.

        Raises:
            InvalidInput: The two outputs differ in shape.
        """
        with torch.no_grad():
            value = self._forward(images.detach())
        stand_in = images if self._substitute is None else self._substitute(images)
        if value.shape != stand_in.shape:
            message = (
                f"expected a substitute with outputs of shape {tuple(value.shape)}, got "
                f"{tuple(stand_in.shape)}"
            )
            raise InvalidInput(message)
        replaced: torch.Tensor = _Replaced.apply(stand_in, value)  # type: ignore[no-untyped-call]
        return replaced


class _Replaced(torch.autograd.Function):
    """The second argument's values; the gradient goes to the first."""

    @staticmethod
    def forward(ctx: Any, stand_in: torch.Tensor, value: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - torch's context
        del ctx
        return value.to(stand_in.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:  # noqa: ANN401 - torch's context
        del ctx
        return gradients[0], None
