"""From grid to mask and back: against loops, to the last bit, and as properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.slow_saliency import slow_saliency_mask
from torch.nn.functional import interpolate

from fgmf.errors import InvalidInput
from fgmf.sgam import UPSAMPLING_VERSION, inverse, saliency_mask_of
from fgmf.sgam.upsampling import cell_means, resized


def grids(
    n: int = 2, g: int = 7, *, seed: int = 0, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    return torch.rand(n, 1, g, g, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(28, 28), (7, 7), (9, 31), (224, 224)])
def test_equal_to_loops_to_the_last_bit(size: tuple[int, int], dtype: torch.dtype) -> None:
    coarse = grids(dtype=dtype)
    fast = saliency_mask_of(coarse, size, 0.3)
    for grid, found in zip(coarse, fast, strict=True):
        assert np.array_equal(found[0].numpy(), slow_saliency_mask(grid[0].numpy(), size, 0.3))


@pytest.mark.parametrize(("g", "size"), [(7, 28), (7, 32), (14, 224), (5, 5), (1, 9)])
def test_version_1_is_bilinear_with_half_pixel_centres(g: int, size: int) -> None:
    coarse = grids(g=g, dtype=torch.float64)
    stretched = interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)
    # Float64 rounding of two interpolations of values below 1.
    torch.testing.assert_close(
        saliency_mask_of(coarse, (size, size), 0.25), 1 - 0.75 * stretched, atol=1e-14, rtol=0
    )


@given(
    g=st.integers(1, 9),
    extra=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    m_min=st.floats(0.02, 0.99),
    low=st.floats(-3, 0),
    span=st.floats(0.1, 6),
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    corner=st.sampled_from(["uniform", "zeros", "ones", "binary"]),
)
def test_the_inverse_gives_the_images_back(
    *,
    g: int,
    extra: tuple[int, int],
    m_min: float,
    low: float,
    span: float,
    seed: int,
    dtype: torch.dtype,
    corner: str,
) -> None:
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 1, g, g, generator=draws, dtype=dtype)
    coarse = {
        "uniform": coarse,
        "zeros": torch.zeros_like(coarse),
        "ones": torch.ones_like(coarse),
        "binary": coarse.round(),
    }[corner]
    size = (g + extra[0], g + extra[1])
    images = low + span * torch.rand(2, 3, *size, generator=draws, dtype=dtype)
    applied = saliency_mask_of(coarse, size, m_min)
    assert bool((applied >= torch.tensor(m_min, dtype=dtype)).all())
    assert bool((applied <= 1).all())
    logged = coarse.float()  # what the log holds
    found = inverse(images * applied, logged, m_min)
    assert found.dtype == dtype
    # The promise: 1e-5 of the largest value. A float32 grid is off by 6e-8, over m_min >= .02.
    assert float((found - images).abs().max()) <= 1e-5 * max(1.0, float(images.abs().max()))


def test_salient_pixels_are_dimmed() -> None:
    coarse = torch.zeros(1, 1, 4, 4)
    coarse[0, 0, 1, 2] = 1.0
    found = saliency_mask_of(coarse, (16, 16), 0.2)[0, 0]
    assert float(found[5:7, 9:11].max()) < 0.4
    assert float(found[12:, :4].min()) == 1.0
    assert float(saliency_mask_of(torch.ones(1, 1, 4, 4), (8, 8), 0.2).max()) == pytest.approx(0.2)


def test_the_batch_makes_no_difference_to_the_last_bit() -> None:
    coarse = grids(33)
    together = saliency_mask_of(coarse, (28, 28), 0.5)
    for i in range(33):
        assert torch.equal(
            saliency_mask_of(coarse[i : i + 1].clone(), (28, 28), 0.5)[0], together[i]
        )


def test_two_derivatives() -> None:
    coarse = grids(g=3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: saliency_mask_of(c, (5, 6), 0.4), coarse)
    assert torch.autograd.gradgradcheck(lambda c: saliency_mask_of(c, (5, 6), 0.4).square(), coarse)


@pytest.mark.parametrize(
    ("coarse", "size", "m_min", "version", "words"),
    [
        (torch.rand(1, 7, 7), (28, 28), 0.5, 1, "shape"),
        (torch.rand(1, 2, 7, 7), (28, 28), 0.5, 1, "shape"),
        (torch.rand(1, 1, 7, 7).half(), (28, 28), 0.5, 1, "float32"),
        (torch.rand(1, 1, 7, 7), (6, 28), 0.5, 1, "at least"),
        (torch.rand(1, 1, 7, 7), (28, 28), 0.0, 1, "m_min"),
        (torch.rand(1, 1, 7, 7), (28, 28), 1.0, 1, "m_min"),
        (torch.rand(1, 1, 7, 7), (28, 28), float("nan"), 1, "m_min"),
        (torch.rand(1, 1, 7, 7), (28, 28), 0.5, UPSAMPLING_VERSION + 1, "version"),
    ],
)
def test_what_cannot_be_recomputed_is_refused(
    coarse: torch.Tensor, size: tuple[int, int], m_min: float, version: int, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        saliency_mask_of(coarse, size, m_min, version)


def test_one_grid_per_image() -> None:
    with pytest.raises(InvalidInput, match="one for each grid"):
        inverse(torch.rand(3, 1, 28, 28), grids(2), 0.5)


@pytest.mark.parametrize(("size", "cells"), [((28, 28), 8), ((9, 30), 7), ((8, 8), 8), ((5, 5), 1)])
def test_cell_means_against_slices(size: tuple[int, int], cells: int) -> None:
    images = torch.rand(2, 3, *size, dtype=torch.float64)
    found = cell_means(images, (cells, cells))
    for i in range(cells):
        for j in range(cells):
            rows = slice(i * size[0] // cells, (i + 1) * size[0] // cells)
            columns = slice(j * size[1] // cells, (j + 1) * size[1] // cells)
            expected = images[:, :, rows, columns].mean(dim=(2, 3))
            # Rounding of sums of at most 16 values below 1.
            torch.testing.assert_close(found[:, :, i, j], expected, atol=1e-14, rtol=0)


def test_maps_come_onto_a_grid_by_averaging_and_stretching() -> None:
    maps = torch.rand(1, 1, 14, 3)
    found = resized(maps, (7, 7))
    assert found.shape == (1, 1, 7, 7)
    torch.testing.assert_close(found[0, 0, :, 3], maps.view(7, 2, 3).mean(1)[:, 1])
