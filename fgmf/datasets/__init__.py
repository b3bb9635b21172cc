"""Loaders of images and labels, and what every source is turned into: :class:`Samples`.

Nothing a user gives is rescaled or converted; only the loaders of files here say, each in its
own docstring, what they make of the pixels.
"""

from __future__ import annotations

from fgmf.datasets.archives import npz
from fgmf.datasets.collecting import collect_samples
from fgmf.datasets.fashion import download_fashion_mnist, fashion_mnist
from fgmf.datasets.folders import image_folder
from fgmf.datasets.handwritten import digits
from fgmf.datasets.samples import Samples

__all__ = [
    "Samples",
    "collect_samples",
    "digits",
    "download_fashion_mnist",
    "fashion_mnist",
    "image_folder",
    "npz",
]
