"""Carrying out replacements: removed pixels get other values.

fixed replacements:  where(removed, substitutes, images)
inpainting:          average known pixels over 2x2 blocks, again and again, until one block is left;
                     going back, a block without a known pixel takes the value of the one above it
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import torch
from torch.nn import functional

from fgmf.errors import InvalidInput
from fgmf.faithfulness.replacements import REPLACEMENTS
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fgmf.types import Bounds, Images

_BLUR_SHARE = 0.1
_BLUR_REACH = 3.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Fill:
    """Images, and what replaces their pixels.

    Attributes:
        name: Of the replacement.
        images: (n, c, h, w).
        substitutes: (n, c, h, w) what stands in the place of each pixel; None where that depends
            on the other removed pixels.
        middle: Value where nothing at all is known.
    """

    name: str
    images: Images
    substitutes: Images | None
    middle: float

    def to(self, device: torch.device) -> Fill:
        """Return the same on a device."""
        substitutes = None if self.substitutes is None else self.substitutes.to(device)
        return replace(self, images=self.images.to(device), substitutes=substitutes)

    def replace(self, rows: torch.Tensor | slice, removed: torch.Tensor) -> Images:
        """Return images with removed pixels replaced.

        Args:
            rows: (m,) positions of images, or a slice of them.
            removed: (m, c or 1, h, w) True where a pixel goes.
        """
        images = self.images[rows]
        if self.substitutes is None:
            return torch.where(removed, _inpainted(images, ~removed, self.middle), images)
        return torch.where(removed, self.substitutes[rows], images)


def make_fill(
    name: str,
    images: Images,
    *,
    bounds: Bounds,
    keys: Sequence[str],
    seed: int,
    draw: int = 0,
) -> Fill:
    """Prepare a replacement for images.

    Args:
        name: One of `REPLACEMENTS`.
        images: (n, c, h, w) floating point within the bounds.
        bounds: Lowest and highest valid pixel value.
        keys: One stable name per image.
        seed: With the keys it fixes all draws.
        draw: Number of the draw.

    Raises:
        InvalidInput: No replacement of that name, or another image is wanted and there is none.

    Randomness: fixed by seed, key, name and `draw`; the other image by the keys of the set, too.
    """
    if name not in REPLACEMENTS:
        known = ", ".join(REPLACEMENTS)
        raise InvalidInput(f"expected a replacement of {known}, got {name!r}")
    substitutes = None
    if REPLACEMENTS[name].fixed:
        request = _Request(images=images, bounds=bounds, keys=tuple(keys), seed=seed, draw=draw)
        substitutes = _MAKERS[name](request)
    return Fill(name=name, images=images, substitutes=substitutes, middle=sum(bounds) / 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Request:
    images: Images
    bounds: Bounds
    keys: tuple[str, ...]
    seed: int
    draw: int

    def each(self, value: torch.Tensor) -> Images:
        """One value per image (n,), spread over it."""
        return value[:, None, None, None].expand_as(self.images)


def _zero(request: _Request) -> Images:
    lower, upper = request.bounds
    return torch.full_like(request.images, min(max(0.0, lower), upper))


def _mean(request: _Request) -> Images:
    return request.each(_by_image(request.images, torch.mean))


def _black(request: _Request) -> Images:
    return request.each(request.images.flatten(1).amin(dim=1))


def _white(request: _Request) -> Images:
    return request.each(request.images.flatten(1).amax(dim=1))


def _noise(request: _Request) -> Images:
    images, shape = request.images, tuple(request.images.shape[1:])
    drawn = torch.stack(
        [
            torch.from_numpy(
                image_generator(request.seed, key, "noise", request.draw).standard_normal(shape)
            )
            for key in request.keys
        ]
    ).to(images)
    centre, deviation = _by_image(images, torch.mean), _by_image(images, torch.std)
    moved = request.each(centre) + request.each(deviation) * drawn
    return moved.clamp(*request.bounds)


def _by_image(images: Images, reduce: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """One value per image (n,), to the last bit the same whichever images are beside it."""
    return torch.stack([reduce(image) for image in images])


def _uniform(request: _Request) -> Images:
    lower, upper = request.bounds
    values = [
        image_generator(request.seed, key, "uniform", request.draw).uniform(lower, upper)
        for key in request.keys
    ]
    return request.each(torch.tensor(values, dtype=torch.float64).to(request.images))


def _other_image(request: _Request) -> Images:
    """The partner is drawn from the keys in their own order, whatever that of the images is."""
    count = len(request.keys)
    if count < 2:
        message = "expected at least two images where another one replaces pixels, got one"
        raise InvalidInput(message)
    order = sorted(range(count), key=lambda at: request.keys[at])
    place = {at: number for number, at in enumerate(order)}
    partners = []
    for at, key in enumerate(request.keys):
        generator = image_generator(request.seed, key, "other-image", request.draw)
        step = 1 + int(generator.integers(count - 1))
        partners.append(order[(place[at] + step) % count])
    return request.images[partners]


def _blur(request: _Request) -> Images:
    images = request.images
    height, width = images.shape[-2:]
    sigma = _BLUR_SHARE * max(height, width)
    reach = max(1, round(_BLUR_REACH * sigma))
    place = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (place / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(images)
    planes = images.reshape(-1, 1, height, width)
    padded = functional.pad(planes, (reach, reach, reach, reach), mode="replicate")
    rows = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(rows, kernel.view(1, 1, -1, 1)).reshape_as(images)


_MAKERS: dict[str, Callable[[_Request], Images]] = {
    "zero": _zero,
    "mean": _mean,
    "blur": _blur,
    "noise": _noise,
    "other-image": _other_image,
    "uniform": _uniform,
    "black": _black,
    "white": _white,
}


def _inpainted(images: Images, known: torch.Tensor, middle: float) -> Images:
    """(m, c, h, w) a value for every pixel, from the known ones around."""
    weight = known.expand_as(images).to(images)
    return _filled(images * weight, weight, middle)


def _filled(total: Images, weight: Images, middle: float) -> Images:
    own = torch.where(weight > 0, total / weight.clamp_min(torch.finfo(weight.dtype).tiny), 0.0)
    if total.shape[-2:] == (1, 1):
        return torch.where(weight > 0, own, middle)

    def halved(values: Images) -> Images:
        return functional.avg_pool2d(values, 2, ceil_mode=True)

    coarse = _filled(halved(total), halved(weight), middle)
    size = cast("list[int]", list(total.shape[-2:]))
    above = functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    return torch.where(weight > 0, own, above)
