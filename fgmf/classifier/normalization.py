"""Normalisation inside the adapter, so that images and epsilon stay in the user's units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.types import Images


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """``(image - mean) / std`` for each channel, applied after the adversary, before the model.

    Attributes:
        mean: One value for all channels, or one per channel, in the units of the bounds.
        std: Likewise; greater than zero.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InvalidInput: A value is not finite, a deviation is not positive, or lengths differ.
        """
        if not self.mean or len({len(self.mean), len(self.std)} - {1}) > 1 or not self.std:
            message = (
                f"expected mean and std with one value or one per channel, got "
                f"{len(self.mean)} and {len(self.std)} values"
            )
            raise InvalidInput(message)
        if not all(map(math.isfinite, self.mean + self.std)) or min(self.std) <= 0:
            message = f"expected finite mean and std > 0, got mean {self.mean}, std {self.std}"
            raise InvalidInput(message)

    @classmethod
    def of(cls, value: Normalization | Mapping[str, object] | None) -> Normalization | None:
        """Accept a mapping ``{"mean": …, "std": …}`` with numbers or lists of numbers.

        Raises:
            InvalidInput: Other keys, or values that are not numbers.
        """
        if value is None or isinstance(value, Normalization):
            return value
        if not isinstance(value, Mapping) or set(value) != {"mean", "std"}:
            message = f"expected normalize with the keys mean and std, got {value!r}"
            raise InvalidInput(message)
        return cls(mean=_numbers("mean", value["mean"]), std=_numbers("std", value["std"]))

    def apply(self, images: Images) -> Images:
        """Normalise images of shape (n, c, ...); differentiable.

        Raises:
            InvalidInput: The number of channels is not the number of values.
        """
        mean, std = self._shaped(images, self.mean), self._shaped(images, self.std)
        return (images - mean) / std

    def _shaped(self, images: Images, values: tuple[float, ...]) -> torch.Tensor:
        channels = images.shape[1] if images.ndim > 1 else 0
        if len(values) not in {1, channels}:
            message = (
                f"expected images with {len(values)} channels for normalisation, got shape "
                f"{tuple(images.shape)}; give one mean and std per channel, or a single one"
            )
            raise InvalidInput(message)
        tensor = torch.tensor(values, dtype=images.dtype, device=images.device)
        return tensor.reshape(1, -1, *([1] * (images.ndim - 2)))


def _numbers(name: str, value: object) -> tuple[float, ...]:
    entries = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    numbers = [e for e in entries if isinstance(e, int | float) and not isinstance(e, bool)]
    if len(numbers) != len(entries):
        raise InvalidInput(f"expected {name} as a number or a list of numbers, got {value!r}")
    return tuple(map(float, numbers))
