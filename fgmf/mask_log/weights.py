"""The weights of a mask layer: which masks were made by which weights.

    digest = SHA-256 over the tensors, sorted by name: name, zero byte, form, values

A batch names the digest of the weights that made its masks; the tensors themselves stand in a
record of kind ``weights`` as often as the caller asks, for masks to be made again.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fgmf.errors import BrokenRecord, InvalidInput
from fgmf.mask_log.rows import ArrayForm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.types import Json

MOST_WEIGHT_BYTES: Final = 2**28
"""Most bytes of the weights of one layer in a record."""


class StoredTensor(NamedTuple):
    """One tensor of a layer: what it looks like, and its values."""

    form: ArrayForm
    values: bytes


def weights_digest(tensors: Sequence[StoredTensor]) -> bytes:
    """Return the digest of a layer's tensors, in whichever order they come."""
    digest = hashlib.sha256()
    for form, values in sorted(tensors, key=lambda tensor: tensor.form.name):
        digest.update(tensor_head(form))
        digest.update(values)
    return digest.digest()


def tensor_head(form: ArrayForm) -> bytes:
    """Return what is hashed before the values of a tensor."""
    return form.name.encode() + b"\x00" + form.prefix


def described_tensors(tensors: Sequence[StoredTensor]) -> list[Json]:
    """Return the forms of tensors as a record has them."""
    return [tensor.form.as_document() for tensor in tensors]


def stored_tensors(forms: Sequence[Any], data: bytes) -> list[StoredTensor]:
    """Return the tensors of a record.

    Args:
        forms: As the record has them.
        data: Their values, one after the other.

    Raises:
        BrokenRecord: The forms are none, or need more or fewer bytes.
    """
    try:
        known = [ArrayForm.from_document(form) for form in forms]
    except (KeyError, TypeError, AttributeError, InvalidInput) as error:
        raise BrokenRecord(f"no form of a tensor: {error}") from None
    if sum(form.byte_count for form in known) != len(data):
        raise BrokenRecord("its tensors need more or fewer bytes than there are")
    tensors, position = [], 0
    for form in known:
        tensors.append(StoredTensor(form, data[position : position + form.byte_count]))
        position += form.byte_count
    return tensors
