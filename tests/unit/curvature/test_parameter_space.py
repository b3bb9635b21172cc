"""Products in the space of the parameters: against whole Hessians, and per image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fgmf.backbones import ViT, ViTConfig
from fgmf.curvature import (
    ParameterCurvature,
    PassCount,
    lanczos,
    parameter_curvature_per_image,
    parameter_products_per_image,
    random_directions,
)
from fgmf.errors import GradientUnavailable, InvalidInput

IMAGES = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
LABELS = torch.tensor([0, 1, 2, 1])


def net_of(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.GELU(), nn.Linear(5, 3)).double()


def whole(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(d, d), by torch, of the mean cross-entropy."""
    names = [name for name, p in net.named_parameters() if p.requires_grad]
    values = [p.detach() for p in net.parameters() if p.requires_grad]
    sizes = [p.numel() for p in values]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = flat.split(sizes)
        given = {n: part.view_as(v) for n, part, v in zip(names, parts, values, strict=True)}
        return cross_entropy(torch.func.functional_call(net, given, (images,)), labels)

    flat = torch.cat([v.flatten() for v in values])
    return torch.autograd.functional.hessian(loss, flat)


def curvature_of(net: nn.Module, **changes: Any) -> ParameterCurvature:
    parameters = [p for p in net.parameters() if p.requires_grad]
    return ParameterCurvature(lambda: cross_entropy(net(IMAGES), LABELS), parameters, **changes)


class TestTheWholeLoss:
    @pytest.mark.parametrize("mode", ["double-backward", "finite-difference"])
    def test_against_the_whole_hessian(self, mode: Any) -> None:
        net = net_of()
        net[1].bias.requires_grad_(False)
        hessian = whole(net, IMAGES, LABELS)
        curvature = curvature_of(net, mode=mode, step=1e-6)
        before = [p.detach().clone() for p in net.parameters()]
        v = random_directions(torch.zeros(1, curvature.size, dtype=torch.float64), seed=1)
        exact = mode == "double-backward"
        torch.testing.assert_close(
            curvature.product(v), v @ hessian, atol=1e-12 if exact else 1e-6, rtol=1e-9
        )
        cost = PassCount(forward=1, backward=2) if exact else PassCount(forward=2, backward=2)
        assert curvature.cost == cost
        for old, new in zip(before, net.parameters(), strict=True):
            assert torch.equal(old, new.detach())
            assert new.grad is None

    def test_its_largest_eigenvalue(self) -> None:
        net = net_of()
        curvature = curvature_of(net)
        start = random_directions(torch.zeros(1, curvature.size, dtype=torch.float64), seed=0)
        found = lanczos(curvature, start, iterations=40)
        exact = torch.linalg.eigvalsh(whole(net, IMAGES, LABELS))[-1]
        assert float(found.values[0, 0]) == pytest.approx(float(exact), rel=1e-6)

    def test_parameters_come_back_when_the_loss_breaks(self) -> None:
        net, calls = net_of(), []

        def loss() -> torch.Tensor:
            calls.append(1)
            if len(calls) > 1:
                raise KeyboardInterrupt
            return cross_entropy(net(IMAGES), LABELS)

        curvature = ParameterCurvature(loss, list(net.parameters()), mode="finite-difference")
        before = [p.detach().clone() for p in net.parameters()]
        with pytest.raises(KeyboardInterrupt):
            curvature.product(torch.ones(1, curvature.size, dtype=torch.float64))
        assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))

    def test_a_linear_loss_and_unused_parameters(self) -> None:
        used, unused = (torch.ones(2, 3, dtype=torch.float64, requires_grad=True) for _ in "ab")
        curvature = ParameterCurvature(lambda: 2 * used.sum(), [used, unused])
        assert curvature.gradient.tolist() == [[2.0] * 6 + [0.0] * 6]
        assert curvature.product(torch.ones(1, 12, dtype=torch.float64)).tolist() == [[0.0] * 12]

    def test_compiled_losses_say_so(self) -> None:
        net = net_of()
        compiled = torch.compile(net, backend="aot_eager")
        curvature = ParameterCurvature(
            lambda: cross_entropy(compiled(IMAGES), LABELS), list(net.parameters())
        )
        with pytest.raises(GradientUnavailable, match="finite-difference"):
            curvature.product(torch.ones(1, curvature.size, dtype=torch.float64))

    @pytest.mark.parametrize(
        ("changes", "words"), [({"mode": "jvp"}, "mode"), ({"step": -1.0}, "step")], ids=str
    )
    def test_mistakes(self, changes: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidInput, match=words):
            curvature_of(net_of(), **changes)

    def test_parameters_that_are_none(self) -> None:
        for parameters in (
            [],
            [torch.ones(2)],
            [nn.Parameter(torch.ones(2)), *net_of().parameters()],
        ):
            with pytest.raises(InvalidInput, match="parameters of one"):
                ParameterCurvature(lambda: torch.zeros(()), parameters)
        with pytest.raises(InvalidInput, match=r"\(1, 103\), got \(103,\); flatten"):
            curvature_of(net_of()).product(torch.ones(103, dtype=torch.float64))
        pieces: Any = [torch.ones_like(p) for p in net_of().parameters()]
        with pytest.raises(InvalidInput, match=r"one tensor of shape \(1, 103\), got list; .*cat"):
            curvature_of(net_of()).product(pieces)


class TestPerImage:
    def test_products_against_whole_hessians(self) -> None:
        net = net_of(1)
        net[3].bias.requires_grad_(False)
        size = sum(p.numel() for p in net.parameters() if p.requires_grad)
        v = random_directions(torch.zeros(4, size, dtype=torch.float64), seed=2)
        found = parameter_products_per_image(net, IMAGES, LABELS, v)
        for i in range(4):
            hessian = whole(net, IMAGES[i : i + 1], LABELS[i : i + 1])
            torch.testing.assert_close(found[i], v[i] @ hessian, atol=1e-12, rtol=1e-9)

    def test_one_direction_against_products(self) -> None:
        vit = ViT(ViTConfig(image_side=8, patch_side=4, width=8, depth=1, heads=2)).double()
        images = torch.rand(3, 1, 8, 8, dtype=torch.float64)
        size = sum(p.numel() for p in vit.parameters())
        v = 3 * random_directions(torch.zeros(1, size, dtype=torch.float64), seed=0)[0]
        products = parameter_products_per_image(vit, images, LABELS[:3], v.expand(3, -1))
        expected = (products * v).sum(dim=1) / v.square().sum()
        found = parameter_curvature_per_image(vit, images, LABELS[:3], v, chunk_size=2)
        torch.testing.assert_close(found, expected, atol=1e-11, rtol=1e-8)

    def test_mistakes(self) -> None:
        net = net_of()
        with pytest.raises(InvalidInput, match=r"\(4, 103\)"):
            parameter_products_per_image(net, IMAGES, LABELS, torch.ones(4, 2).double())
        for v, words in ((torch.zeros(103), "not zero"), (torch.ones(5), r"\(4, 103\)")):
            with pytest.raises(InvalidInput, match=words):
                parameter_curvature_per_image(net, IMAGES, LABELS, v.double())
