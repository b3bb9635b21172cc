"""`Classifier.guard`: what holds inside, what is put back, what is told."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tiny_models import ConvModel, LinearModel, classify, make_images
from torch import nn

from fgmf.errors import InvalidInput, ModelStateChanged

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.classifier import Classifier

IMAGES = make_images(4)


class SideEffect(LinearModel):
    """A linear model whose forward pass does something else, too."""

    def __init__(self, effect: Callable[[SideEffect], Any]) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(1))
        self.calls = 0
        self.history: list[int] = []
        self.__dict__["effect"] = effect

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.effect(self)
        return super().forward(images)


FORBIDDEN: dict[str, tuple[Callable[[SideEffect], Any], str]] = {
    "a buffer": (lambda m: m.total.add_(1), "total"),
    "a buffer replaced": (lambda m: setattr(m, "total", m.total + 1), "total"),
    "a counter": (lambda m: setattr(m, "calls", m.calls + 1), "calls"),
    "a parameter": (lambda m: m.weight.mul_(1.01), "weight"),
    "a parameter replaced": (
        lambda m: setattr(m, "weight", nn.Parameter(m.weight + 1)),
        "weight",
    ),
    "a lazy number": (lambda m: setattr(m, "width", 8), "width"),
}

TOLERATED: dict[str, Callable[[SideEffect], Any]] = {
    "a list": lambda m: m.history.append(1),
    "a lazy tensor": lambda m: setattr(m, "attention", torch.ones(2)),
    "a hook": lambda m: m.register_forward_hook(lambda *_: None),
}


def predict_inside(classifier: Classifier, **options: Any) -> None:
    with classifier.guard(**options):
        classifier.predict(IMAGES)


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_forward_that_changes_the_model_is_an_error_and_is_undone(name: str) -> None:
    effect, part = FORBIDDEN[name]
    module = SideEffect(effect)
    classifier = classify(module)
    before = classifier.state_digest()
    weight = module.weight
    with pytest.raises(ModelStateChanged, match=rf"it changed {part} \(put back\)"):
        predict_inside(classifier)
    assert classifier.state_digest() == before
    assert module.weight is weight


@pytest.mark.parametrize("name", [*FORBIDDEN, *TOLERATED])
def test_what_is_tolerated_is_undone_all_the_same(name: str) -> None:
    effect = FORBIDDEN[name][0] if name in FORBIDDEN else TOLERATED[name]
    module = SideEffect(effect)
    classifier = classify(module)
    before, names = classifier.state_digest(), set(vars(module))
    predict_inside(classifier, tolerate_changes=name in FORBIDDEN)
    assert classifier.state_digest() == before
    assert set(vars(module)) == names
    assert module.history == []
    assert not module._forward_hooks


def test_many_changes_are_cut_short() -> None:
    def shift(module: SideEffect) -> None:
        for layer in module.layers:
            layer.weight.add_(1)

    module = SideEffect(shift)
    module.layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(6))
    with pytest.raises(ModelStateChanged, match=r"layers\.0\.weight, .*\.4\.weight, … \(put"):
        predict_inside(classify(module))


def test_inside_the_model_is_frozen_and_in_eval_mode() -> None:
    module = ConvModel().train()
    module[0].eval()
    module[5].weight.requires_grad_(requires_grad=False)
    modes = [child.training for child in module.modules()]
    frozen = [parameter.requires_grad for parameter in module.parameters()]
    with classify(module).guard():
        assert not any(child.training for child in module.modules())
        assert not any(parameter.requires_grad for parameter in module.parameters())
    assert [child.training for child in module.modules()] == modes
    assert [parameter.requires_grad for parameter in module.parameters()] == frozen
    assert modes[:2] == [True, False]
    assert frozen.count(False) == 1


def test_batch_norm_and_dropout_stand_still() -> None:
    module = ConvModel().train()
    classifier = classify(module)
    before = classifier.state_digest()
    with classifier.guard():
        first = classifier.logits_in_batches(IMAGES)
        assert torch.equal(classifier.logits_in_batches(IMAGES), first)
    assert classifier.state_digest() == before
    assert torch.equal(module[1].running_mean, torch.zeros(4))


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_an_exception_passes_and_the_model_is_put_back(error: BaseException) -> None:
    """What was raised counts more than a change of state that came with it."""
    module = SideEffect(FORBIDDEN["a buffer"][0]).train()
    classifier = classify(module)

    def fail_inside() -> None:
        with classifier.guard():
            classifier.predict(IMAGES)
            raise error

    with pytest.raises(type(error)):
        fail_inside()
    assert module.training
    assert module.total.item() == 0
    assert module.weight.requires_grad
    with pytest.raises(ModelStateChanged):  # and the guard works again
        predict_inside(classifier)


def test_guards_nest_and_the_outer_one_puts_back() -> None:
    module = ConvModel().train()
    classifier = classify(module)
    with classifier.guard():
        with classifier.guard():
            pass
        assert not module.training
        assert not module[0].weight.requires_grad
    assert module.training
    assert module[0].weight.requires_grad


def test_an_inner_guard_does_not_tolerate_for_the_outer_one() -> None:
    module = SideEffect(FORBIDDEN["a counter"][0])
    classifier = classify(module)
    with pytest.raises(ModelStateChanged), classifier.guard():
        predict_inside(classifier, tolerate_changes=True)


def test_two_classifiers_may_share_a_model() -> None:
    module = ConvModel().train()
    with classify(module).guard(), classify(module).guard():
        pass
    assert module.training
    assert module[0].weight.requires_grad


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002 - global


def test_randomness_is_fixed_inside_and_untouched_outside() -> None:
    classifier = classify(LinearModel())
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002 - the global one
    expected = draws()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002 - as above
    with classifier.guard(seed=5):
        first = draws()
    with classifier.guard(seed=5):
        assert draws() == first
    with classifier.guard(seed=6):
        assert draws() != first
    assert draws() == expected
    assert first != expected


def test_kernels_are_steady_inside_and_the_users_choice_outside() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    try:
        cudnn.benchmark, cudnn.deterministic = True, False
        with classify(LinearModel()).guard():
            assert (cudnn.benchmark, cudnn.deterministic) == (False, True)
        assert (cudnn.benchmark, cudnn.deterministic) == (True, False)
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def test_callables_can_be_guarded() -> None:
    predict_inside(classify(LinearModel().forward))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("form", ["plain", "scripted", "traced"])
def test_models_of_any_form_are_put_back(form: str) -> None:
    layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    module: Any = layers
    if form != "plain":
        traced = form == "traced"
        module = torch.jit.trace(layers.eval(), IMAGES) if traced else torch.jit.script(layers)
    module.train()
    classifier = classify(module)
    before = classifier.state_digest()
    with classifier.guard():
        leaf = IMAGES.clone().requires_grad_()
        classifier.logits(leaf).sum().backward()
        assert leaf.grad is not None
        assert all(parameter.grad is None for parameter in module.parameters())
    assert classifier.state_digest() == before
    assert all(child.training for child in module.modules())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_model_without_shapes_yet_is_refused() -> None:
    module = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(InvalidInput, match=r"lazy parameter 1\.weight"), classify(module).guard():
        pass
    with torch.no_grad():
        module(IMAGES)
    with classify(module).guard():
        pass
