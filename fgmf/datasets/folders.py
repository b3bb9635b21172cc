"""Images in one folder per class."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from fgmf.datasets.samples import Samples
from fgmf.errors import FgmfError, InvalidInput

if TYPE_CHECKING:
    from PIL import Image

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}


def image_folder(path: str | Path, *, size: int | tuple[int, int] | None = None) -> Samples:
    """Read images from a folder that holds one folder per class.

    Args:
        path: The folder. Its folders, sorted by name, are the classes 0, 1, 2, ...; the files in
            each are read in the order of their names. Hidden entries are left out.
        size: Height and width (or both in one number) that all images are resized to, bilinear
            with antialiasing, aspect ratio not kept. None wants images of one size.

    Returns:
        Images (n, c, h, w), float32 in [0, 1] (bytes divided by 255), c = 1 if all are grey,
        3 if all are RGB (a palette counts as RGB); labels (n,), int64.

    Raises:
        InvalidInput: No classes or an empty one; a file in a class that is no image, is broken,
            or lies outside the folder through a symbolic link; images of different size or
            colour, with an alpha channel, or with more than 8 bits.
    """
    root = Path(path)
    height_width = _height_width(size)
    images: list[torch.Tensor] = []
    labels: list[int] = []
    first: Path | None = None
    for label, files in enumerate(_classes(root)):
        for file in files:
            image = _pixels(file, height_width)
            if first is not None and image.shape != images[0].shape:
                _refuse_difference(file, image, first, images[0])
            first = first or file
            images.append(image)
            labels.append(label)
    scaled = torch.stack(images).to(torch.float32) / 255
    return Samples(images=scaled, labels=torch.tensor(labels))


def _height_width(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise InvalidInput(f"expected size as pixels or (height, width), got {size!r}")
    return pair[0], pair[1]


def _classes(root: Path) -> list[list[Path]]:
    if not root.is_dir():
        raise InvalidInput(f"expected a folder with one folder per class, got no folder at {root}")
    folders = [entry for entry in _visible(root) if entry.is_dir()]
    if not folders:
        raise InvalidInput(f"expected one folder of images per class in {root}, got no folders")
    inside = root.resolve()
    return [_files(folder, inside) for folder in folders]


def _visible(folder: Path) -> list[Path]:
    entries = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return sorted(entries, key=lambda entry: entry.name)


def _files(folder: Path, inside: Path) -> list[Path]:
    files = _visible(folder)
    if not files:
        raise InvalidInput(f"expected images in the class folder {folder}, got an empty folder")
    for file in files:
        if not _lies_in(file, inside):
            raise InvalidInput(f"expected {file} inside {inside}, got a link that leads out of it")
        if file.suffix.lower() not in _FORMATS or not file.is_file():
            kind = "a folder" if file.is_dir() else "another file"
            raise InvalidInput(
                f"expected only images ({', '.join(_FORMATS)}) in the class folder {folder}, got "
                f"{kind}: {file.name}; move it away"
            )
    return files


def _lies_in(file: Path, inside: Path) -> bool:
    try:
        return file.resolve(strict=True).is_relative_to(inside)
    except (OSError, RuntimeError):  # a link to nothing, or to itself
        return False


def _pixels(file: Path, height_width: tuple[int, int] | None) -> torch.Tensor:
    """Read one image as uint8 (c, h, w)."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=[_FORMATS[file.suffix.lower()]]) as image:
                loaded = _grey_or_rgb(image, file)
                if height_width is not None:
                    size = height_width[1], height_width[0]
                    loaded = loaded.resize(size, Image.Resampling.BILINEAR)
                array = np.array(loaded, dtype=np.uint8)
    except FgmfError:
        raise
    except Exception as error:  # a decoder raises anything on a broken file
        raise InvalidInput(f"expected a readable image at {file}, got: {error}") from error
    tensor = torch.from_numpy(array)
    return tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1)


def _grey_or_rgb(image: Image.Image, file: Path) -> Image.Image:
    if getattr(image, "n_frames", 1) != 1:
        raise InvalidInput(f"expected a single image in {file}, got {image.n_frames} frames")  # type: ignore[attr-defined]
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in ("1", "P") and "transparency" not in image.info:
        return image.convert("L" if image.mode == "1" else "RGB")
    raise InvalidInput(
        f"expected an 8-bit grey or RGB image at {file}, got mode {image.mode}; convert it first "
        "(an alpha channel or more bits would be lost silently)"
    )


def _refuse_difference(file: Path, image: torch.Tensor, first: Path, other: torch.Tensor) -> None:
    raise InvalidInput(
        f"expected images of one shape (channels, height, width), got {tuple(other.shape)} in "
        f"{first} and {tuple(image.shape)} in {file}; pass size=... for one height and width, "
        "convert grey and RGB alike"
    )
