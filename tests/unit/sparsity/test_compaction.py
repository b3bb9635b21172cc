"""Dead units are taken out, and the outputs stay; what cannot be taken out is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from fgmf.backbones import (
    ConvNet,
    ConvNetConfig,
    HybridConfig,
    HybridNet,
    ResNet,
    ResNetConfig,
    ViT,
    ViTConfig,
)
from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.sgam import Sgam
from fgmf.sparsity import (
    RemovalPlan,
    compact,
    find_units,
    magnitude_scores,
    pattern_of_units,
    prune_units,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GREY = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
COLOUR = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Residual(nn.Module):
    """Two paths that meet in a sum, a concatenation, a depthwise filter, functional forms."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.inner = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.inner_norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.side = nn.Conv2d(8, 5, 1)
        self.mixed = nn.Conv2d(13, 6, 3, stride=2)
        self.hidden = nn.Linear(6, 7)
        self.head = nn.Linear(7, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first = functional.relu(self.norm(self.stem(images)))
        summed = first + torch.relu(self.inner_norm(self.inner(first)))
        filtered = self.depthwise(summed).relu()
        joined = torch.cat([filtered, functional.gelu(self.side(summed))], dim=1)
        pooled = functional.adaptive_avg_pool2d(self.mixed(joined), 1)
        values = functional.dropout(torch.flatten(pooled, 1), training=self.training)
        return self.head(functional.silu(self.hidden(values * 0.5)))


def _moved(model: nn.Module) -> nn.Module:
    """Statistics, scales and shifts as training leaves them."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.add_(torch.randn(tensor.shape, generator=generator))
        if isinstance(module, nn.GroupNorm):
            module.weight.data.add_(torch.randn(module.weight.shape, generator=generator))
            module.bias.data.add_(torch.randn(module.bias.shape, generator=generator))
    return model.eval()


MODELS: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {
    "cnn": lambda: (ConvNet(ConvNetConfig(image_side=8)), GREY),
    "cnn with batch norm": lambda: (ConvNet(ConvNetConfig(image_side=8, norm="batch")), GREY),
    "vit": lambda: (ViT(ViTConfig(image_side=8, width=16, depth=2, pooling="mean")), GREY),
    "vit with token": lambda: (ViT(ViTConfig(image_side=8, width=16, depth=2)), GREY),
    "hybrid": lambda: (HybridNet(HybridConfig(image_side=8, stem_widths=(6, 8, 16))), GREY),
    "resnet": lambda: (
        ResNet(ResNetConfig(image_side=8, widths=(6, 8), blocks=(1, 2), norm="batch")),
        GREY,
    ),
    "residual": lambda: (Residual(), COLOUR),
    "behind a mask": lambda: (
        Sgam.wrap(ConvNet(ConvNetConfig(image_side=8)), channels=1, mean=[0.4], std=[0.3]),
        GREY,
    ),
}


@pytest.mark.parametrize("share", [0.3, 0.75])
@pytest.mark.parametrize("name", MODELS)
def test_outputs_stay_and_tensors_shrink(name: str, share: float) -> None:
    model, images = MODELS[name]()
    model = _moved(model)
    found = find_units(model, images[:2])
    pattern = prune_units(model, found, magnitude_scores(model), share)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    compacted = compact(model, images, pattern=pattern)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    pattern.apply(model)
    others = torch.rand(images.shape, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        before, after = model(others), compacted.model(others)
    assert float((before - after).abs().max()) <= 1e-5 * max(1.0, float(before.abs().max()))
    assert compacted.parameters < compacted.parameters_before
    for group, (gone, size) in compacted.removed.items():
        assert gone == min(size - 1, round(share * size)), group
    assert set(compacted.removed) == set(found.groups)
    left = find_units(compacted.model, images[:2])
    for group, (gone, size) in compacted.removed.items():
        assert left.groups[group].size == size - gone


@pytest.mark.parametrize("name", [name for name in MODELS if name != "behind a mask"])
def test_the_plan_makes_a_fresh_model_take_the_weights(name: str, tmp_path: Path) -> None:
    model, images = MODELS[name]()
    found = find_units(_moved(model), images[:2])
    pattern = prune_units(model, found, magnitude_scores(model), 0.5)
    compacted = compact(model, images, pattern=pattern)
    compacted.plan.save(tmp_path / "plan.json")
    plan = RemovalPlan.load(tmp_path / "plan.json")
    assert plan == compacted.plan
    fresh = MODELS[name]()[0]
    plan.apply(fresh)
    fresh.load_state_dict(compacted.model.state_dict())
    with torch.no_grad():
        assert torch.equal(fresh.eval()(images), compacted.model(images))
    with pytest.raises(InvalidInput, match="another model"):
        plan.apply(fresh)


def test_units_that_nobody_reads_go_too() -> None:
    model = _moved(ConvNet(ConvNetConfig(image_side=8, norm="batch")))
    with torch.no_grad():
        model.features[4].weight[:, 5] = 0
        model.head[3].weight[:, 7] = 0
    compacted = compact(model, GREY)
    assert compacted.removed == {"features.0": (1, 16), "head.1": (1, 128)}


def test_live_units_stay() -> None:
    model = _moved(ConvNet(ConvNetConfig(image_side=8, norm="batch")))
    with torch.no_grad():
        model.features[0].weight[3] = 0
        model.features[0].bias[3] = 0  # and batch norm makes a constant of it
    assert compact(model, GREY).removed == {}


def test_a_dead_layer_keeps_one_unit() -> None:
    model = ConvNet(ConvNetConfig(image_side=8)).eval()
    with torch.no_grad():
        model.features[3].weight.zero_()
        model.features[3].bias.zero_()
    # Nobody reads the layer below then, either.
    removed = {"features.0": (15, 16), "features.3": (31, 32)}
    assert compact(model, GREY).removed == removed


def test_modes_come_along() -> None:
    model = ConvNet(ConvNetConfig(image_side=8, norm="batch")).train()
    model.features[1].eval()
    with torch.no_grad():
        model.head[3].weight[:, 0] = 0
    smaller = compact(model, GREY).model
    assert smaller.training
    assert not smaller.features[1].training
    assert model.training


class Spoken(nn.Module):
    """A layer that is read by something which cannot be followed."""

    def __init__(self, read: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.talker = nn.Conv2d(3, 6, 3, padding=1)
        self.middle = nn.LayerNorm((6, 8, 8))
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.last = nn.Conv2d(6, 2, 8)
        self.scale = nn.Parameter(torch.rand(6, 1, 1))
        self.read: Any = read

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.read(self, self.talker(images))).flatten(1)


REFUSED = {
    "LayerNorm": lambda m, x: m.middle(x),
    "across groups": lambda m, x: m.grouped(x),
    "not zero at zero": lambda m, x: x.sigmoid(),
    "operation permute": lambda m, x: x.permute(0, 1, 3, 2),
    "operation softmax": lambda m, x: x.softmax(dim=1),
    "something else is added": lambda m, x: x + m.scale,
    "operation mul": lambda m, x: x * m.scale,
    "operation getitem": lambda m, x: x[:, [1, 0, 2, 3, 4, 5]],
    "a mean is taken": lambda m, x: x.mean(dim=1, keepdim=True).expand(-1, 6, -1, -1),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_taken_out_is_named(why: str) -> None:
    model = Spoken(REFUSED[why]).eval()
    with torch.no_grad():
        model.talker.weight[2] = 0
        model.talker.bias[2] = 0
    with pytest.raises(InvalidInput, match=f"layer talker: .*{why}"):
        compact(model, COLOUR)
    kept = compact(model, COLOUR, accept_refusals=True)
    assert set(kept.refused) == {"talker"}
    assert "talker" not in kept.removed


def test_a_layer_that_is_used_twice_is_named() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
            self.last = nn.Conv2d(4, 2, 8)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.last(self.again(self.again(self.first(images)))).flatten(1)

    found = find_units(Twice(), COLOUR[:2])
    assert found.groups == {}
    assert "more than once" in found.refusals["again"]


def test_what_cannot_be_traced_is_said() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if images.sum() > 0:
                return self.layer(images.flatten(1))
            return self.layer(-images.flatten(1))

    words = r"torch\.fx can trace, to find units.*in a training, export without compaction"
    with pytest.raises(InvalidInput, match=words):
        find_units(Branching(), GREY[:2])
    pruned = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    prune.identity(pruned[1], "weight")
    with pytest.raises(InvalidInput, match="layer 1, got reparametrised"):
        find_units(pruned, GREY[:2])


def test_a_file_that_is_no_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    for text in ("", "[]", "{}", '{"format": "fgmf-removal-plan/1"}'):
        path.write_text(text)
        with pytest.raises(StaleEvidence, match="removal plan"):
            RemovalPlan.load(path)


def test_a_group_never_loses_all_of_its_units() -> None:
    model = ConvNet(ConvNetConfig(image_side=8)).eval()
    found = find_units(model, GREY[:2])
    with pytest.raises(InvalidInput, match="some, not all, units"):
        pattern_of_units(model, found, {"features.0": range(16)})
    with pytest.raises(InvalidInput, match="no such group"):
        pattern_of_units(model, found, {"elsewhere": [0]})
