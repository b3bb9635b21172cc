"""The exponential moving average of a model's weights.

average = decay * average + (1 - decay) * weights       after every update
decay at update t = min(decay, (1 + t) / (10 + t))      starts low: the first weights are soon gone
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fgmf.errors import StaleEvidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from torch import nn


class WeightAverage:
    """Moving average of all floating-point state: weights and running statistics.

    Args:
        model: Whose state is averaged.
        decay: Of the average, reached after some updates; None averages nothing.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self._model = model
        self._decay = decay
        self._kept = {} if decay is None else {k: v.clone() for k, v in self._state().items()}

    def begin(self) -> None:
        """Take the weights as they are for the average so far."""
        for name, value in self._state().items():
            if name in self._kept:
                self._kept[name].copy_(value)

    def take(self, step: int) -> None:
        """Mix in the weights after update `step`, counted from 1."""
        if self._decay is None:
            return
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, value in self._state().items():
            self._kept[name].lerp_(value, 1.0 - decay)

    def share(self, mean: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Replace the averages of buffers, such as running statistics, by their means.

        Args:
            mean: Of a tensor over the processes, whose weights are the same.
        """
        for name, _ in self._model.named_buffers():
            if name in self._kept:
                self._kept[name].copy_(mean(self._kept[name]))

    @contextmanager
    def left_in_the_model(self) -> Iterator[None]:
        """Put the average into the model at the end, however that comes."""
        try:
            yield
        finally:
            self._put()
            self._model.eval()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The average in the model, in evaluation mode; afterwards all is as it was, bit by bit."""
        raw = {name: value.clone() for name, value in self._state().items()}
        training = [module for module in self._model.modules() if module.training]
        self._put()
        self._model.eval()
        try:
            yield
        finally:
            for name, value in self._state().items():
                value.copy_(raw[name])
            for module in training:
                module.training = True

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The average, which goes on changing: a checkpoint writes it at once."""
        return dict(self._kept)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave.

        Raises:
            StaleEvidence: It is of another model.
        """
        if state.keys() != self._kept.keys():
            raise StaleEvidence("expected the averaged weights of this model, got another's")
        for name, value in state.items():
            self._kept[name].copy_(value)

    def _put(self) -> None:
        for name, value in self._state().items():
            if name in self._kept:
                value.copy_(self._kept[name])

    def _state(self) -> dict[str, torch.Tensor]:
        """The model's own tensors, which share its memory."""
        state = self._model.state_dict()
        return {name: value for name, value in state.items() if value.is_floating_point()}
