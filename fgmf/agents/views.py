"""What an agent sees of the input, as plain data: some channels, a rectangle, or all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.fx

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.types import Images, Json

torch.fx.wrap("_check_fits")  # a check of shapes, not a part of the graph


@dataclass(frozen=True, kw_only=True)
class View:
    """The part of the input that an agent sees; the rest does not reach it.

    Attributes:
        channels: Which channels, in this order; None: all. A modality or an agent's own
            observation is a channel, or several.
        crop: Top, left, height and width of a rectangle in pixels; None: the whole side.
    """

    channels: tuple[int, ...] | None = None
    crop: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        """Refuse what shows nothing.

        Raises:
            InvalidInput: No channel, one twice, a negative number, or a rectangle without pixels.
        """
        channels, crop = self.channels, self.crop
        if channels is not None:
            object.__setattr__(self, "channels", channels := tuple(channels))
            if not channels or len(set(channels)) < len(channels) or not _whole(channels):
                raise InvalidInput(f"expected channels as distinct numbers >= 0, got {channels}")
        if crop is not None:
            sides = tuple(crop)
            object.__setattr__(self, "crop", sides)
            if len(sides) != 4 or not _whole(sides) or min(sides[2:]) < 1:
                raise InvalidInput(
                    "expected crop as (top, left, height, width) in pixels with a height and "
                    f"width of at least 1, got {crop}"
                )

    @classmethod
    def of(cls, value: View | Mapping[str, object] | None) -> View:
        """A view from what a user gives: a view, its document, or None for the whole input.

        Raises:
            InvalidInput: It is none of these, or a key is unknown.
        """
        if value is None:
            return cls()
        if isinstance(value, View):
            return value
        try:
            return cls(**dict(value))  # type: ignore[arg-type]  # checked by the class itself
        except (TypeError, ValueError) as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(
                f"expected a view with channels = [..] and crop = [..], got {value!r:.200}"
            ) from None

    def as_document(self) -> dict[str, Json]:
        """Return the view as plain JSON; :meth:`of` reads it."""
        return {
            "channels": None if self.channels is None else list(self.channels),
            "crop": None if self.crop is None else list(self.crop),
        }

    def applied(self, images: Images) -> Images:
        """Return what is seen of images (n, c, h, w); the images themselves where that is all.

        Raises:
            InvalidInput: The images lack such a channel, or such pixels.
        """
        if self.channels is None and self.crop is None:
            return images
        _check_fits(images, self.channels, self.crop)
        if self.channels is not None:
            images = images[:, list(self.channels)]
        if self.crop is not None:
            top, left, height, width = self.crop
            images = images[..., top : top + height, left : left + width]
        return images


def _whole(numbers: tuple[object, ...]) -> bool:
    return all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)


def _check_fits(
    images: Images, channels: tuple[int, ...] | None, crop: tuple[int, int, int, int] | None
) -> None:
    top, left, height, width = crop or (0, 0, 1, 1)
    needed = (1 + max(channels or (0,)), top + height, left + width)
    if images.ndim != 4 or any(
        have < need for have, need in zip(images.shape[1:], needed, strict=True)
    ):
        raise InvalidInput(
            f"expected images (n, c, h, w) with at least {needed[0]} channels and "
            f"{needed[1]} x {needed[2]} pixels, got {tuple(images.shape)}; correct the agent's view"
        )
