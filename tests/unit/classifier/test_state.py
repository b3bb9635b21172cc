from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import ConvModel, LinearModel
from torch import nn

from fgmf.classifier.state import ModelSnapshot, state_digest, training_modules
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable


class Specimen(nn.Module):
    """A module with everything that a module can have."""

    counts: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        self.register_buffer("counts", torch.zeros(2))
        self.register_buffer("fleeting", torch.zeros(1), persistent=False)
        self.register_parameter("absent", None)
        self.calls, self.label, self.threshold = 0, "a", 0.5
        self.history: list[int] = [1]
        self.seen = Counter("a")
        self.plain = torch.zeros(2)
        self.not_a_number = float("nan")


def changed_by(change: Callable[[Specimen], Any]) -> tuple[Specimen, list[str]]:
    module = Specimen()
    snapshot = ModelSnapshot(module)
    with torch.no_grad():
        change(module)
    return module, snapshot.restore()


CHANGES: dict[str, tuple[Callable[[Specimen], Any], list[str]]] = {
    "nothing": (lambda m: None, []),
    "a parameter in place": (lambda m: m.inner[0].weight.add_(1), ["inner.0.weight"]),
    "a parameter's data": (
        lambda m: setattr(m.inner[0].bias, "data", torch.ones(3)),
        ["inner.0.bias"],
    ),
    "a parameter replaced": (
        lambda m: setattr(m.inner[0], "weight", nn.Parameter(torch.zeros(3, 3))),
        ["inner.0.weight"],
    ),
    "a parameter taken away": (
        lambda m: delattr(m.inner[0], "bias"),
        ["inner.0._parameters", "inner.0.bias"],
    ),
    "a parameter added": (
        lambda m: m.register_parameter("extra", nn.Parameter(torch.zeros(1))),
        ["_parameters"],
    ),
    "NaN in a parameter": (lambda m: m.inner[0].bias.fill_(float("nan")), ["inner.0.bias"]),
    "the sign of a zero": (lambda m: m.counts.neg_(), ["counts"]),
    "a buffer in place": (lambda m: m.counts.add_(1), ["counts"]),
    "a buffer replaced": (lambda m: setattr(m, "counts", m.counts + 1), ["counts"]),
    "a fleeting buffer": (lambda m: m.fleeting.add_(1), ["fleeting"]),
    "running statistics": (
        lambda m: m.inner(torch.randn(4, 3)),
        ["inner.1.num_batches_tracked", "inner.1.running_mean", "inner.1.running_var"],
    ),
    "a counter": (lambda m: setattr(m, "calls", 1), ["calls"]),
    "a number that equals": (lambda m: setattr(m, "calls", 0.0), ["calls"]),
    "a text": (lambda m: setattr(m, "label", "b"), ["label"]),
    "NaN again": (lambda m: setattr(m, "not_a_number", float("nan")), []),
    "a lazy attribute": (lambda m: setattr(m, "width", 7), ["width"]),
    "a lazy tensor": (lambda m: setattr(m, "last", torch.ones(1)), []),
    "an attribute taken away": (lambda m: delattr(m, "label"), ["label"]),
    "a list": (lambda m: m.history.append(2), []),
    "a list replaced": (lambda m: setattr(m, "history", [2]), []),
    "a counter of words": (lambda m: m.seen.update("b"), []),
    "a plain tensor": (lambda m: m.plain.add_(1), []),
    "a submodule added": (lambda m: m.add_module("extra", nn.ReLU()), ["_modules"]),
    "a submodule replaced": (
        lambda m: m.inner.__setitem__(0, nn.Linear(3, 3)),
        ["inner.0.bias", "inner.0.weight"],
    ),
    "modes": (lambda m: (m.eval(), m.inner.train()), []),
    "no gradients": (lambda m: m.requires_grad_(requires_grad=False), []),
    "float64": (lambda m: m.double(), []),
    "a gradient": (lambda m: setattr(m.inner[0].weight, "grad", torch.ones(3, 3)), []),
    "a hook": (lambda m: m.register_forward_hook(print), []),
    "a hook with keywords": (
        lambda m: m.inner.register_forward_hook(print, with_kwargs=True, always_call=True),
        [],
    ),
    "hooks replaced": (lambda m: setattr(m, "_forward_hooks", {}), []),
}


