"""How the arithmetic of a training is done: device, precision, layout in memory, compilation.

None of this changes what is minimised. On one machine, with one number of threads, the same
engine gives the same weights; other engines round differently.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import nn

    from fgmf.types import Images


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where and how a training computes.

    Attributes:
        device: Of the model and the batches.
        mixed_precision: ``bfloat16``, or ``float16`` with scaled losses (CUDA only); None computes
            in the type of the weights.
        channels_last: Images and weights of convolutions with the channels innermost.
        compiled: Run the model through `torch.compile`. Crafting, training and averaging work;
            what needs second derivatives says that compiled code has none.
        backend: Of `torch.compile`.
        accumulate: Parts that a batch is computed in, one after the other, with one update at
            the end: less memory, the same mean gradient.
    """

    device: str = "cpu"
    mixed_precision: Literal["bfloat16", "float16"] | None = None
    channels_last: bool = False
    compiled: bool = False
    backend: str = "inductor"
    accumulate: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot compute.

        Raises:
            InvalidInput: A value outside its range, or float16 without CUDA.
        """
        if not isinstance(self.accumulate, int) or self.accumulate < 1:
            raise InvalidInput(
                f"expected accumulate as a whole number above 0, got {self.accumulate!r}"
            )
        if self.mixed_precision not in (None, "bfloat16", "float16"):
            raise InvalidInput(
                f"expected mixed_precision of bfloat16, float16, got {self.mixed_precision!r}"
            )
        if self.mixed_precision == "float16" and not self.device.startswith("cuda"):
            raise InvalidInput(
                "expected a CUDA device for float16, whose small gradients need scaled losses, "
                f"got {self.device!r}; take bfloat16"
            )

    def check_device(self) -> None:
        """Refuse a device that this machine does not have.

        Raises:
            InvalidInput: Torch does not find it.
        """
        kind = torch.device(self.device)
        counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
        found = counts.get(kind.type, 1)
        if (kind.index or 0) >= found:
            raise InvalidInput(
                f"expected a device of this machine, got {self.device!r}, and torch finds {found} "
                f'{kind.type} device(s) here; take "cpu", or a torch that is built for it'
            )

    def check_backend(self) -> None:
        """Refuse a backend that nobody has registered, modules of the user's own included.

        Raises:
            InvalidInput: `torch.compile` does not know it.
        """
        if self.compiled and self.backend not in torch.compiler.list_backends(exclude_tags=()):
            known = ", ".join(torch.compiler.list_backends())
            raise InvalidInput(
                f"expected a backend of torch.compile ({known}, ...), got {self.backend!r}"
            )

    def placed(self, model: nn.Module) -> nn.Module:
        """Move the model itself to the device and layout, and return what is run in its place."""
        model.to(self.device)
        if self.channels_last:
            cast("Any", model).to(memory_format=torch.channels_last)
        if not self.compiled:
            return model
        return cast("nn.Module", torch.compile(model, backend=self.backend))

    def images(self, images: Images) -> Images:
        """Return a batch where the model wants it."""
        moved = images.to(self.device)
        return moved.contiguous(memory_format=torch.channels_last) if self.channels_last else moved

    def precision(self) -> AbstractContextManager[object]:
        """The context in which losses are computed."""
        if self.mixed_precision is None:
            return nullcontext()
        kind = torch.device(self.device).type
        return torch.autocast(kind, dtype=getattr(torch, self.mixed_precision))

    def scaler(self) -> torch.amp.GradScaler:
        """Scales losses under float16; otherwise does nothing."""
        return torch.amp.GradScaler("cuda", enabled=self.mixed_precision == "float16")
