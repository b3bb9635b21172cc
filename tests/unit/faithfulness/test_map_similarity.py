from __future__ import annotations

import numpy as np
import pytest
import torch

from fgmf.errors import InvalidInput, MetricFailed
from fgmf.faithfulness.similarity import map_similarity

KINDS = ["cosine", "spearman", "ssim"]


def maps(seed: int) -> torch.Tensor:
    return torch.randn(3, 9, 11, generator=torch.Generator().manual_seed(seed)).double()


def test_they_are_what_other_libraries_say() -> None:
    from scipy.spatial.distance import cosine
    from scipy.stats import spearmanr
    from skimage.metrics import structural_similarity

    one, other = maps(0), 0.6 * maps(0) + 0.5 * maps(1)
    pairs = [(a.numpy(), b.numpy()) for a, b in zip(one, other, strict=True)]
    expected = {
        "cosine": [1 - cosine(a.ravel(), b.ravel()) for a, b in pairs],
        "spearman": [spearmanr(a.ravel(), b.ravel()).statistic for a, b in pairs],
        "ssim": [
            structural_similarity(a - low, b - low, data_range=max(a.max(), b.max()) - low)
            for a, b in pairs
            for low in [min(a.min(), b.min())]
        ],
    }
    for kind in KINDS:
        # Sums of at most 99 numbers near 1 in double precision.
        assert map_similarity(kind, one, other) == pytest.approx(expected[kind], abs=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_is_like_itself_and_unlike_its_opposite(kind: str) -> None:
    one = maps(2)
    assert map_similarity(kind, one, one) == pytest.approx(1.0)
    assert (map_similarity(kind, one, -one) < -0.1).all()
    assert np.abs(map_similarity(kind, one, maps(3))).max() < 0.4


@pytest.mark.parametrize("kind", ["cosine", "spearman"])
def test_a_map_without_direction_or_order_is_an_error(kind: str) -> None:
    one, other = maps(0), maps(1)
    other[1] = 0.0
    with pytest.raises(MetricFailed, match=r"for image 1 \(1 of 3 images\)"):
        map_similarity(kind, one, other)
    other[1] = float("nan")
    with pytest.raises(MetricFailed, match="for image 1"):
        map_similarity(kind, one, other)


def test_wrong_questions_are_refused() -> None:
    with pytest.raises(InvalidInput, match="expected cosine, spearman or ssim, got 'l2'"):
        map_similarity("l2", maps(0), maps(0))
    with pytest.raises(InvalidInput, match="two times maps"):
        map_similarity("cosine", maps(0), maps(0)[:2])
    with pytest.raises(InvalidInput, match="at least 7x7 pixels"):
        map_similarity("ssim", maps(0)[:, :5], maps(0)[:, :5])
