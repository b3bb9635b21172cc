"""Scores against closed forms; regions that have the size they say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fgmf.curvature import PassCount
from fgmf.errors import InvalidInput, NonFiniteOutput
from fgmf.scorpio import Salience, baseline_of, salience_scores, salient_region

IMAGES = torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(0)).double()


def cubes(images: torch.Tensor) -> torch.Tensor:
    """Sum of x^3: slope 3 x^2; integrated gradients from x0 are x^3 - x0^3, pixel by pixel."""
    return images.pow(3).flatten(1).sum(dim=1)


def scores(salience: Salience, *, seed: int = 1) -> torch.Tensor:
    return salience_scores(
        cubes,
        IMAGES,
        3 * IMAGES.square(),
        salience,
        bounds=(0.0, 1.0),
        draws=torch.Generator().manual_seed(seed),
    )


class TestScores:
    def test_gradient_and_times_input(self) -> None:
        assert torch.equal(scores(Salience(method="gradient")), 3 * IMAGES.square())
        torch.testing.assert_close(
            scores(Salience(method="gradient-times-input")), 3 * IMAGES.pow(3)
        )

    @pytest.mark.parametrize("baseline", ["zero", "noise", "blur"])
    def test_integrated_gradients_of_cubes(self, baseline: Any) -> None:
        start = baseline_of(
            IMAGES, baseline, bounds=(0.0, 1.0), draws=torch.Generator().manual_seed(1)
        )
        found = scores(Salience(baseline=baseline, steps=200))
        # Midpoints: (x - x0)^3 / (4 steps^2), at most 7e-6.
        torch.testing.assert_close(found, IMAGES.pow(3) - start.pow(3), atol=7e-6, rtol=0)
        whole = cubes(IMAGES) - cubes(start)
        torch.testing.assert_close(found.flatten(1).sum(dim=1), whole, atol=5e-4, rtol=0)

    def test_few_steps_are_midpoints(self) -> None:
        found = scores(Salience(baseline="zero", steps=2))
        by_hand = IMAGES * (3 * (IMAGES / 4) ** 2 + 3 * (3 * IMAGES / 4) ** 2) / 2
        torch.testing.assert_close(found, by_hand)

    @pytest.mark.parametrize(
        ("method", "count"),
        [("gradient", 0), ("gradient-times-input", 0), ("integrated-gradients", 3)],
    )
    def test_passes(self, method: Any, count: int) -> None:
        calls: list[int] = []

        def counted(images: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return cubes(images)

        salience = Salience(method=method, steps=3)
        draws = torch.Generator()
        salience_scores(counted, IMAGES, IMAGES, salience, bounds=(0, 1), draws=draws)
        assert len(calls) == count
        assert salience.cost == PassCount(forward=count, backward=count)

    def test_noise_comes_from_the_draws_and_fills_the_bounds(self) -> None:
        images = torch.zeros(1, 1, 50, 50)
        noise = [
            baseline_of(
                images, "noise", bounds=(-2.0, 4.0), draws=torch.Generator().manual_seed(seed)
            )
            for seed in (1, 1, 2)
        ]
        assert torch.equal(noise[0], noise[1])
        assert not torch.equal(noise[0], noise[2])
        assert -2.0 <= float(noise[0].min()) < -1.9
        assert 3.9 < float(noise[0].max()) <= 4.0

    def test_blur_keeps_flat_images_and_spreads_points(self) -> None:
        draws = torch.Generator()
        flat = torch.full((1, 2, 8, 8), 0.3)
        torch.testing.assert_close(baseline_of(flat, "blur", bounds=(0, 1), draws=draws), flat)
        point = torch.zeros(1, 1, 15, 15)
        point[0, 0, 7, 7] = 49.0
        found = baseline_of(point, "blur", bounds=(0, 1), draws=draws)
        assert float(found[0, 0, 4:11, 4:11].min()) == pytest.approx(1.0)
        assert float(found.sum()) == pytest.approx(49.0)
        small = torch.rand(1, 1, 2, 5)
        assert torch.equal(baseline_of(small, "blur", bounds=(0, 1), draws=draws), small)


class TestRegions:
    @given(
        n=st.integers(1, 3),
        c=st.integers(1, 3),
        h=st.integers(1, 7),
        w=st.integers(1, 7),
        share=st.floats(0.001, 1.0),
        levels=st.integers(1, 4),
        seed=st.integers(0, 10**6),
    )
    def test_the_size_is_what_it_says_however_many_are_equal(
        self, *, n: int, c: int, h: int, w: int, share: float, levels: int, seed: int
    ) -> None:
        draws = torch.Generator().manual_seed(seed)
        tied = torch.randint(levels, (n, c, h, w), generator=draws).double()
        region = salient_region(tied, share)
        assert region.shape == (n, 1, h, w)
        assert region.dtype == torch.bool
        count = max(1, round(share * h * w))
        assert region.flatten(1).sum(dim=1).tolist() == [count] * n
        ranks = tied.sum(dim=1, keepdim=True)
        if count < h * w:
            for i in range(n):
                assert ranks[i][region[i]].min() >= ranks[i][~region[i]].max()

    def test_ties_are_spread_over_the_image(self) -> None:
        region = salient_region(torch.zeros(1, 1, 20, 20), 0.5)[0, 0].double()
        quarters = [region[:10, :10], region[:10, 10:], region[10:, :10], region[10:, 10:]]
        assert all(0.3 < float(quarter.mean()) < 0.7 for quarter in quarters)

    def test_signs_do_not_matter_and_channels_add_up(self) -> None:
        values = torch.zeros(1, 2, 1, 3)
        values[0, :, 0, 0] = torch.tensor([-3.0, 3.0])
        values[0, :, 0, 1] = torch.tensor([4.0, 0.0])
        assert salient_region(values, 1 / 3).flatten().tolist() == [True, False, False]

    def test_mistakes(self) -> None:
        for share in (0.0, 1.1, float("nan")):
            with pytest.raises(InvalidInput, match="share"):
                salient_region(IMAGES, share)
        with pytest.raises(NonFiniteOutput):
            salient_region(IMAGES * float("nan"), 0.5)


@pytest.mark.parametrize(
    "changes",
    [{"method": "saliency"}, {"baseline": "black"}, {"steps": 0}, {"share": 0.0}, {"share": 1.5}],
    ids=str,
)
def test_mistakes(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(changes))):
        Salience(**changes)
