from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import ConvModel, LinearModel, classify, make_images
from torch import nn

from fgmf.classifier import Classifier, Normalization
from fgmf.classifier.adapter import choose_device
from fgmf.errors import InvalidInput


class Recorder(LinearModel):
    """Remembers what it was given, outside of any attribute."""

    def __init__(self, seen: list[torch.Tensor]) -> None:
        super().__init__()
        self.forward = lambda images: (  # type: ignore[method-assign]
            seen.append(images),
            LinearModel.forward(self, images),
        )[1]


def test_normalisation_happens_inside() -> None:
    seen: list[torch.Tensor] = []
    images = make_images(3)
    classifier = classify(Recorder(seen), normalize={"mean": 0.5, "std": 0.25})
    logits = classifier.logits(images)
    assert torch.equal(seen[0], (images - 0.5) / 0.25)
    assert torch.equal(logits, LinearModel()((images - 0.5) / 0.25))


@pytest.mark.parametrize("normalize", [None, {"mean": 0.5, "std": 0.5}])
def test_whole_numbers_become_float_before_they_are_normalised(normalize: Any) -> None:
    images = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    classifier = classify(LinearModel(), bounds=(0, 255), normalize=normalize)
    assert torch.equal(classifier.logits(images), classifier.logits(images.float()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_may_change_its_input_in_place(dtype: torch.dtype) -> None:
    class InPlace(LinearModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images.sub_(0.5).mul_(2))

    images = make_images(3).to(dtype)
    before = images.clone()
    classifier = classify(InPlace())
    first = classifier.logits_in_batches(images, batch_size=2)
    assert torch.equal(images, before)
    assert torch.equal(classifier.logits_in_batches(images, batch_size=2), first)
    leaf = images.clone().requires_grad_()
    classifier.logits(leaf).sum().backward()
    assert leaf.grad is not None
    expected = 2 * LinearModel().weight.detach().sum(dim=0).reshape(1, 8, 8)
    assert torch.allclose(leaf.grad[0], expected.to(dtype), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_runs_in_half_and_answers_in_float(dtype: torch.dtype) -> None:
    seen: list[torch.Tensor] = []
    classifier = classify(Recorder(seen).to(dtype))
    images = make_images(3).requires_grad_()
    logits = classifier.logits(images)
    assert classifier.dtype is dtype
    assert seen[0].dtype is dtype
    assert logits.dtype is torch.float32
    logits.sum().backward()
    assert images.grad is not None
    assert images.grad.dtype is torch.float32
    assert bool(images.grad.any())


def test_an_explicit_type_holds_inside_the_guard_and_only_there() -> None:
    module = LinearModel()
    classifier = classify(module, dtype="float64")
    with classifier.guard():
        assert module.weight.dtype is torch.float64
        assert classifier.logits(make_images(2)).dtype is torch.float64
    assert module.weight.dtype is torch.float32
    assert torch.equal(module.weight, LinearModel().weight)


def test_an_explicit_type_does_not_disturb_gradients_left_behind() -> None:
    module = LinearModel()
    gradient = module.weight.grad = torch.ones_like(module.weight)
    with classify(module, dtype="float64").guard():
        pass
    assert module.weight.grad is gradient
    assert gradient.dtype is torch.float32


def test_a_gradient_is_taken_only_where_one_is_asked() -> None:
    classifier = classify(LinearModel())
    images = make_images(2)
    assert not classifier.logits(images).requires_grad
    assert not classifier.logits_in_batches(images.requires_grad_()).requires_grad
    with torch.no_grad():
        assert classifier.logits(images).requires_grad


def test_passes_are_counted_exactly() -> None:
    classifier = classify(LinearModel())
    images = make_images(7)
    classifier.logits_in_batches(images, batch_size=3)
    assert (classifier.cost_meter.forward_passes, classifier.cost_meter.backward_passes) == (7, 0)
    leaf = images[:5].requires_grad_()
    logits = classifier.logits(leaf)
    logits[:, 0].sum().backward(retain_graph=True)
    logits[:, 1].sum().backward()
    assert (classifier.cost_meter.forward_passes, classifier.cost_meter.backward_passes) == (12, 10)
    start = classifier.cost_meter.reading()
    classifier.predict(images)
    cost = classifier.cost_meter.since(start, seconds=2.0)
    assert (cost.forward_passes, cost.backward_passes, cost.seconds) == (7, 0, 2.0)


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of memory. Tried to allocate"), MemoryError()], ids=repr
)
def test_batches_halve_when_memory_runs_out(error: Exception) -> None:
    sizes: list[int] = []

    def cramped(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        if len(images) > 2:
            raise error
        return LinearModel()(images)

    images = make_images(5)
    logits = classify(cramped, batch_size=8).logits_in_batches(images)
    assert torch.equal(logits, LinearModel()(images).detach())
    assert sizes == [5, 2, 2, 1]


def test_no_memory_for_one_image_is_said() -> None:
    def full(images: torch.Tensor) -> torch.Tensor:
        raise MemoryError

    with pytest.raises(InvalidInput, match="at least one image"):
        classify(full).predict(make_images(3))


def test_predictions_are_classes_on_the_cpu() -> None:
    images = make_images(9)
    predicted = classify(LinearModel(), batch_size=2).predict(images)
    assert predicted.dtype is torch.int64
    assert torch.equal(predicted, LinearModel()(images).argmax(dim=1))


def test_of_no_images_nothing_is_predicted() -> None:
    with pytest.raises(InvalidInput, match="at least one image"):
        classify(LinearModel()).predict(make_images(3)[:0])


@pytest.mark.parametrize(
    ("wrap", "output"),
    [
        (lambda z: (z, None), None),
        (lambda z: (None, z), 1),
        (lambda z: {"scores": z, "other": z * 0}, "scores"),
        (lambda z: SimpleNamespace(logits=z), None),
    ],
)
def test_outputs_of_any_form_are_read(wrap: Any, output: Any) -> None:
    images = make_images(3)
    classifier = classify(lambda batch: wrap(LinearModel()(batch)), output=output)
    assert torch.equal(classifier.logits(images), LinearModel()(images))
    assert torch.equal(classifier.predict(images), LinearModel()(images).argmax(dim=1))


def scaled(images: torch.Tensor, factor: float) -> torch.Tensor:
    return LinearModel()(images) * factor


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (scaled, "scaled"),
        (functools.partial(scaled, factor=2.0), "partial"),
        (LinearModel().forward, "forward"),
        (LinearModel(), "LinearModel"),
    ],
)
def test_anything_that_can_be_called_is_a_model(model: Any, name: str) -> None:
    classifier = classify(model)
    assert classifier.name == name
    assert classifier.gradient_available
    assert name in repr(classifier)
    if model is not scaled:
        assert classifier.logits(make_images(2)).shape == (2, 4)


def test_callables_have_no_digest_of_their_own() -> None:
    assert classify(scaled).state_digest() == "opaque:scaled"
    assert classify(LinearModel()).state_digest().startswith("sha256:")


@pytest.mark.parametrize("model", [None, 3, object(), {"model": 1}])
def test_what_is_no_model_is_refused(model: Any) -> None:
    with pytest.raises(InvalidInput, match=r"expected model as .*got (NoneType|int|object|dict)"):
        classify(model)


@pytest.mark.parametrize(
    "bounds", [(1, 0), (0, 0), (0, float("inf")), (float("nan"), 1), (0,), (0, 1, 2), None, "ab"]
)
def test_bounds_are_checked(bounds: Any) -> None:
    with pytest.raises(InvalidInput, match="expected bounds as two finite numbers"):
        classify(LinearModel(), bounds=bounds)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, "8"])
