"""Canonical forms: one byte string per value, so that equal things have equal digests.

JSON follows RFC 8785 (through `rfc8785`); tensors are hashed with their dtype and shape.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
from typing import TYPE_CHECKING

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from fgmf.types import Json


def canonical_json(document: Json) -> bytes:
    """Encode a document as canonical JSON.

    Args:
        document: JSON value; floats must be finite.

    Returns:
        UTF-8 bytes: sorted keys, shortest floats, no white space.

    Raises:
        InvalidInput: A float is NaN or infinite, or a value is not JSON.

    Source: RFC 8785.
    """
    import rfc8785

    try:
        return rfc8785.dumps(document)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        message = f"expected a JSON document of finite numbers and valid text, got: {error}"
        raise InvalidInput(message) from error


def json_digest(document: Json) -> str:
    """Return ``sha256:<hex>`` of the canonical JSON of `document`."""
    return "sha256:" + hashlib.sha256(canonical_json(document)).hexdigest()


def tensor_digest(tensor: torch.Tensor) -> str:
    """Return ``sha256:<hex>`` over dtype, shape and contents of a tensor.

    Args:
        tensor: Any dense tensor on any device.

    Returns:
        The same text for equal dtype, shape and bytes, on every device.

    Cost: one copy, of tensors that are on another device or not contiguous.
    """
    import torch as torch_

    contents = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(_tensor_head(contents.dtype, tuple(contents.shape)))
    if contents.numel():  # read in place: a copy of all images would count in a gate's memory
        digest.update(contents.reshape(-1).view(torch_.uint8).numpy().data)
    return "sha256:" + digest.hexdigest()


def row_digests(tensor: torch.Tensor) -> list[str]:
    """Return :func:`tensor_digest` of each row of a tensor (n, ...), at half the price.

    Cost: one copy, of tensors that are on another device or not contiguous.
    """
    import torch as torch_

    contents = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(_tensor_head(contents.dtype, tuple(contents.shape[1:])))
    if not contents.numel():
        return ["sha256:" + digest.hexdigest()] * len(contents)
    found = []
    for row in contents.reshape(len(contents), -1).view(torch_.uint8).numpy():
        own = digest.copy()
        own.update(row.data)
        found.append("sha256:" + own.hexdigest())
    return found


def _tensor_head(dtype: torch.dtype, shape: tuple[int, ...]) -> bytes:
    return f"{str(dtype).removeprefix('torch.')}:{shape}:".encode()


def finite_or_none(value: float) -> float | None:
    """Return `value`, or None where JSON has no number for it (NaN, infinities)."""
    return value if math.isfinite(value) else None


def write_atomically(path: Path, contents: bytes) -> None:
    """Write a file so that readers see the old contents or the new, never a part.

    The file's permissions are those of any new file of the user (umask).

    Args:
        path: Target; missing parent directories are made.
        contents: The whole new contents.

    Raises:
        OSError: The directory cannot be written; the old file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as stream:
            stream.write(contents)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
