"""From the name of a corruption to corrupted images.

unit  = images, scaled from the bounds to [0, 1], float64
drawn = one generator for each image, from (seed, corruption, severity, key)
back  = clip to [0, 1], scaled to the bounds
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fgmf.corruptions.blur import gaussian_blur, motion_blur
from fgmf.corruptions.catalogue import CORRUPTIONS, SEVERITIES, Severity
from fgmf.corruptions.coding import jpeg, pixelate
from fgmf.corruptions.geometry import rotation, scale, translation
from fgmf.corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from fgmf.corruptions.tone import brightness, contrast
from fgmf.errors import InvalidInput
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fgmf.types import Bounds, Images

_FUNCTIONS: Final[Mapping[str, Callable[..., Images]]] = {
    "gaussian-noise": gaussian_noise,
    "shot-noise": shot_noise,
    "impulse-noise": impulse_noise,
    "gaussian-blur": gaussian_blur,
    "motion-blur": motion_blur,
    "brightness": brightness,
    "contrast": contrast,
    "rotation": rotation,
    "translation": translation,
    "scale": scale,
    "jpeg": jpeg,
    "pixelate": pixelate,
}


def corrupt(
    images: Images,
    name: str,
    *,
    severity: Severity,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    keys: Sequence[str],
) -> Images:
    """Corrupt images.

    Args:
        images: (n, c, h, w) floating point, inside the bounds; any device.
        name: One of :data:`fgmf.corruptions.CORRUPTIONS`.
        severity: 1 (slight) to 5.
        bounds: Lowest and highest valid pixel value.
        seed: Fixes the draws.
        keys: One stable key per image (a digest), for its draws.

    Returns:
        Images of the same shape, type and device, inside the bounds; `images` is left alone.

    Raises:
        InvalidInput: An unknown name or severity; images that are not (n, c, h, w), not floating
            point, or outside the bounds; not one key for each image; JPEG of other than 1 or 3
            channels.

    Randomness: `seed`, the corruption, the severity and the image's key; not the batch.
    """
    _check(images, name, severity, bounds, keys)
    entry, (lower, upper) = CORRUPTIONS[name], bounds
    if not len(images):
        return images.clone()
    values = entry.values(severity, height=images.shape[2], width=images.shape[3])
    unit = (images.detach().cpu().double() - lower) / (upper - lower)
    unit = unit.clamp(0.0, 1.0)
    if entry.draws:
        generators = [image_generator(seed, name, severity, key) for key in keys]
        unit = _FUNCTIONS[name](unit, *values, generators)
    else:
        unit = _FUNCTIONS[name](unit, *values)
    corrupted = lower + unit.clamp(0.0, 1.0) * (upper - lower)
    return corrupted.to(device=images.device, dtype=images.dtype).clamp(lower, upper)


def check_images(images: Images) -> None:
    """Refuse what is no batch of images.

    Raises:
        InvalidInput: Not (n, c, h, w) with something in it, or not floating point.
    """
    if images.ndim != 4 or 0 in images.shape[1:]:
        message = "expected images of shape (n, channels, height, width), got"
        raise InvalidInput(
            f"{message} {tuple(images.shape)}; corruptions are about pixels with neighbours"
        )
    if not images.is_floating_point():
        raise InvalidInput(f"expected images of a floating-point type, got {images.dtype}")


def _check(images: Images, name: str, severity: int, bounds: Bounds, keys: Sequence[str]) -> None:
    if name not in CORRUPTIONS:
        raise InvalidInput(f"expected a corruption of {', '.join(CORRUPTIONS)}, got {name!r}")
    if severity not in SEVERITIES or isinstance(severity, bool):
        raise InvalidInput(f"expected a severity of 1 to 5, got {severity!r}")
    check_images(images)
    lower, upper = bounds
    if not lower < upper:
        raise InvalidInput(f"expected bounds (lower, upper), lower < upper, got {bounds!r}")
    if len(keys) != len(images):
        raise InvalidInput(f"expected one key for each of {len(images)} images, got {len(keys)}")
    if not bool(((images >= lower) & (images <= upper)).all()):
        raise InvalidInput(f"expected images within the bounds {bounds!r}, without NaN; clamp them")