def test_the_batch_size_is_checked(batch_size: Any) -> None:
    with pytest.raises(InvalidInput, match="expected batch_size"):
        classify(LinearModel(), batch_size=batch_size)


@pytest.mark.parametrize("dtype", ["float", "int8", "", "double"])
def test_the_type_is_checked(dtype: str) -> None:
    with pytest.raises(InvalidInput, match='expected dtype "auto"'):
        classify(LinearModel(), dtype=dtype)


@pytest.mark.parametrize("name", ["cpu", "cpu:0"])
def test_the_cpu_is_there(name: str) -> None:
    assert choose_device(name).type == "cpu"


def test_a_device_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"cuda": False, "mps": False}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there["cuda"])
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there["mps"])
    assert choose_device("auto") == torch.device("cpu")
    there["mps"] = True
    assert choose_device("auto") == choose_device("mps") == torch.device("mps")
    there["cuda"] = True
    assert choose_device("auto") == torch.device("cuda:1")
    assert choose_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(InvalidInput, match="a device of this machine, got 'cuda:2'"):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "meta", "cuda:-1", "cuda", "mps", "xla"])
def test_other_devices_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InvalidInput, match=r"expected a? ?device"):
        choose_device(name)


def test_a_normalisation_may_come_as_a_value() -> None:
    value = Normalization(mean=(0.5,), std=(0.5,))
    assert Classifier(LinearModel(), bounds=(0, 1), normalize=value).normalization is value
    with pytest.raises(InvalidInput, match="keys mean and std"):
        classify(LinearModel(), normalize={"mean": 0.5})


def test_channels_that_do_not_fit_are_said() -> None:
    classifier = classify(ConvModel(), normalize={"mean": [0.5] * 3, "std": 0.5})
    with pytest.raises(InvalidInput, match="3 channels"):
        classifier.logits(make_images(2))


def test_train_mode_shows_from_outside() -> None:
    module = ConvModel().train()
    classifier = classify(module)
    assert "(model)" in classifier.training_modules()
    with classifier.guard():
        assert classifier.training_modules() == []
    assert classify(scaled).training_modules() == []
    assert isinstance(module, nn.Module)
