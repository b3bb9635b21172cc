"""Eigenvalues at the ends of spectra that are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.known_hessians import Quadratic, slow_hessian

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.curvature import (
    ImageLoss,
    InputCurvature,
    PassCount,
    lanczos,
    power_iteration,
    random_directions,
)
from fgmf.errors import InvalidInput, NonFiniteOutput


class Known:
    """Hessians (n, d, d) that are given."""

    def __init__(self, hessian: torch.Tensor) -> None:
        self.hessian, self.applied = hessian, 0

    @property
    def cost(self) -> PassCount:
        return PassCount(backward=self.applied)

    def product(self, directions: torch.Tensor) -> torch.Tensor:
        self.applied += 1
        return (self.hessian @ directions.flatten(1)[:, :, None]).view_as(directions)


def start_of(n: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return random_directions(torch.zeros(n, *shape, dtype=torch.float64), seed=seed)


class TestLanczos:
    @pytest.mark.parametrize("end", ["largest", "smallest"])
    def test_the_whole_spectrum_when_the_space_is_used_up(self, end: Any) -> None:
        known = Quadratic(3, 12, seed=1)
        found = lanczos(
            Known(known.hessian), start_of(3, 1, 3, 4), iterations=50, count=12, end=end
        )
        expected = torch.linalg.eigvalsh(known.hessian)
        expected = expected.flip(1) if end == "largest" else expected
        # Float64 rounding of eigenvalues of size 10.
        torch.testing.assert_close(found.values, expected, atol=1e-10, rtol=0)
        assert float(found.residuals.max()) < 1e-10
        assert found.vectors.shape == (3, 12, 1, 3, 4)
        assert found.cost == PassCount(backward=12)

    def test_vectors_and_residuals_are_what_they_say(self) -> None:
        known = Quadratic(4, 60, seed=2)
        found = lanczos(Known(known.hessian), start_of(4, 60), iterations=15, count=3)
        exact = torch.linalg.eigvalsh(known.hessian)
        for j in range(3):
            u = found.vectors[:, j]
            torch.testing.assert_close(u.norm(dim=1), torch.ones(4, dtype=torch.float64))
            applied = (known.hessian @ u[:, :, None]).squeeze(2)
            residual = (applied - found.values[:, j : j + 1] * u).norm(dim=1)
            torch.testing.assert_close(residual, found.residuals[:, j], atol=1e-9, rtol=1e-6)
            nearest = (exact - found.values[:, j : j + 1]).abs().min(dim=1).values
            assert bool((nearest <= found.residuals[:, j] + 1e-9).all())
        assert bool((found.values[:, 0] <= exact[:, -1] + 1e-9).all())

    def test_directions_stay_orthogonal_where_rounding_is_coarse(self) -> None:
        """Eigenvalues from 1 to 1e-7 in float32: orthogonalised once, they drift to each other."""
        turned, _ = torch.linalg.qr(
            torch.randn(2, 40, 40, generator=torch.Generator().manual_seed(5)).double()
        )
        values = torch.logspace(0, -7, 40, dtype=torch.float64)
        hessian = (turned @ torch.diag(values) @ turned.transpose(1, 2)).float()
        found = lanczos(Known(hessian), start_of(2, 40).float(), iterations=40, count=40)
        products = found.vectors @ found.vectors.transpose(1, 2)
        torch.testing.assert_close(products, torch.eye(40).expand(2, -1, -1), atol=1e-5, rtol=0)

    def test_20_products_find_the_ends_of_a_network(self) -> None:
        net = ConvNet(
            ConvNetConfig(image_side=8, hidden=16, widths=(4,), activation="gelu"), seed=3
        ).double()
        images = torch.rand(3, 1, 8, 8, dtype=torch.float64)
        loss = ImageLoss(model=net, labels=torch.tensor([1, 2, 3]))
        exact = torch.linalg.eigvalsh(slow_hessian(loss, images))
        for end, column in (("largest", -1), ("smallest", 0)):
            curvature = InputCurvature(loss, images)
            found = lanczos(curvature, random_directions(images, seed=0), end=end)  # type: ignore[arg-type]
            # 20 of 64 dimensions: the ends of the spectrum to a thousandth.
            torch.testing.assert_close(
                found.values[:, 0],
                exact[:, column],
                rtol=1e-3,
                atol=1e-3 * float(exact.abs().max()),
            )
            assert found.cost == PassCount(forward=1, backward=21)

    def test_broken_down_spaces_go_on(self) -> None:
        """The identity has a Krylov space of one dimension, a projector one of two."""
        projector = torch.zeros(2, 9, 9, dtype=torch.float64)
        projector[0] = -torch.eye(9, dtype=torch.float64)
        projector[1, 0, 0] = -3.0
        for end, expected in (("largest", [-1.0, 0.0]), ("smallest", [-1.0, -3.0])):
            found = lanczos(Known(projector), start_of(2, 9), iterations=6, end=end)  # type: ignore[arg-type]
            assert found.values[:, 0].tolist() == pytest.approx(expected, abs=1e-10)
            assert bool(found.vectors.isfinite().all())

    @given(seed=st.integers(0, 10**6), d=st.integers(1, 8), n=st.integers(1, 3))
    def test_any_size(self, seed: int, d: int, n: int) -> None:
        known = Quadratic(n, d, seed=seed)
        found = lanczos(Known(known.hessian), start_of(n, d, seed=seed), iterations=8)
        exact = torch.linalg.eigvalsh(known.hessian)[:, -1]
        torch.testing.assert_close(found.values[:, 0], exact, atol=1e-8, rtol=0)

    def test_images_do_not_mix(self) -> None:
        known = Quadratic(3, 30, seed=5)
        together = lanczos(Known(known.hessian), start_of(3, 30), iterations=6)
        alone = lanczos(Known(known.hessian[1:2]), start_of(3, 30)[1:2], iterations=6)
        torch.testing.assert_close(together.values[1], alone.values[0], atol=1e-10, rtol=0)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"end": "middle"}, "end"),
            ({"count": 0}, "count"),
            ({"count": 5, "iterations": 4}, "count"),
        ],
        ids=str,
    )
    def test_mistakes(self, changes: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidInput, match=words):
            lanczos(Known(Quadratic(1, 4).hessian), start_of(1, 4), **changes)

    def test_starts_and_products_that_are_none(self) -> None:
        hessian = Quadratic(2, 4).hessian
        for method in (lanczos, power_iteration):
            with pytest.raises(InvalidInput, match="zero"):
                method(Known(hessian), torch.zeros(2, 4, dtype=torch.float64))
            with pytest.raises(NonFiniteOutput, match="finite"):
                method(Known(hessian * float("nan")), start_of(2, 4))


class TestPowerIteration:
    def test_the_largest_in_magnitude_with_its_sign(self) -> None:
        known = torch.diag_embed(torch.tensor([[1.0, -8.0, 3.0], [5.0, 2.0, -1.0]]).double())
        found = power_iteration(Known(known), start_of(2, 3), iterations=60)
        # (5/8)^120 and (2/5)^120 are below rounding.
        assert found.values.flatten().tolist() == pytest.approx([-8.0, 5.0], abs=1e-12)
        assert found.vectors[0].abs().flatten().tolist() == pytest.approx([0, 1, 0], abs=1e-10)
        assert found.cost == PassCount(backward=60)
        assert float(found.residuals.max()) < 1e-9

    def test_agrees_with_lanczos(self) -> None:
        positive = Quadratic(2, 20, seed=7).hessian
        positive = positive @ positive
        slow = power_iteration(Known(positive), start_of(2, 20), iterations=400)
        fast = lanczos(Known(positive), start_of(2, 20), iterations=20)
        torch.testing.assert_close(slow.values, fast.values, rtol=1e-4, atol=0)

    def test_no_curvature_at_all(self) -> None:
        found = power_iteration(Known(torch.zeros(2, 3, 3, dtype=torch.float64)), start_of(2, 3))
        assert found.values.tolist() == [[0.0], [0.0]]
        assert bool(found.vectors.isfinite().all())

    def test_mistakes(self) -> None:
        with pytest.raises(InvalidInput, match="iteration"):
            power_iteration(Known(Quadratic(1, 4).hessian), start_of(1, 4), iterations=0)


class TestDirections:
    def test_each_depends_on_its_key_alone(self) -> None:
        like = torch.zeros(3, 1, 4, 4)
        together = random_directions(like, seed=1, keys=["a", "b", "c"])
        alone = random_directions(like[:1], seed=1, keys=["b"])
        assert torch.equal(together[1], alone[0])
        assert not torch.equal(together[0], together[1])
        assert not torch.equal(random_directions(like, seed=2, keys=["a", "b", "c"]), together)
        torch.testing.assert_close(together.flatten(1).norm(dim=1), torch.ones(3))
        assert together.dtype == torch.float32

    def test_one_key_per_image(self) -> None:
        with pytest.raises(InvalidInput, match="3 keys"):
            random_directions(torch.zeros(3, 4), seed=1, keys=["a"])