def description(module: nn.Module) -> dict[str, Any]:
    """Everything that must be as before, tensors by identity and by value."""
    found: dict[str, Any] = {}
    for name, child in module.named_modules():
        for key, value in vars(child).items():
            entries = value.items() if isinstance(value, dict) else [("", value)]
            found |= {f"{name}.{key}.{k}": (id(v), repr(v)) for k, v in entries}
            found[f"{name}.{key}"] = (id(value), value.copy() if isinstance(value, set) else None)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        found[f"{name}:"] = (tensor.requires_grad, id(tensor.grad), tensor.data_ptr())
    return found


@pytest.mark.parametrize("name", CHANGES)
def test_what_changed_is_named_and_put_back(name: str) -> None:
    change, expected = CHANGES[name]
    module = Specimen()
    module.inner[0].weight.grad = torch.ones(3, 3)
    module.inner[0].bias.requires_grad_(requires_grad=False)
    handle = module.register_forward_pre_hook(lambda *_: None)
    before = description(module)
    snapshot = ModelSnapshot(module)
    with torch.no_grad():
        change(module)
    assert snapshot.restore() == expected
    assert description(module) == before
    handle.remove()
    assert not module._forward_pre_hooks


def test_a_gradient_stays_the_same_object() -> None:
    module = Specimen()
    gradient = module.inner[0].weight.grad = torch.ones(3, 3)
    snapshot = ModelSnapshot(module)
    module.zero_grad(set_to_none=True)
    snapshot.restore()
    assert module.inner[0].weight.grad is gradient


def test_shared_parameters_stay_shared() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    snapshot = ModelSnapshot(module)
    module.double()
    module[1].weight = nn.Parameter(torch.zeros(3, 3))
    assert "1._parameters" not in snapshot.restore()
    assert module[1].weight is module[0].weight
    assert module[0].weight.dtype is torch.float32


def test_a_model_in_another_precision_has_not_changed() -> None:
    module = LinearModel()
    snapshot = ModelSnapshot(module)
    module.half()
    assert snapshot.restore() == []
    assert module.weight.dtype is torch.float32
    assert torch.equal(module.weight, LinearModel().weight)


def test_a_parameter_without_a_shape_is_refused() -> None:
    with pytest.raises(InvalidInput, match="lazy parameter weight"):
        ModelSnapshot(nn.LazyLinear(3))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.inner[0].weight.data.add_(1e-7),
        lambda m: m.counts.add_(1),
        lambda m: m.fleeting.add_(1),
        lambda m: setattr(m, "calls", 1),
        lambda m: setattr(m, "threshold", 0.6),
        lambda m: m.double(),
    ],
)
def test_the_digest_shows_changes(change: Callable[[Specimen], Any]) -> None:
    module = Specimen()
    torch.nn.init.ones_(module.inner[0].weight)
    before = state_digest(module)
    change(module)
    assert state_digest(module) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.eval(),
        lambda m: m.requires_grad_(requires_grad=False),
        lambda m: setattr(m, "last", torch.zeros(3)),
        lambda m: setattr(m.inner[0].weight, "grad", torch.ones(3, 3)),
        lambda m: m.register_forward_hook(print),
    ],
)
def test_the_digest_does_not_show_what_changes_no_output(
    change: Callable[[Specimen], Any],
) -> None:
    module = Specimen()
    before = state_digest(module)
    change(module)
    assert state_digest(module) == before


def test_the_digest_is_that_of_the_values() -> None:
    assert state_digest(ConvModel()) == state_digest(ConvModel())
    assert state_digest(LinearModel(seed=0)) != state_digest(LinearModel(seed=1))
    assert state_digest(LinearModel()).startswith("sha256:")


def test_submodules_in_train_mode_are_named() -> None:
    module = Specimen()
    assert training_modules(module) == ["(model)", "inner", "inner.0", "inner.1"]
    module.eval().inner[1].train()
    assert training_modules(module) == ["inner.1"]
    assert training_modules(module.eval()) == []
