"""Sparsity patterns on disk: safetensors with packed bits, and shapes and digests in its header."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from fgmf.canonical import canonical_json, write_atomically
from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.sparsity.pattern import SparsityPattern, TensorPattern

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Final = "fgmf-sparsity-pattern/1"
_HEADER: Final = "fgmf"


def save_pattern(pattern: SparsityPattern, path: Path) -> None:
    """Write a pattern.

    Args:
        pattern: At least one tensor.
        path: Of the file, ``.safetensors`` by custom; replaced as a whole where it is there.

    Raises:
        InvalidInput: The pattern names no tensor.
        OSError: The directory cannot be written.
    """
    if not pattern.tensors:
        raise InvalidInput("expected a pattern with at least one tensor, got an empty one")
    shapes = {
        name: {"shape": list(entry.shape), "digest": entry.digest}
        for name, entry in pattern.tensors.items()
    }
    header: Any = {"format": FORMAT, "digest": pattern.digest, "tensors": shapes}
    # Tensors of no element have no bits, and need none.
    bits = {
        name: torch.frombuffer(bytearray(entry.bits), dtype=torch.uint8)
        for name, entry in pattern.tensors.items()
        if entry.bits
    }
    write_atomically(path, save(bits, {_HEADER: canonical_json(header).decode()}))


def load_pattern(path: Path) -> SparsityPattern:
    """Read a pattern.

    Raises:
        StaleEvidence: The file is none, or a pattern in it is not what its digest says.
        OSError: The file cannot be read.
    """
    contents = path.read_bytes()
    try:
        bits = load(contents)
        header = json.loads(_metadata(contents)[_HEADER])
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']!r:.40}")
        tensors = {
            name: TensorPattern(
                shape=tuple(entry["shape"]),
                bits=bytes(bits[name].numpy()) if name in bits else b"",
            )
            for name, entry in header["tensors"].items()
        }
        pattern = SparsityPattern(tensors=tensors)
        whole, recorded = (
            header["digest"],
            {name: entry["digest"] for name, entry in header["tensors"].items()},
        )
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"expected a sparsity pattern of format {FORMAT} in {path}"
        raise StaleEvidence(f"{message}, got: {error}") from error
    for name, entry in pattern.tensors.items():
        if entry.digest != recorded[name]:
            raise StaleEvidence(f"{path}: the pattern of {name} is not what its digest says")
    if pattern.digest != whole:
        raise StaleEvidence(f"{path}: the pattern is not what its digest says")
    return pattern


def _metadata(contents: bytes) -> dict[str, str]:
    """The texts in the header of a safetensors file, which `load` has accepted already."""
    length = int.from_bytes(contents[:8], "little")
    found: dict[str, str] = json.loads(contents[8 : 8 + length]).get("__metadata__", {})
    return found
