"""Products in pixel space: against known Hessians, slow ones, and counted pass by pass."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import pytest
import torch
from oracles.known_hessians import Quadratic, slow_hessian, softmax_regression_hessian
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from fgmf.backbones import ConvNet, ConvNetConfig, HybridConfig, HybridNet, ViT, ViTConfig
from fgmf.curvature import (
    GRADIENT_COST,
    HVP_MODES,
    PRODUCT_COSTS,
    ImageLoss,
    InputCurvature,
    PassCount,
    curvature_along,
    random_directions,
)
from fgmf.errors import GradientUnavailable, InvalidInput

SIDE = 8
EXACT = ["double-backward", "forward-over-reverse"]
IMAGES = torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).double()
LABELS = torch.tensor([0, 2, 1])
DIRECTIONS = torch.randn(IMAGES.shape, generator=torch.Generator().manual_seed(1)).double()
SMALL_STEP = 1e-6  # of directions of length 8: truncation ~64 h, rounding ~1e-16 / h

NETS = {
    "gelu": ConvNet(ConvNetConfig(image_side=SIDE, hidden=16, widths=(4,), activation="gelu")),
    "relu": ConvNet(ConvNetConfig(image_side=SIDE, hidden=16, widths=(4,))),
    "vit": ViT(ViTConfig(image_side=SIDE, patch_side=4, width=8, depth=1, heads=2)),
    "hybrid": HybridNet(HybridConfig(image_side=SIDE, stem_widths=(8,), depth=1, heads=2)),
}


def loss_of(name: str) -> ImageLoss:
    return ImageLoss(model=NETS[name].double().eval(), labels=LABELS)


class TestAgainstKnownHessians:
    @pytest.mark.parametrize("mode", HVP_MODES)
    def test_a_quadratic_is_exact_in_every_mode_and_at_any_step(self, mode: Any) -> None:
        quadratic = Quadratic(3, 16, seed=4)
        images = torch.randn(3, 1, 4, 4, dtype=torch.float64)
        directions = torch.randn_like(images)
        curvature = InputCurvature(quadratic, images, mode=mode, step=0.7)
        # Rounding of sums of 16 products.
        torch.testing.assert_close(
            curvature.product(directions), quadratic.product(directions), atol=1e-12, rtol=1e-12
        )
        torch.testing.assert_close(curvature.gradient, quadratic.gradient(images))
        torch.testing.assert_close(curvature.losses, quadratic(images))

    @pytest.mark.parametrize("mode", EXACT)
    def test_softmax_regression_in_closed_form(self, mode: Any) -> None:
        weight = torch.randn(5, SIDE * SIDE, dtype=torch.float64)
        net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 5)).double()
        with torch.no_grad():
            net[1].weight.copy_(weight)
        hessian = softmax_regression_hessian(weight, net(IMAGES).softmax(dim=1))
        found = InputCurvature(ImageLoss(model=net, labels=LABELS), IMAGES, mode=mode)
        expected = (hessian @ DIRECTIONS.flatten(1)[:, :, None]).view_as(IMAGES)
        # Rounding of sums of 64 products.
        torch.testing.assert_close(
            found.product(DIRECTIONS), expected.detach(), atol=1e-11, rtol=1e-11
        )

    @pytest.mark.parametrize("mode", HVP_MODES)
    @pytest.mark.parametrize("name", list(NETS))
    def test_networks_against_the_whole_hessian(self, name: str, mode: Any) -> None:
        hessian = slow_hessian(loss_of(name), IMAGES)
        expected = (hessian @ DIRECTIONS.flatten(1)[:, :, None]).view_as(IMAGES)
        curvature = InputCurvature(loss_of(name), IMAGES, mode=mode, step=SMALL_STEP)
        tight = {"atol": 1e-11, "rtol": 1e-9} if mode in EXACT else {"atol": 1e-5, "rtol": 1e-4}
        torch.testing.assert_close(curvature.product(DIRECTIONS), expected, **tight)

    def test_as_many_labels_as_images(self) -> None:
        with pytest.raises(InvalidInput, match=r"expected 3 images, one for each label.* got 2"):
            loss_of("gelu")(IMAGES[:2])

    @pytest.mark.parametrize("mode", EXACT)
    def test_a_linear_loss_has_none(self, mode: Any) -> None:
        curvature = InputCurvature(lambda x: 3 * x.flatten(1).sum(dim=1), IMAGES, mode=mode)
        assert float(curvature.product(DIRECTIONS).abs().max()) == 0.0

    @pytest.mark.parametrize("mode", EXACT)
    def test_images_do_not_mix(self, mode: Any) -> None:
        together = InputCurvature(loss_of("gelu"), IMAGES, mode=mode).product(DIRECTIONS)
        for i in range(3):
            alone = ImageLoss(model=NETS["gelu"], labels=LABELS[i : i + 1])
            found = InputCurvature(alone, IMAGES[i : i + 1], mode=mode)
            torch.testing.assert_close(
                found.product(DIRECTIONS[i : i + 1])[0], together[i], atol=1e-12, rtol=1e-9
            )


class TestCurvatureAlongDirections:
    def test_of_a_quadratic(self) -> None:
        quadratic = Quadratic(4, 9, seed=1)
        images = torch.randn(4, 1, 3, 3, dtype=torch.float64)
        v = 5 * torch.randn_like(images)
        flat = v.flatten(1)
        expected = (flat[:, None] @ quadratic.hessian @ flat[:, :, None]).flatten()
        found = curvature_along(InputCurvature(quadratic, images), v)
        torch.testing.assert_close(found, expected / flat.square().sum(dim=1))

    def test_no_direction_has_no_curvature(self) -> None:
        found = curvature_along(InputCurvature(loss_of("gelu"), IMAGES), torch.zeros_like(IMAGES))
        assert found.tolist() == [0.0, 0.0, 0.0]

    def test_relu_networks_are_never_negative_exactly(self) -> None:
        """Their exact Hessian is the softmax's, J'(diag p - p p')J."""
        curvature = InputCurvature(loss_of("relu"), IMAGES)
        for seed in range(20):
            along = curvature_along(curvature, random_directions(IMAGES, seed=seed))
            assert float(along.min()) >= -1e-15  # rounding


class _Counted(torch.autograd.Function):
    """The identity; counts its forward, its backward, and the backward of that."""

    counts: ClassVar[Counter[str]] = Counter()

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        _Counted.counts["forward"] += 1
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
        _Counted.counts["backward"] += 1
        return _CountedSlope.apply(slope)


class _CountedSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
        return slope.view_as(slope)

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
        _Counted.counts["second"] += 1
        return slope.view_as(slope)


class Counting(nn.Module):
    """A smooth network behind the counter: what is counted is the network's own work."""

    def __init__(self) -> None:
        super().__init__()
        self.net = NETS["gelu"].double()
        self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.net(_Counted.apply(images * 1.0))


class TestCost:
    """One additional forward and two backward passes at most, beyond the gradient."""

    @pytest.mark.parametrize("mode", HVP_MODES)
    @pytest.mark.parametrize("products", [1, 3])
    def test_what_is_said_is_what_is_spent(self, mode: Any, products: int) -> None:
        if mode == "forward-over-reverse":
            net: Any = NETS["gelu"].double()
            calls: list[int] = []
            with net.register_forward_hook(lambda *_: calls.append(1)):
                curvature = InputCurvature(ImageLoss(model=net, labels=LABELS), IMAGES, mode=mode)
                for _ in range(products):
                    curvature.product(DIRECTIONS)
                curvature.gradient  # noqa: B018 - came with the first product
            assert len(calls) == products
            assert curvature.cost == PassCount(forward=2 * products, backward=2 * products)
            return
        model = Counting()
        _Counted.counts.clear()
        curvature = InputCurvature(ImageLoss(model=model, labels=LABELS), IMAGES, mode=mode)
        curvature.gradient  # noqa: B018 - a property that computes
        assert curvature.cost == GRADIENT_COST
        for _ in range(products):
            curvature.product(DIRECTIONS)
        each = PRODUCT_COSTS[mode]
        assert model.calls == _Counted.counts["forward"] == 1 + products * each.forward
        assert curvature.cost.forward == model.calls
        assert curvature.cost.backward == 1 + products * each.backward
        # Every asked traversal passes the network once backwards; in double-backward the
        # later ones also pass the graph of the first.
        assert _Counted.counts["backward"] == 1 + products * each.backward
        assert _Counted.counts["second"] == (products if mode == "double-backward" else 0)

    @pytest.mark.parametrize(
        "mode", ["double-backward", "forward-over-reverse", "finite-difference"]
    )
    def test_the_promise(self, mode: Any) -> None:
        curvature = InputCurvature(loss_of("gelu"), IMAGES, mode=mode)
        curvature.product(DIRECTIONS)
        assert curvature.cost.forward - GRADIENT_COST.forward <= 1
        assert curvature.cost.backward - GRADIENT_COST.backward <= 2

    def test_the_gradient_is_used_again(self) -> None:
        curvature = InputCurvature(loss_of("gelu"), IMAGES, mode="finite-difference")
        assert curvature.gradient.equal(curvature.gradient)
        curvature.losses  # noqa: B018 - a property that could compute
        assert curvature.cost == GRADIENT_COST


class TestDifferentiable:
    @pytest.mark.parametrize("mode", ["double-backward", "finite-difference", "central-difference"])
    def test_training_through_products(self, mode: Any) -> None:
        """Slope of |Hv|^2 in one weight, against a difference of two values."""
        net = NETS["gelu"].double()
        weight = net.head[1].weight

        def value() -> torch.Tensor:
            curvature = InputCurvature(
                ImageLoss(model=net, labels=LABELS),
                IMAGES,
                mode=mode,
                step=0.1,
                differentiable=True,
            )
            return curvature.product(DIRECTIONS).square().sum()

        (slope,) = torch.autograd.grad(value(), weight)
        index = tuple(int(i) for i in (slope.abs() == slope.abs().max()).nonzero()[0])
        kept = float(weight[index].detach())
        values = []
        for h in (1e-5, -1e-5):
            with torch.no_grad():
                weight[index] = kept + h
            values.append(float(value().detach()))
        with torch.no_grad():
            weight[index] = kept
        # Rounding of the values over 2e-5, and truncation of order 1e-10.
        assert float(slope[index]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)

    def test_otherwise_nothing_has_a_graph(self) -> None:
        for mode in HVP_MODES:
            curvature = InputCurvature(loss_of("gelu"), IMAGES, mode=mode)
            found = curvature.product(DIRECTIONS)
            assert not found.requires_grad
            assert not curvature.gradient.requires_grad
            assert not curvature.losses.requires_grad
        assert all(p.grad is None for p in NETS["gelu"].parameters())

    @pytest.mark.parametrize("mode", ["double-backward", "finite-difference", "central-difference"])
    def test_plain_products_are_the_same_without_a_graph(self, mode: Any) -> None:
        curvature = InputCurvature(loss_of("gelu"), IMAGES, mode=mode, differentiable=True)
        plain, graph = curvature.plain_product(DIRECTIONS), curvature.product(DIRECTIONS)
        assert graph.requires_grad
        assert not plain.requires_grad
        torch.testing.assert_close(plain, graph.detach())

    def test_not_forward_over_reverse(self) -> None:
        with pytest.raises(InvalidInput, match="double-backward"):
            InputCurvature(
                loss_of("gelu"), IMAGES, mode="forward-over-reverse", differentiable=True
            )


class TestWithoutSecondDerivative:
    def test_fused_attention_is_replaced(self) -> None:
        """The ViT would fail: its kernel on the CPU has no second derivative."""
        images = IMAGES.detach().requires_grad_()
        vit = NETS["vit"].double()
        (slope,) = torch.autograd.grad(vit(images).sum(), images, create_graph=True)
        with pytest.raises(RuntimeError, match="not implemented"):
            torch.autograd.grad(slope.sum(), images)
        assert bool(InputCurvature(loss_of("vit"), IMAGES).product(DIRECTIONS).any())
        q = torch.rand(1, 1, 4, 8, requires_grad=True)  # the choice is put back
        assert "Math" not in type(scaled_dot_product_attention(q, q, q).grad_fn).__name__

    def test_compiled_models_say_so(self) -> None:
        net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 4), nn.GELU(), nn.Linear(4, 3))
        compiled = torch.compile(net.double(), backend="aot_eager")
        with pytest.raises(GradientUnavailable, match="finite-difference"):
            InputCurvature(ImageLoss(model=compiled, labels=LABELS), IMAGES).product(DIRECTIONS)
        secant = {"mode": "finite-difference", "step": 1e-5}
        one, other = (
            InputCurvature(ImageLoss(model=m, labels=LABELS), IMAGES, **secant).product(DIRECTIONS)
            for m in (compiled, net)
        )
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-6)

    def test_other_errors_stay_what_they_are(self) -> None:
        def broken(images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("out of paper")

        with pytest.raises(RuntimeError, match="out of paper"):
            InputCurvature(broken, IMAGES).product(DIRECTIONS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "exact"}, "double-backward"),
        ({"step": 0.0}, "step"),
        ({"step": float("nan")}, "step"),
        ({"images": torch.zeros(2, 1, 8, 8, dtype=torch.int64)}, "int64"),
    ],
    ids=str,
)
def test_mistakes(changes: dict[str, Any], words: str) -> None:
    images = changes.pop("images", IMAGES)
    with pytest.raises(InvalidInput, match=words):
        InputCurvature(loss_of("gelu"), images, **changes)


def test_mistakes_of_calls() -> None:
    curvature = InputCurvature(loss_of("gelu"), IMAGES)
    for directions in (DIRECTIONS[:2], DIRECTIONS.float(), DIRECTIONS.tolist()):
        with pytest.raises(InvalidInput, match="like the images"):
            curvature.product(directions)
    with pytest.raises(InvalidInput, match="one loss per image"):
        InputCurvature(lambda x: x.sum(), IMAGES).product(DIRECTIONS)
