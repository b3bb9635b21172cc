"""A model with all that can be changed about it, and how to see whether anything was."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator


class Specimen(nn.Module):
    """A model in the middle of its training, with all that a training leaves on it."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
            self.dropout = nn.Dropout(0.3)
            self.first, self.second = nn.Linear(144, 144), nn.Linear(144, 144)
            self.head = nn.Linear(144, 3, bias=False)
            self.head.weight.data.mul_(1e3)
        self.second.weight = self.first.weight
        self.register_buffer("scale", torch.ones(1))
        self.plain, self.history, self.step = torch.zeros(2), [1, {"a": [2]}], 7
        self.cache: dict[str, torch.Tensor] = {}
        self.__dict__["fuse"] = Fuse()
        for parameter in self.parameters():
            parameter.grad = torch.ones_like(parameter)
        self.second.bias.requires_grad_(requires_grad=False)
        self.features[1].eval()
        self.register_forward_hook(lambda *_: None)
        self.head.register_forward_pre_hook(lambda module, args, kwargs: None, with_kwargs=True)
        self.head.register_full_backward_hook(lambda *_: None)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.fuse.burn()
        hidden = self.features(images).flatten(1) * self.scale
        hidden = self.dropout(self.second(self.first(hidden).relu()).relu())
        self.cache["hidden"] = self.last = hidden.detach()  # a habit, and put back
        return self.head(hidden)


class Fuse:
    """Raises at a given pass."""

    def __init__(self) -> None:
        self.left, self.error = 10**9, Exception()

    def burn(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise self.error


def observe(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Everything that a user could find changed: which object it is, and what is in it."""
    for name, child in module.named_modules():
        for key, value in vars(child).items():
            yield f"{name}.{key}", id(value)
            if isinstance(value, dict):
                yield f"{name}.{key}{{}}", [(k, id(v)) for k, v in value.items()]
            elif not isinstance(value, torch.Tensor | nn.Module | Fuse):
                yield f"{name}.{key}=", repr(value)
    for name, tensor in [*module.named_parameters(), *module.named_buffers(), ("", module.plain)]:
        yield f"{name}:", (tensor.dtype, tensor.device, tensor.requires_grad, tensor.data_ptr())
        yield f"{name}=", tensor.detach().numpy().tobytes()
        if tensor.grad is not None:
            yield f"{name}.grad", (id(tensor.grad), tensor.grad.numpy().tobytes())


def surroundings() -> dict[str, Any]:
    """What else a run could leave behind."""
    return {
        "python": random.getstate(),
        "numpy": repr(np.random.get_state()),  # noqa: NPY002 - the global one
        "torch": torch.get_rng_state().tolist(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
    }
