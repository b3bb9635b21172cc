"""Images and labels from NumPy's ``.npz`` archives."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np

from fgmf.datasets.samples import Samples, as_tensor
from fgmf.errors import FgmfError, InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

_KEYS = (("images", "labels"), ("x", "y"))


def npz(path: str | Path) -> Samples:
    """Read an ``.npz`` file as it is: no dtype is converted, no value rescaled.

    Args:
        path: A file made by ``numpy.savez`` or ``numpy.savez_compressed`` with the arrays
            ``images`` and ``labels``, or ``x`` and ``y``. Others in it are left unread.

    Returns:
        Its images (n, ...) and labels.

    Raises:
        InvalidInput: No such file, no zip archive, neither pair of arrays, or an array of
            objects (which would have to be unpickled, and so is refused).
    """
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - also takes a str
            if not zipfile.is_zipfile(stream):
                raise InvalidInput(f"expected an .npz archive at {path}, got another kind of file")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as archive:
                images, labels = _keys(archive.files, path)
                return Samples(
                    images=as_tensor(archive[images], f"{images} in {path}"),
                    labels=as_tensor(archive[labels], f"{labels} in {path}"),
                )
    except FgmfError:
        raise
    except Exception as error:  # two parsers raise anything on a broken file
        raise InvalidInput(
            f"expected a readable .npz archive of plain numbers at {path}, got: {error}; write it "
            "with numpy.savez(path, images=..., labels=...)"
        ) from error


def _keys(names: list[str], path: str | Path) -> tuple[str, str]:
    for images, labels in _KEYS:
        if images in names and labels in names:
            return images, labels
    wanted = " or ".join(f"{images!r} and {labels!r}" for images, labels in _KEYS)
    raise InvalidInput(f"expected the arrays {wanted} in {path}, got {sorted(names)[:20]}")
