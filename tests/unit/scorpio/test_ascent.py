"""Frank-Wolfe on losses whose largest rise is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.known_hessians import Quadratic

from fgmf.curvature import InputCurvature, PassCount
from fgmf.errors import InvalidInput
from fgmf.scorpio import QuadraticAscent, climb_quadratic

EPSILON = 0.3


def model_value(quadratic: Quadratic, images: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """Q(d) = l(x + d) - l(x), exactly, for a quadratic."""
    return quadratic(images + d) - quadratic(images)


def images_of(n: int = 4, side: int = 4) -> torch.Tensor:
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(3)).double()


class TestKnownMaxima:
    @pytest.mark.parametrize("mode", ["double-backward", "finite-difference"])
    def test_linear_losses_in_one_step(self, mode: Any) -> None:
        slope = torch.tensor([1.0, -2.0, 0.5, 0.0]).double()
        curvature = InputCurvature(
            lambda x: (x.flatten(1) * slope).sum(dim=1), torch.rand(2, 1, 2, 2).double(), mode=mode
        )
        found = climb_quadratic(curvature, QuadraticAscent(epsilon=EPSILON, steps=2))
        expected = EPSILON * torch.tensor([1.0, -1.0, 1.0, 0.0]).double()
        torch.testing.assert_close(found.flatten(1), expected.expand(2, 4))
        found = climb_quadratic(curvature, QuadraticAscent(epsilon=EPSILON, steps=2, norm="l2"))
        torch.testing.assert_close(found.flatten(1), (EPSILON * slope / slope.norm()).expand(2, 4))

    def test_more_steps_find_more_of_what_is_there(self) -> None:
        """Of the best of all 2^6 corners: a problem that no cheap method solves exactly."""
        quadratic = Quadratic(20, 6, seed=2)
        quadratic.hessian = quadratic.hessian @ quadratic.hessian  # convex
        images = torch.zeros(20, 6, 1, 1, dtype=torch.float64)
        corners = EPSILON * (
            2.0 * torch.tensor([[(i >> b) & 1 for b in range(6)] for i in range(64)]) - 1
        ).double().view(64, 1, 6, 1, 1)
        best = (
            torch.stack([model_value(quadratic, images, c.expand(20, -1, -1, -1)) for c in corners])
            .max(dim=0)
            .values
        )
        reached = []
        for steps in (0, 1, 15):
            d = climb_quadratic(
                InputCurvature(quadratic, images), QuadraticAscent(epsilon=EPSILON, steps=steps)
            )
            reached.append(float((model_value(quadratic, images, d) / best).mean()))
        assert reached[0] < reached[1] < reached[2]
        assert reached[2] > 0.8

    def test_l2_against_the_eigenvector(self) -> None:
        """Without a slope to speak of the best direction is the top eigenvector's."""
        hessian = torch.diag_embed(torch.tensor([[9.0, 1.0, 0.5, -4.0]]).double())
        quadratic = Quadratic(1, 4)
        quadratic.hessian, quadratic.slope = hessian, torch.full((1, 4), 1e-3).double()
        d = climb_quadratic(
            InputCurvature(quadratic, torch.zeros(1, 1, 2, 2).double()),
            QuadraticAscent(epsilon=1.0, steps=30, norm="l2"),
        )
        assert d.flatten().abs().tolist() == pytest.approx([1.0, 0.0, 0.0, 0.0], abs=0.02)

    def test_exact_and_secant_agree_on_quadratics(self) -> None:
        quadratic, images = Quadratic(4, 16), images_of()
        ascent = QuadraticAscent(epsilon=EPSILON, steps=3)
        ways: list[Any] = [("double-backward", 1.0), ("finite-difference", 1.0)]
        found = [
            climb_quadratic(InputCurvature(quadratic, images, mode=mode, step=h), ascent)
            for mode, h in [*ways, ("finite-difference", 0.2)]
        ]
        torch.testing.assert_close(found[0], found[1])
        torch.testing.assert_close(found[0], found[2])

    def test_a_unit_secant_is_frank_wolfe_on_the_loss(self) -> None:
        def loss(x: torch.Tensor) -> torch.Tensor:
            return (x.flatten(1) * 3).sin().sum(dim=1)

        images = images_of()
        found = climb_quadratic(
            InputCurvature(loss, images, mode="finite-difference"),
            QuadraticAscent(epsilon=EPSILON, steps=3),
        )

        def slope(x: torch.Tensor) -> torch.Tensor:
            return 3 * (3 * x).cos()

        d = EPSILON * slope(images).sign()
        for k in range(3):
            c = 2 / (k + 2)
            d = (1 - c) * d + c * EPSILON * slope(images + d).sign()
        torch.testing.assert_close(found, d)


class TestTheBudget:
    @given(
        seed=st.integers(0, 10**6),
        epsilon=st.floats(1e-3, 2.0),
        steps=st.integers(0, 4),
        norm=st.sampled_from(["linf", "l2"]),
        bounded=st.booleans(),
        masked=st.booleans(),
    )
    def test_is_kept_with_the_bounds_and_the_region(
        self, *, seed: int, epsilon: float, steps: int, norm: Any, bounded: bool, masked: bool
    ) -> None:
        images = images_of()
        region = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) > 0.5
        ascent = QuadraticAscent(
            epsilon=epsilon, norm=norm, steps=steps, bounds=(0.0, 1.0) if bounded else None
        )
        d = climb_quadratic(
            InputCurvature(Quadratic(4, 16, seed=seed), images),
            ascent,
            region=region if masked else None,
        )
        sizes = d.flatten(1).norm(dim=1, p=float("inf") if norm == "linf" else 2)
        assert float(sizes.max()) <= epsilon * (1 + 1e-12)  # rounding
        if bounded:
            moved = images + d
            assert -1e-15 <= float(moved.min()) <= float(moved.max()) <= 1 + 1e-15
        if masked:
            assert float(d[~region].abs().max()) == 0.0
        assert not d.requires_grad

    def test_no_gradient_is_no_move(self) -> None:
        for norm in ("linf", "l2"):
            d = climb_quadratic(
                InputCurvature(lambda x: 0 * x.flatten(1).sum(dim=1), images_of()),
                QuadraticAscent(epsilon=1.0, norm=norm),  # type: ignore[arg-type]
            )
            assert float(d.abs().max()) == 0.0

    @pytest.mark.parametrize("steps", [0, 1, 3])
    def test_cost(self, steps: int) -> None:
        curvature = InputCurvature(Quadratic(4, 16), images_of())
        climb_quadratic(curvature, QuadraticAscent(epsilon=1.0, steps=steps))
        assert curvature.cost == PassCount(forward=1, backward=1 + steps)


@pytest.mark.parametrize(
    "changes", [{"epsilon": 0.0}, {"epsilon": float("nan")}, {"norm": "l1"}, {"steps": -1}], ids=str
)
def test_mistakes(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(changes))):
        QuadraticAscent(**{"epsilon": 1.0, **changes})
