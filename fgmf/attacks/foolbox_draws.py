"""Tensors for Foolbox attacks that treat each image of a batch for itself.

Foolbox draws from the global generator in the shape of the batch, so an image's noise depends
on its neighbours. Here the tensors handed to an attack are of a subclass whose ``uniform`` and
``normal`` give each image the stream of its own generator: the same image, attack and restart
see the same numbers at any batch size, in any order, on any worker. Products with a vector are
summed row by row, because BLAS rounds by the number of rows. Gradients are taken with respect to
the images alone, so that nothing is left in the ``.grad`` of anybody's parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from eagerpy.tensor.pytorch import PyTorchTensor

from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray[Any, Any]]
    Shape = int | tuple[int, ...]

Eager: TypeAlias = Any  # an eagerpy tensor, or what Foolbox nests them in


class ImageStreams:
    """One generator per image of a batch, and one that the images share.

    Args:
        seed: The gate's seed.
        names: Attack label and restart.
        keys: One stable key per image.
    """

    def __init__(self, seed: int, names: Sequence[str | int], keys: Sequence[str]) -> None:
        self._images = [image_generator(seed, *names, "image", key) for key in keys]
        self._shared = image_generator(seed, *names, "shared")

    def draw(self, shape: tuple[int, ...], rows: tuple[int, ...], draw: Draw) -> torch.Tensor:
        """Draw an array whose image axis is found by comparing shapes.

        Args:
            shape: Wanted shape: (n, ...), (steps, n, ...), or one without an image axis, such as
                (pixels, 1) of the boundary attack.
            rows: Shape of the tensor that asked.
            draw: Takes a generator and a shape.

        Returns:
            float32 array on the CPU. Without an image axis every image sees the same numbers.
        """
        count = len(self._images)
        if len(shape) > len(rows) and shape[len(shape) - len(rows) :] == rows:
            leading = shape[: len(shape) - len(rows)]
            parts = [draw(g, (*leading, *rows[1:])) for g in self._images]
            return torch.from_numpy(np.stack(parts, axis=len(leading)))
        if shape[:1] == (count,) and shape[1:] != (1,):
            return torch.from_numpy(np.stack([draw(g, shape[1:]) for g in self._images]))
        return torch.from_numpy(draw(self._shared, shape))


def seeded_tensor_class(streams: ImageStreams) -> type[PyTorchTensor]:
    """Return an eagerpy tensor class that draws from `streams`.

    Eagerpy's operations return ``type(self)``, so everything computed from such a tensor draws
    from the same streams.
    """

    class SeededTensor(PyTorchTensor):
        """A PyTorch tensor whose random draws are fixed per image."""

        def matmul(self, other: Eager) -> SeededTensor:
            if other.ndim != 2 or other.shape[1] != 1:
                return super().matmul(other)
            return type(self)((self.raw * other.raw.T).sum(dim=1, keepdim=True))

        def _value_and_grad_fn(  # type: ignore[override]  # `has_aux` comes by name
            self, f: Callable[..., Eager], *, has_aux: bool = False
        ) -> Callable[..., tuple[Eager, ...]]:
            def value_and_grad(inputs: Eager, *arguments: Eager) -> tuple[Eager, ...]:
                leaf = inputs.raw.detach().clone().requires_grad_()
                with torch.enable_grad():
                    result = f(type(self)(leaf), *arguments)
                    loss, *others = result if has_aux else (result,)
                    (gradient,) = torch.autograd.grad(loss.raw, leaf)
                found = _detached(others[0]) if others else None
                value, slope = _detached(loss), type(self)(gradient)
                return (value, found, slope) if has_aux else (value, slope)

            return value_and_grad

        def uniform(self, shape: Shape, low: float = 0.0, high: float = 1.0) -> SeededTensor:
            return self._drawn(shape, _uniform) * (high - low) + low

        def normal(self, shape: Shape, mean: float = 0.0, stddev: float = 1.0) -> SeededTensor:
            return self._drawn(shape, _normal) * stddev + mean

        def _drawn(self, shape: Shape, draw: Draw) -> SeededTensor:
            wanted = (shape,) if isinstance(shape, int) else tuple(shape)
            values = streams.draw(wanted, tuple(self.shape), draw)
            return type(self)(values.to(self.raw.device, self.raw.dtype))

    return SeededTensor


def _detached(value: Eager) -> Eager:
    """Cut a tensor, or the tensors in a tuple, off the graph."""
    if isinstance(value, PyTorchTensor):
        return type(value)(value.raw.detach())
    return tuple(map(_detached, value)) if isinstance(value, tuple) else value


def _uniform(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return generator.random(shape, dtype=np.float32)


def _normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return generator.standard_normal(shape, dtype=np.float32)
