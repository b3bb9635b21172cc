"""What the predictor is taught, against loops; that it learns it, and the model stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from oracles.slow_saliency import slow_grad_cam_pp, slow_layer_cam
from torch import nn

from fgmf.backbones import (
    ConvNet,
    ConvNetConfig,
    HybridConfig,
    HybridNet,
    SpikingConfig,
    SpikingNet,
    ViT,
    ViTConfig,
)
from fgmf.errors import InvalidInput
from fgmf.sgam import (
    SaliencyTeacher,
    Sgam,
    SgamConfig,
    find_cam_layer,
    saliency_target,
    teaching_loss,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 16
CONFIG = SgamConfig(grid_side=4)
IMAGES = torch.rand(5, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(2)).double()
LABELS = torch.tensor([0, 1, 2, 3, 4])
BACKBONES = {
    "cnn": ConvNet(ConvNetConfig(image_side=SIDE, norm="batch")),
    "vit": ViT(ViTConfig(image_side=SIDE, depth=3)),
    "vit-mean": ViT(ViTConfig(image_side=SIDE, depth=3, pooling="mean")),
    "hybrid": HybridNet(HybridConfig(image_side=SIDE, stem_widths=(8,), depth=2)),
}


def wrapped(name: str = "cnn") -> Sgam:
    return Sgam.wrap(BACKBONES[name].double(), channels=1, config=CONFIG)


def pieces(
    sgam: Sgam, layer: str, images: torch.Tensor = IMAGES
) -> tuple[torch.Tensor, torch.Tensor]:
    """Activations of a module and the slopes of the labels' logits there, with torch's hooks."""
    kept: dict[str, torch.Tensor] = {}

    def keep(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
        output.retain_grad()
        kept["output"] = output

    sgam.eval()
    with sgam.backbone.get_submodule(layer).register_forward_hook(keep):
        sgam(images).gather(1, LABELS[:, None]).sum().backward()
    output, slope = kept["output"].detach(), kept["output"].grad
    sgam.zero_grad(set_to_none=True)
    assert slope is not None
    return output, slope


class TestMaps:
    @pytest.mark.parametrize("method", ["layer-cam", "grad-cam++"])
    def test_against_loops(self, method: Any) -> None:
        sgam = wrapped()
        layer = "features.5"
        target = saliency_target(sgam, IMAGES, LABELS, method=method, layer=layer)
        maps, slopes = pieces(sgam, layer)
        slow = slow_layer_cam if method == "layer-cam" else slow_grad_cam_pp
        for grid, activation, slope in zip(target.grid, maps, slopes, strict=True):
            expected = slow(activation.numpy(), slope.numpy())
            expected = (expected - expected.min()) / (expected.max() - expected.min())
            coarse = expected.reshape(4, 2, 4, 2).mean(axis=(1, 3))
            # Sums of products in another order, in float64.
            np.testing.assert_allclose(grid[0].numpy(), coarse, atol=1e-10)
        assert bool(target.usable.all())

    @pytest.mark.parametrize("name", list(BACKBONES))
    @pytest.mark.parametrize("method", ["layer-cam", "grad-cam++"])
    def test_every_backbone(self, name: str, method: Any) -> None:
        target = saliency_target(wrapped(name), IMAGES, LABELS, method=method)
        assert target.grid.shape == (5, 1, 4, 4)
        assert not target.grid.requires_grad
        assert 0.0 <= float(target.grid.min()) <= float(target.grid.max()) <= 1.0
        assert int(target.usable.sum()) >= 3  # untrained, some have no positive evidence
        assert float(target.grid[target.usable].std(dim=0).mean()) > 1e-3
        assert torch.equal(target.grid.flatten(1).any(dim=1), target.usable)

    def test_negative_activations_do_no_harm(self) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.SiLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
            nn.Linear(64, 5),
        )  # fmt: skip
        sgam = Sgam.wrap(net.double(), channels=1, config=CONFIG)
        target = saliency_target(sgam, IMAGES, LABELS, method="grad-cam++", layer="1")
        maps, slopes = pieces(sgam, "1")
        assert float(maps.sum(dim=(2, 3)).min()) < 0
        expected = slow_grad_cam_pp(maps[0].numpy(), slopes[0].numpy())
        assert expected.max() > 0
        assert bool(target.grid.isfinite().all())

    def test_the_scale_of_the_gradient_does_not_matter(self) -> None:
        sgam = wrapped()
        before = saliency_target(sgam, IMAGES, LABELS, method="grad-cam++", layer="features.1")
        with torch.no_grad():
            sgam.backbone.head[-1].weight.mul_(1e-8)
        after = saliency_target(sgam, IMAGES, LABELS, method="grad-cam++", layer="features.1")
        with torch.no_grad():
            sgam.backbone.head[-1].weight.mul_(1e8)
        # With tiny slopes the term (sum A) G^3 fades, so not the same, but of the same kind.
        both = torch.stack([before.grid.flatten(), after.grid.flatten()])
        assert float(torch.corrcoef(both)[0, 1]) > 0.9

    @pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
    def test_half_precision_teaches_too(self, kind: torch.dtype) -> None:
        """Slopes of 1e-6 are there in float16, their squares are not."""

        class Quiet(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = ConvNet(ConvNetConfig(image_side=SIDE, widths=(8,), hidden=16), seed=4)

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                logits: torch.Tensor = 1e-5 * self.net(images)
                return logits

        sgam, images = Sgam.wrap(Quiet(), channels=1, config=CONFIG), IMAGES.float()
        plain = saliency_target(sgam, images, LABELS, method="grad-cam++")
        with torch.autocast("cpu", dtype=kind):
            half = saliency_target(sgam, images, LABELS, method="grad-cam++")
        assert bool(plain.usable.all())
        assert bool(half.usable.all())
        assert half.grid.dtype == torch.float32
        # Slopes are rounded to 8 bits, or below the normal numbers of float16; maps are sums of 8.
        torch.testing.assert_close(half.grid, plain.grid, atol=0.1, rtol=0)

    def test_no_map_is_no_lesson_and_never_nan(self) -> None:
        sgam = wrapped()
        target = saliency_target(sgam, torch.zeros_like(IMAGES), LABELS, layer="features.0")
        flat = Sgam.wrap(
            nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(2 * SIDE**2, 5)).double(),
            channels=1,
            config=CONFIG,
        )
        with torch.no_grad():
            flat.backbone[0].weight.zero_()
            flat.backbone[0].bias.zero_()
        none = saliency_target(flat, IMAGES, LABELS, layer="0")
        assert not bool(none.usable.any())
        assert float(none.grid.abs().max()) == 0.0
        assert bool(target.grid.isfinite().all())
        loss = teaching_loss(flat, IMAGES, none)
        loss.backward()
        assert loss.item() == 0.0

    def test_layers_that_work_in_place(self) -> None:
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 14**2, 5)
        ).double()
        sgam = Sgam.wrap(net, channels=1, config=CONFIG)
        assert bool(saliency_target(sgam, IMAGES, LABELS, layer="0").usable.all())


class TestTheLayer:
    @pytest.mark.parametrize(
        ("name", "layer"),
        [
            ("cnn", "features.7"),
            ("vit", "blocks.1"),
            ("vit-mean", "blocks.1"),
            ("hybrid", "blocks.0"),
        ],
    )
    def test_choice(self, name: str, layer: str) -> None:
        assert find_cam_layer(BACKBONES[name].double(), IMAGES) == layer

    def test_one_block_leaves_the_maps_before_it(self) -> None:
        net = ViT(ViTConfig(image_side=SIDE, depth=1)).double()
        assert find_cam_layer(net, IMAGES) == "patches"

    def test_none(self) -> None:
        net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 5)).double()
        with pytest.raises(InvalidInput, match="layer="):
            find_cam_layer(net, IMAGES)
        assert not net[0]._forward_hooks

    @pytest.mark.parametrize("pooling", ["class-token", "mean"])
    @pytest.mark.parametrize("layer", [None, "blocks.2"])
    def test_nine_patches_are_a_grid_where_nothing_has_more(
        self, layer: str | None, pooling: Any
    ) -> None:
        """11 x 11 pixels in patches of 4 x 4, padded: 3 x 3 tokens, and a class token or none."""
        net = ViT(ViTConfig(image_side=11, depth=4, pooling=pooling)).double()
        images = IMAGES[:, :, :11, :11].contiguous()
        assert find_cam_layer(net, images) == "blocks.2"
        sgam = Sgam.wrap(net, channels=1, config=SgamConfig(grid_side=3))
        target = saliency_target(sgam, images, LABELS, layer=layer)
        assert target.grid.shape == (5, 1, 3, 3)
        tokens, slopes = pieces(sgam, "blocks.2", images)
        assert tokens.shape[1] == (10 if pooling == "class-token" else 9)
        for grid, usable, activation, slope in zip(
            target.grid, target.usable, tokens[:, -9:], slopes[:, -9:], strict=True
        ):
            parts = (part.T.reshape(-1, 3, 3).numpy() for part in (activation, slope))
            expected = slow_layer_cam(*parts)
            span = expected.max() - expected.min()
            scaled = (expected - expected.min()) / span if span else np.zeros((3, 3))
            # Sums of products in another order, in float64.
            np.testing.assert_allclose(grid[0].numpy(), scaled, atol=1e-10)
            assert bool(usable) == bool(span)

    def test_finer_maps_before_coarse_tokens(self) -> None:
        """As it was: 2 x 2 tokens are taken only where nothing has 4 x 4 cells."""
        net = HybridNet(HybridConfig(image_side=8, stem_widths=(8, 8), depth=2)).double()
        images, seen = IMAGES[:, :, :8, :8], []
        name = find_cam_layer(net, images)
        with net.get_submodule(name).register_forward_hook(lambda *of: seen.append(of[2].shape)):
            net(images)
        (shape,) = seen
        assert len(shape) == 4
        assert min(shape[2:]) == 4

    def test_one_cell_is_no_map(self) -> None:
        net = nn.Sequential(nn.AvgPool2d(SIDE), nn.Identity(), nn.Flatten(), nn.Linear(1, 5))
        sgam = Sgam.wrap(net.double(), channels=1, config=CONFIG)
        with pytest.raises(InvalidInput, match=r"more than one cell.*got \(5, 1, 1, 1\)"):
            saliency_target(sgam, IMAGES, LABELS, layer="1")
        with pytest.raises(InvalidInput, match="at least 2 x 2"):
            find_cam_layer(net, IMAGES)

    @pytest.mark.parametrize("layer", [None, "layers.1.0"])
    def test_a_module_that_runs_at_every_time_step(self, layer: str | None) -> None:
        net = SpikingNet(SpikingConfig(image_side=SIDE, widths=(4, 4)))
        sgam = Sgam.wrap(net, channels=1, config=CONFIG)
        with pytest.raises(InvalidInput, match=r"one use of .*, got 8: .*once per time step"):
            saliency_target(sgam, IMAGES.float(), LABELS, layer=layer)
        assert not any(module._forward_hooks for module in net.modules())

    def test_a_module_that_does_not_run(self) -> None:
        sgam = wrapped()
        sgam.backbone.spare = nn.Conv2d(1, 1, 1)
        try:
            with pytest.raises(InvalidInput, match="'spare' to run in a forward pass"):
                saliency_target(sgam, IMAGES, LABELS, layer="spare")
        finally:
            del sgam.backbone.spare

    @pytest.mark.parametrize(("layer", "words"), [("body", "'body'"), ("head.1", "maps")])
    def test_a_wrong_name(self, layer: str, words: str) -> None:
        with pytest.raises(InvalidInput, match=words):
            saliency_target(wrapped(), IMAGES, LABELS, layer=layer)


class Telling(nn.Module):
    """Returns what `form` makes of the logits."""

    def __init__(self, form: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.net, self.form = ConvNet(ConvNetConfig(image_side=SIDE, widths=(4,))), form

    def forward(self, images: torch.Tensor) -> object:
        return self.form(self.net(images))


class TestWhatTheBackboneReturns:
    @pytest.mark.parametrize(
        ("form", "got"),
        [
            (lambda logits: {"logits": logits}, "dict"),
            (lambda logits: (logits, logits), "tuple"),
            (lambda logits: logits.sum(), r"Tensor \(\)"),
            (lambda logits: logits[:, :, None], r"Tensor \(5, 10, 1\)"),
            (lambda logits: logits[:2], r"Tensor \(2, 10\)"),
        ],
    )
    def test_the_layer_hands_it_on_and_the_teacher_needs_logits(
        self, form: Callable[[torch.Tensor], object], got: str
    ) -> None:
        sgam, images = Sgam.wrap(Telling(form), channels=1, config=CONFIG), IMAGES.float()
        assert type(sgam(images)) is type(form(torch.rand(5, 10)))
        words = rf"logits \(5, classes\) from the backbone.*got {got}; wrap"
        with pytest.raises(InvalidInput, match=words):
            SaliencyTeacher(every=1).loss(sgam, images, LABELS, step=0)


class TestLessons:
    def test_only_the_predictor_gets_a_gradient(self) -> None:
        sgam = wrapped()
        SaliencyTeacher(weight=2.0).loss(sgam, IMAGES, LABELS, step=0).backward()
        assert all(p.grad is None for p in sgam.backbone.parameters())
        assert all(float(p.grad.abs().sum()) > 0 for p in sgam.layer.predictor.parameters())

    def test_images_get_no_gradient_from_it(self) -> None:
        """An attack on the whole training loss would otherwise follow the lesson."""
        images = IMAGES.clone().requires_grad_()
        loss = SaliencyTeacher().loss(wrapped(), images, LABELS, step=0)
        assert torch.autograd.grad(loss, images, allow_unused=True) == (None,)

    def test_the_loss_is_the_cross_entropy_written_out(self) -> None:
        sgam = wrapped()
        target = saliency_target(sgam, IMAGES, LABELS)
        p = sgam.layer.grid(IMAGES)
        expected = -(target.grid * p.log() + (1 - target.grid) * (1 - p).log()).mean()
        found = SaliencyTeacher(weight=3.0).loss(sgam, IMAGES, LABELS, step=0)
        torch.testing.assert_close(found, 3.0 * expected)

    def test_between_lessons_nothing_is_computed(self) -> None:
        teacher, calls = SaliencyTeacher(every=3), []
        sgam = wrapped()
        with sgam.backbone.register_forward_hook(lambda *_: calls.append(1)):
            losses = [float(teacher.loss(sgam, IMAGES, LABELS, step=s).detach()) for s in range(7)]
        assert [loss > 0 for loss in losses] == [True, False, False, True, False, False, True]
        assert len(calls) == 3 * 2  # a lesson, and the look for the layer with one image

    def test_hooks_are_told_that_it_is_teaching(self) -> None:
        sgam, seen = wrapped(), []
        with sgam.register_saliency_mask_hook(lambda record: seen.append(record.purpose)):
            saliency_target(sgam, IMAGES, LABELS)
        assert seen == ["teaching"]

    def test_the_model_comes_back_as_it_was(self) -> None:
        sgam = wrapped().train()
        sgam.backbone.features[0].eval()
        modes = [module.training for module in sgam.modules()]
        state = {k: v.clone() for k, v in sgam.state_dict().items()}
        for layer in (None, "no-such-module"):
            try:
                saliency_target(sgam, IMAGES, LABELS, layer=layer)
            except InvalidInput:
                assert layer is not None
            assert [module.training for module in sgam.modules()] == modes
        assert all(torch.equal(v, state[k]) for k, v in sgam.state_dict().items())
        assert all(p.grad is None for p in sgam.parameters())
        assert not any(module._forward_hooks for module in sgam.modules())

    def test_it_learns_where_the_backbone_looks(self) -> None:
        """Pixels in one quarter decide; the predictor finds it in a few steps."""
        weight = torch.zeros(2, 1, SIDE, SIDE, dtype=torch.float64)
        weight[0, 0, :8, :8], weight[1, 0, :8, :8] = 1.0, -1.0
        net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(SIDE**2, 2))
        with torch.no_grad():
            net[0].weight.fill_(1.0)
            net[2].weight.copy_(weight.flatten(1))
        sgam = Sgam.wrap(net.double(), channels=1, config=CONFIG)
        teacher = SaliencyTeacher(every=1, layer="0")
        optimizer = torch.optim.Adam(sgam.layer.parameters(), lr=0.02)
        labels = torch.zeros(5, dtype=torch.int64)
        for step in range(150):
            optimizer.zero_grad()
            teacher.loss(sgam, IMAGES, labels, step=step).backward()
            optimizer.step()
        grid = sgam.layer.grid(IMAGES).detach().mean(dim=(0, 1))
        elsewhere = (grid.sum() - grid[:2, :2].sum()) / 12
        assert float(grid[:2, :2].mean()) > 0.4
        assert float(elsewhere) < 0.1

    @pytest.mark.parametrize(
        "changes",
        [
            {"method": "cam"},
            {"every": 0},
            {"every": 1.5},
            {"weight": 0.0},
            {"weight": float("nan")},
        ],
        ids=str,
    )
    def test_mistakes(self, changes: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput, match=next(iter(changes))):
            SaliencyTeacher(**changes)
