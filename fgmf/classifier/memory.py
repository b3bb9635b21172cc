"""Batches that halve when memory runs out."""

from __future__ import annotations

import ctypes
import gc
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import torch

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Result = TypeVar("_Result")
_CPU_ALLOCATOR_WORDS = ("can't allocate memory", "not enough memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """True for the ways in which torch says that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(w in words for w in _CPU_ALLOCATOR_WORDS)


def batched(
    count: int, batch_size: int, run: Callable[[slice], _Result]
) -> Iterator[tuple[slice, _Result]]:
    """Run a function over consecutive slices of ``range(count)``, halving them on demand.

    Args:
        count: Number of items.
        batch_size: Largest slice.
        run: Called with each slice; called again with smaller ones if memory runs out, so it
            must not leave half a result behind.

    Yields:
        Each slice with what `run` returned for it, in order.

    Raises:
        InvalidInput: Memory runs out for a single item.
    """
    start, size = 0, batch_size
    while start < count:
        part = slice(start, min(start + size, count))
        try:
            result = run(part)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            width = part.stop - part.start
            if width == 1:
                raise InvalidInput(
                    "expected memory for at least one image, but it ran out at batch size 1; "
                    "use a smaller model or input, or a device with more memory"
                ) from error
            size = width // 2
            release_memory()
            continue
        yield part, result
        start = part.stop


def return_freed() -> None:
    """Give the system back what was freed, where the C library keeps it (glibc).

    Once a large tensor has been freed, glibc takes tensors of a few MiB from its heap rather than
    from the system, and holes of that heap stay resident: memory would grow with the number of
    blocks. Cost: below a millisecond, and the touching again of what was given back.
    """
    trim = _trimmer()
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def _trimmer() -> Callable[[int], int] | None:
    """``malloc_trim`` of the C library in use; None where it has none."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def release_memory() -> None:
    """Give back what is no longer used, after memory ran out."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
