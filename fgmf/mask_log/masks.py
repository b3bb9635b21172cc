"""From what a row holds to saliency masks, in NumPy: what readers see without torch.

Version 1 of the upsampling is that of `fgmf.sgam.upsampling`, operation by operation in float32, so
that the masks are the same to the last bit. A grid of another version cannot be read here: whoever
made it must say how.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fgmf.errors import InvalidInput
from fgmf.mask_log.rows import MOST_BYTES, MOST_VALUES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from fgmf.mask_log.rows import ArrayForm, Layout

GRID: Final = "grid"
MASK: Final = "saliency_mask"
INPUT: Final = "input"


def array_of(form: ArrayForm, values: bytes) -> np.ndarray[Any, Any]:
    """Return the values of one array of one sample; bfloat16, which NumPy lacks, as float32."""
    import numpy as np

    if form.dtype == "bits":
        bits = np.unpackbits(np.frombuffer(values, dtype=np.uint8), count=form.value_count)
        return bits.reshape(form.shape)
    if form.dtype == "bfloat16":
        return np.frombuffer(widened(values), dtype=np.float32).reshape(form.shape)
    return np.frombuffer(values, dtype=form.dtype).reshape(form.shape)


def widened(values: bytes) -> bytes:
    """Return bfloat16 values as float32: the same numbers, with zeros below."""
    wide = bytearray(2 * len(values))
    wide[2::4], wide[3::4] = values[::2], values[1::2]
    return bytes(wide)


def saliency_mask_of_row(layout: Layout, arrays: Mapping[str, bytes]) -> np.ndarray[Any, Any]:
    """Return the saliency mask of a sample.

    Args:
        layout: Of its row.
        arrays: Its arrays' values, by name.

    Returns:
        (c, h, w), as it was applied.

    Raises:
        InvalidInput: The grid is of an upsampling that is not known here.
    """
    forms = {form.name: form for form in layout.arrays}
    if MASK in arrays:
        return array_of(forms[MASK], arrays[MASK])
    version = layout.layer.get("upsampling_version")
    size, floor = layout.layer.get("size"), layout.layer.get("m_min")
    known = version == 1 and _is_size(size) and isinstance(floor, float | int)
    if not known or len(forms[GRID].shape) != 3:
        raise InvalidInput(f"expected version 1 of the upsampling, got {version!r:.40}")
    return mask_of_grid(array_of(forms[GRID], arrays[GRID]), (size[0], size[1]), float(floor))  # type: ignore[arg-type,index]


def _is_size(size: object) -> bool:
    """Say whether a layer's facts name a height and a width that a mask can have."""
    if not isinstance(size, list) or len(size) != 2:
        return False
    whole = all(type(side) is int and 0 < side <= MOST_VALUES for side in size)
    return whole and size[0] * size[1] <= MOST_BYTES // 8


def mask_of_grid(
    grid: np.ndarray[Any, Any], size: tuple[int, int], floor: float
) -> np.ndarray[Any, Any]:
    """Return the mask that version 1 of the upsampling makes of a grid.

    Args:
        grid: (1, g, k) of saliency in [0, 1].
        size: Height and width of the mask.
        floor: Lowest value of the mask.

    Returns:
        (1, height, width) of the grid's type.
    """
    import numpy as np

    one = grid.dtype.type(1.0)
    saliency = _stretched(_stretched(grid, size[0], axis=1), size[1], axis=2)
    mask = one - grid.dtype.type(1.0 - floor) * saliency
    clipped: np.ndarray[Any, Any] = np.clip(mask, grid.dtype.type(floor), one)
    return clipped


def _stretched(values: np.ndarray[Any, Any], size: int, *, axis: int) -> np.ndarray[Any, Any]:
    import numpy as np

    cells = values.shape[axis]
    positions = np.clip((2 * np.arange(size) + 1) * cells - size, 0, (cells - 1) * 2 * size)
    low = positions // (2 * size)
    share = (positions - low * 2 * size).astype(values.dtype) / values.dtype.type(2 * size)
    high = np.minimum(low + 1, cells - 1)
    shape = [1] * values.ndim
    shape[axis] = size
    below = np.take(values, low, axis=axis)
    above = np.take(values, high, axis=axis)
    stretched: np.ndarray[Any, Any] = below + (above - below) * share.reshape(shape)
    return stretched
