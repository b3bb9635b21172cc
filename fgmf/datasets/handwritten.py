"""Scikit-learn's handwritten digits: real images that come with the library, no download."""

from __future__ import annotations

from typing import Literal

import torch

from fgmf.datasets.samples import Samples
from fgmf.errors import InvalidInput
from fgmf.sampling import stratified_sample

Split = Literal["train", "test"]

_LARGEST_PIXEL = 16
_TEST_SHARE = 4


def digits(split: Split = "train", seed: int = 0) -> Samples:
    """Return one part of the 1797 handwritten digits of scikit-learn.

    Args:
        split: ``"train"`` (1348 images) or ``"test"`` (449 images).
        seed: Fixes the split, which keeps the share of every class.

    Returns:
        Images (n, 1, 8, 8), float32 in [0, 1] (16 grey levels, divided by 16); labels (n,),
        int64, 0 to 9. The two parts of one seed have no image in common.

    Raises:
        InvalidInput: Another name of a split.

    Randomness: the seed fixes which images are in the test part.
    """
    from sklearn.datasets import load_digits

    if split not in ("train", "test"):
        raise InvalidInput(f'expected split="train" or split="test", got {split!r}')
    pixels, classes = load_digits(return_X_y=True)
    labels = torch.from_numpy(classes).to(torch.int64)
    images = torch.from_numpy(pixels).to(torch.float32).reshape(-1, 1, 8, 8) / _LARGEST_PIXEL
    count = len(labels) // _TEST_SHARE
    test = torch.zeros(len(labels), dtype=torch.bool)
    test[stratified_sample(labels.tolist(), count=count, seed=seed)] = True
    part = test if split == "test" else ~test
    return Samples(images=images[part], labels=labels[part])
