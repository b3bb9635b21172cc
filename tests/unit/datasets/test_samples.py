"""Samples: what belongs together, and arrays that become tensors of the same dtype."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fgmf.datasets import Samples
from fgmf.datasets.samples import as_tensor, joined
from fgmf.errors import InvalidInput

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


def test_samples_keep_what_they_are_given() -> None:
    images, labels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, 5)
    samples = Samples(images=images, labels=labels)
    assert samples.images is images
    assert samples.labels is labels
    assert len(samples) == 3


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(0, 1, 8, 8), torch.zeros(0), "at least one image"),
        (torch.zeros(2, 0, 8, 8), torch.zeros(2), "at least one image"),
        (torch.zeros(3, 1, 8, 8), torch.zeros(2), "3 images of shape .* and 2 labels"),
        (torch.zeros(8), torch.zeros(8), r"shape \(n, \.\.\.\), got \(8,\)"),
        (torch.zeros(2, 3), torch.zeros(2, 3, 4), r"\(n,\) or \(n, k\), got \(2, 3, 4\)"),
        (torch.zeros(2, 3), torch.tensor(2), r"\(n,\) or \(n, k\), got \(\)"),
        (np.zeros((2, 3)), torch.zeros(2), "images as a tensor, got ndarray"),
        (torch.zeros(2, 3), [1, 2], "labels as a tensor, got list"),
    ],
)
def test_what_does_not_belong_together_is_refused(images: Any, labels: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Samples(images=images, labels=labels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_keep_their_dtype_and_values(dtype: str) -> None:
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    for value in (array, list(array), torch.from_numpy(array), list(torch.from_numpy(array))):
        tensor = as_tensor(value, "images")
        assert tensor.dtype is getattr(torch, dtype)
        assert tensor.tolist() == array.tolist()
    scalar = as_tensor(array[0, 1], "label")
    assert (scalar.dtype, scalar.ndim) == (getattr(torch, dtype), 0)
    assert as_tensor(list(array[0]), "labels").dtype is getattr(torch, dtype)


def test_python_numbers_become_what_torch_makes_of_them() -> None:
    assert as_tensor(3, "label").dtype is torch.int64
    assert as_tensor([[0.5], [1.0]], "images").dtype is torch.float32


def test_awkward_arrays_are_read_without_a_warning() -> None:
    array = np.arange(6, dtype=">f4").reshape(2, 3)[:, ::-1]
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = as_tensor(array, "images")
    assert tensor.dtype is torch.float32
    assert tensor.tolist() == [[2, 1, 0], [5, 4, 3]]


def test_read_only_memory_is_copied() -> None:
    array = np.zeros(3, dtype=np.float32)
    array.flags.writeable = False
    as_tensor(array, "images").add_(1)
    assert array.tolist() == [0, 0, 0]


def test_gradient_does_not_come_along() -> None:
    assert not as_tensor(torch.ones(2, requires_grad=True), "images").requires_grad


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array(["a", "b"]), "numbers in images, got an array of dtype <U1"),
        (np.array([object()]), "dtype object"),
        (np.array([np.float32(1), "a"], dtype=object), "dtype object"),
        (np.zeros(2, dtype=np.longdouble), "dtype that torch has"),
        ([[1, 2], [3]], "equally shaped lists, got a list of 2"),
        ([np.zeros(2), np.zeros(3)], r"one shape, got \(2,\) first and \(3,\) at position 1"),
        ([np.zeros(2), np.zeros(2, np.float32)], "one dtype, got torch.float64 first"),
        ([np.float32(1), "a"], "numbers in images"),
        (["a"], "list of numbers"),
        (None, "got builtins.NoneType"),
        ("images", "got builtins.str"),
        (torch.zeros(2).to_sparse(), "dense tensor, got torch.sparse_coo"),
        (Image.new("L", (2, 2)), "PIL.*ToTensor"),
    ],
)
def test_what_is_no_array_is_refused(value: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        as_tensor(value, "images")


def test_joining_names_the_first_part_that_differs() -> None:
    parts = [torch.zeros(2, 3), torch.zeros(1, 3), torch.zeros(1, 4)]
    assert joined(parts[:2], "images").shape == (3, 3)
    with pytest.raises(InvalidInput, match=r"\(3,\) first and \(4,\) at position 2"):
        joined(parts, "images")
