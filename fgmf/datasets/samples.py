"""Images with labels as one value, and how arrays of any kind become tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Images and their labels, as the user gave them.

    Attributes:
        images: (n, ...) on the CPU, n >= 1, of any dtype and range.
        labels: (n,) or (n, k) on the CPU, of any dtype.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __post_init__(self) -> None:
        """Check that there is one label for each image, and at least one of both.

        Raises:
            InvalidInput: Wrong types, no images, shapes that do not belong together.
        """
        for name, value in (("images", self.images), ("labels", self.labels)):
            if not isinstance(value, torch.Tensor):
                raise InvalidInput(f"expected {name} as a tensor, got {type(value).__name__}")
        images, labels = self.images, self.labels
        if not images.numel():
            message = f"expected at least one image, got images of shape {tuple(images.shape)}"
            raise InvalidInput(f"{message}; is the split or the filter empty?")
        if images.ndim < 2:
            message = f"expected images of shape (n, ...), got {tuple(images.shape)}"
            raise InvalidInput(f"{message}; a single image needs a first axis of length 1")
        if labels.ndim not in (1, 2):
            message = f"expected labels of shape (n,) or (n, k), got {tuple(labels.shape)}"
            raise InvalidInput(f"{message}; give one class index for each image")
        if len(images) != len(labels):
            raise InvalidInput(
                f"expected as many labels as images, got {len(images)} images of shape "
                f"{tuple(images.shape)} and {len(labels)} labels of shape {tuple(labels.shape)}"
            )

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.images)


def as_tensor(value: object, name: str) -> torch.Tensor:
    """Turn an array, number, or list of them into a CPU tensor of the same dtype.

    Args:
        value: Tensor, NumPy array or scalar, Python number, or (nested) list of one of them.
        name: What it is, for messages.

    Returns:
        A dense tensor without gradient; it may share memory with `value`. Python floats become
        float32 and integers int64, as in torch.

    Raises:
        InvalidInput: Another type, a dtype that torch does not have, or lists of unequal shape.
    """
    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided or value.is_quantized:
            raise InvalidInput(f"expected {name} as a dense tensor, got {value.layout}; densify it")
        return value.detach().cpu()
    if isinstance(value, np.ndarray | np.generic):
        return _from_numpy(np.asarray(value), name)
    if isinstance(value, list | tuple):
        return _from_sequence(value, name)
    if isinstance(value, int | float | complex):
        return torch.as_tensor(value)
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise InvalidInput(
        f"expected {name} as a tensor, array or number, got {kind}; "
        "convert it first (a PIL image with torchvision's ToTensor or numpy.asarray)"
    )


def _from_numpy(array: np.ndarray[Any, np.dtype[Any]], name: str) -> torch.Tensor:
    if array.dtype.kind not in "biufc":
        raise InvalidInput(f"expected numbers in {name}, got an array of dtype {array.dtype}")
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    owned = np.ascontiguousarray(native).reshape(native.shape)
    if not owned.flags.writeable:
        owned = owned.copy()
    try:
        return torch.from_numpy(owned)
    except TypeError:
        message = f"expected {name} of a dtype that torch has, got {array.dtype}"
        raise InvalidInput(f"{message}; convert to float32 or int64") from None


def _from_sequence(values: Sequence[object], name: str) -> torch.Tensor:
    if any(isinstance(value, torch.Tensor | np.ndarray) for value in values):
        return joined([as_tensor(value, name)[None] for value in values], name)
    try:
        if any(isinstance(value, np.generic) for value in values):
            return _from_numpy(np.asarray(values), name)
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(
            f"expected {name} as a list of numbers or of equally shaped lists, got a list of "
            f"{len(values)} that is neither ({reason})"
        ) from None


def joined(parts: Sequence[torch.Tensor], name: str) -> torch.Tensor:
    """Concatenate along the first axis, refusing what torch would convert or reject.

    Args:
        parts: Tensors (n_i, ...), at least one.
        name: What they are, for messages.

    Returns:
        (sum n_i, ...), of the common dtype.

    Raises:
        InvalidInput: The parts differ in dtype or in shape beyond the first axis.
    """
    shape, dtype = parts[0].shape[1:], parts[0].dtype
    for position, part in enumerate(parts):
        if part.shape[1:] != shape:
            raise InvalidInput(
                f"expected {name} of one shape, got {tuple(shape)} first and "
                f"{tuple(part.shape[1:])} at position {position}; resize or crop them alike"
            )
        if part.dtype != dtype:
            raise InvalidInput(
                f"expected {name} of one dtype, got {dtype} first and {part.dtype} at position "
                f"{position}; convert them alike"
            )
    return torch.cat(tuple(parts))
