"""Fashion-MNIST from local idx files, and a checked download of them."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fgmf.canonical import write_atomically
from fgmf.datasets.idx import read_idx
from fgmf.datasets.samples import Samples
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from typing import BinaryIO

    from fgmf.datasets.handwritten import Split

DIRECTORY_VARIABLE = "FGMF_DATA"
SYSTEM_DIRECTORY = Path("/usr/share/datasets/fashion-mnist")
SOURCE_URL = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion"

_PREFIXES = {"train": "train", "test": "t10k"}
# Size in bytes and SHA-256 of the files as their authors publish them.
_PUBLISHED = {
    "train-images-idx3-ubyte.gz": (
        26421880,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    "train-labels-idx1-ubyte.gz": (
        29515,
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    "t10k-images-idx3-ubyte.gz": (
        4422102,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        5148,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
}


def fashion_mnist(directory: str | Path | None = None, *, split: Split = "train") -> Samples:
    """Return one part of Fashion-MNIST (or of another set in the same four files).

    Args:
        directory: Folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
            ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each also as ``.gz``.
            None looks into the folder that the environment variable ``FGMF_DATA`` names, then
            into its folder ``fashion-mnist``, then into ``/usr/share/datasets/fashion-mnist``.
        split: ``"train"`` (60 000 images) or ``"test"`` (10 000 images).

    Returns:
        Images (n, 1, 28, 28), float32 in [0, 1] (bytes divided by 255); labels (n,), int64.

    Raises:
        InvalidInput: Another name of a split, files that are missing or broken, or images and
            labels that do not belong together.

    Source: Xiao, Rasul and Vollgraf (2017), Fashion-MNIST.
    """
    if split not in _PREFIXES:
        raise InvalidInput(f'expected split="train" or split="test", got {split!r}')
    folders = _default_directories() if directory is None else [Path(directory)]
    prefix = _PREFIXES[split]
    images = read_idx(_found(folders, f"{prefix}-images-idx3-ubyte"), axes=3)
    labels = read_idx(_found(folders, f"{prefix}-labels-idx1-ubyte"), axes=1)
    pixels = torch.from_numpy(images).to(torch.float32)[:, None] / 255
    return Samples(images=pixels, labels=torch.from_numpy(labels).to(torch.int64))


def download_fashion_mnist(directory: str | Path, *, source_url: str = SOURCE_URL) -> Path:
    """Fetch the four files of Fashion-MNIST (31 MB) into a folder.

    Args:
        directory: Folder for the files, made if missing. Files in it that are already right are
            kept, others of these names are replaced.
        source_url: Where they are; only https.

    Returns:
        The folder, for :func:`fashion_mnist`.

    Raises:
        InvalidInput: The address is not https, or a file does not have the published size and
            SHA-256; nothing is written of such a file.
        OSError: The network or the disk failed.
    """
    if not source_url.startswith("https://"):
        raise InvalidInput(f"expected an address that starts with https://, got {source_url!r}")
    folder = Path(directory)
    for name, (size, digest) in _PUBLISHED.items():
        target = folder / name
        if target.is_file() and _sha256(target.read_bytes()) == digest:
            continue
        url = f"{source_url.rstrip('/')}/{name}"
        with _opened(url) as stream:
            contents = stream.read(size + 1)
        if len(contents) != size or _sha256(contents) != digest:
            raise InvalidInput(
                f"expected {size} bytes with SHA-256 {digest} from {url}, got "
                f"{min(len(contents), size)}{'+' if len(contents) > size else ''} bytes with "
                f"{_sha256(contents)}; try again, or fetch the files by hand"
            )
        write_atomically(target, contents)
    return folder


def _opened(url: str) -> BinaryIO:
    """Open an https address for reading."""
    stream: BinaryIO = urllib.request.urlopen(url, timeout=60)  # noqa: S310 - https, see caller
    return stream


def _sha256(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()


def _default_directories() -> list[Path]:
    named = os.environ.get(DIRECTORY_VARIABLE)
    own = [Path(named), Path(named) / "fashion-mnist"] if named else []
    return [*own, SYSTEM_DIRECTORY]


def _found(folders: list[Path], name: str) -> Path:
    for folder in folders:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    tried = ", ".join(map(str, folders))
    raise InvalidInput(
        f"expected {name} or {name}.gz in {tried}, got no such file; fetch the data with "
        f"fgmf.datasets.download_fashion_mnist(folder), or name its folder in {DIRECTORY_VARIABLE}"
    )
