"""Pure functions on images and maps: replacements, blur, cells of a grid, ranges."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch.nn.functional import conv2d, interpolate, pad

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.attribution.request import Request
    from fgmf.types import Images

Replacement: TypeAlias = Literal["zero", "mean", "noise", "blur"]

BLUR_SHARE = 0.125
"""Deviation of the blur that replaces pixels, as a share of the shorter side: at 28 pixels 3.5,
which leaves the brightness of a region and no shape in it."""
_REACH = 3.0
"""Deviations after which a Gaussian is cut off; 0.3 % of its weight lies beyond."""


def replacements(
    request: Request, image: torch.Tensor, kind: Replacement, *, zero: float, number: torch.Tensor
) -> Images:
    """Return what stands for "nothing there" in some images.

    Args:
        request: The images.
        image: (m,) positions of images.
        kind: ``zero``: the value `zero` everywhere. ``mean``: the image's mean per channel.
            ``noise``: normal numbers of the image's mean and deviation over all its values,
            clipped to the bounds. ``blur``: the image, blurred by `BLUR_SHARE` of its side.
        zero: A pixel value; brought into the bounds.
        number: (m,) which draw, for noise.

    Returns:
        (m, c, h, w) on the device of the images.

    Randomness: fixed by seed, key and number.
    """
    chosen = request.images[image.to(request.images.device)]
    lower, upper = request.bounds
    if kind == "zero":
        return torch.full_like(chosen, min(max(zero, lower), upper))
    if kind == "mean":
        return chosen.mean(dim=(2, 3), keepdim=True).expand_as(chosen)
    if kind == "blur":
        return gaussian_blur(chosen, BLUR_SHARE * min(chosen.shape[2:]))
    drawn = normal(request, image, number, "replacement")
    mean, deviation = mean_and_deviation(chosen)
    return (mean + deviation * drawn).clamp(lower, upper)


def normal(request: Request, image: torch.Tensor, number: torch.Tensor, what: str) -> Images:
    """Return standard normal numbers of some images (m,), one draw each: (m, c, h, w)."""
    pairs = zip(image.tolist(), number.tolist(), strict=True)
    return torch.stack([request.normal(i, what, k) for i, k in pairs])


def paired_normal(request: Request, image: torch.Tensor, number: torch.Tensor, what: str) -> Images:
    """Return the same, but draws 2 k and 2 k + 1 differ in nothing but their sign."""
    sign = (1 - 2 * (number % 2)).to(request.images)[:, None, None, None]
    return sign * normal(request, image, number // 2, what)


def mean_and_deviation(images: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and (biased) standard deviation of each image over all values: (n, 1, 1, 1)."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    deviation = images.std(dim=(1, 2, 3), keepdim=True, correction=0)
    return mean, deviation


def gaussian_blur(images: torch.Tensor, deviation: float | torch.Tensor) -> torch.Tensor:
    """Blur images or maps; the edge is reflected, so that a constant stays what it is.

    Args:
        images: (n, c, h, w) or (n, h, w).
        deviation: In pixels, for all, or (n,) one for each; 0 leaves an image as it is.

    Returns:
        Of the same shape.
    """
    if images.ndim == 3:
        return gaussian_blur(images[:, None], deviation)[:, 0]
    n, channels = images.shape[:2]
    deviations = torch.as_tensor(deviation, dtype=images.dtype, device=images.device).expand(n)
    reach = math.ceil(_REACH * float(deviations.max()))
    if reach == 0:
        return images.clone()
    places = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    scaled = places / deviations.clamp_min(1e-6)[:, None]  # a deviation of 0 keeps the centre alone
    kernels = torch.exp(-0.5 * scaled.square())
    kernels = kernels / kernels.sum(dim=1, keepdim=True)
    for axis in (2, 3):
        images = _filtered(images, kernels.repeat_interleave(channels, dim=0), reach, axis)
    return images


def _filtered(images: torch.Tensor, kernels: torch.Tensor, reach: int, axis: int) -> torch.Tensor:
    """Filter every channel of every image along one axis with its own kernel."""
    n, channels, height, width = images.shape
    flat = images.reshape(1, n * channels, height, width)
    side = height if axis == 2 else width
    flat = flat[:, :, *_reflected(side, reach, axis)]
    shape = (-1, 1, kernels.shape[1], 1) if axis == 2 else (-1, 1, 1, kernels.shape[1])
    done = conv2d(flat, kernels.reshape(shape), groups=n * channels)
    return done.reshape(n, channels, height, width)


def _reflected(side: int, reach: int, axis: int) -> tuple[slice | torch.Tensor, ...]:
    """Index of a padded axis: mirrored at the edges, however far the filter reaches."""
    places = torch.arange(-reach, side + reach) % (2 * side)
    places = torch.where(places < side, places, 2 * side - 1 - places)
    return (places, slice(None)) if axis == 2 else (slice(None), places)


def cell_masks(height: int, width: int, grid: int) -> torch.Tensor:
    """Return the cells of a grid over an image.

    Cell (i, j) covers rows floor(i height / grid) to floor((i + 1) height / grid) - 1 and columns
    likewise, so sides that the grid does not divide have cells that differ by one pixel.

    Returns:
        (grid * grid, height, width) bool, row by row; every pixel is in exactly one cell.

    Raises:
        InvalidInput: The grid is finer than the pixels.
    """
    return cell_numbers(height, width, grid)[None] == torch.arange(grid * grid)[:, None, None]


def cell_numbers(height: int, width: int, grid: int) -> torch.Tensor:
    """Return the number of the cell that each pixel is in: (height, width) int64.

    Raises:
        InvalidInput: The grid is finer than the pixels.
    """
    if grid > min(height, width):
        message = f"expected a grid of at most {min(height, width)} cells per side"
        raise InvalidInput(f"{message} for images of {height} x {width}, got {grid}")
    edges = [torch.arange(1, grid + 1) * side // grid for side in (height, width)]
    rows = torch.bucketize(torch.arange(height), edges[0], right=True)
    columns = torch.bucketize(torch.arange(width), edges[1], right=True)
    return rows[:, None] * grid + columns[None, :]


def enlarge(cells: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Bring coarse maps (n, a, b) to (n, height, width), bilinear between centres of cells."""
    size = (height, width)
    return interpolate(cells[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def minmax(maps: torch.Tensor) -> torch.Tensor:
    """Bring each map (n, h, w) to [0, 1]; a map that is the same everywhere becomes zero."""
    low = maps.amin(dim=(1, 2), keepdim=True)
    spread = maps.amax(dim=(1, 2), keepdim=True) - low
    return torch.where(spread > 0, (maps - low) / spread.where(spread > 0, 1), 0)


def image_slope(images: Images) -> torch.Tensor:
    """Return the root mean square of each image's spatial gradient: (n,), per pixel.

    Central differences inside, one-sided at the edges, averaged over pixels and channels.
    """
    padded = pad(images, (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    return (across.square() + down.square()).mean(dim=(1, 2, 3)).sqrt()
