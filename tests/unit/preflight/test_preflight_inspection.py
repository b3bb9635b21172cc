from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from fgmf.classifier import Classifier
from fgmf.datasets import Samples
from fgmf.errors import InvalidInput
from fgmf.preflight import FINDINGS, blocking, inspect
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from pathlib import Path

THREAT = ThreatModel(norm="linf", epsilon=0.15)


def classifier(model: Any, **options: Any) -> Classifier:
    return Classifier(model, **{"bounds": (0, 1), "device": "cpu"} | options)


@pytest.mark.parametrize("batch_size", [7, 128])
def test_cost_stays_within_what_is_promised(
    standard: Any, test_set: Samples, batch_size: int
) -> None:
    subject = classifier(standard, batch_size=batch_size)
    assert inspect(subject, test_set, threat=THREAT) == ()
    assert subject.cost_meter.forward_passes <= 16 * 64
    assert subject.cost_meter.backward_passes == 2 * 64


def test_a_poor_model_costs_no_more_than_promised(test_set: Samples) -> None:
    torch.manual_seed(0)
    subject = classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    found = inspect(subject, test_set, threat=THREAT)
    assert [f.name for f in blocking(found)] == ["clean-accuracy-at-chance"]
    assert subject.cost_meter.forward_passes <= 16 * 64


def test_the_model_is_left_as_it_was(test_set: Samples) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10))
    model.train()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = classifier(model).state_digest()
    random = torch.get_rng_state()
    inspect(classifier(model), test_set, threat=THREAT)
    assert classifier(model).state_digest() == before
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert torch.equal(torch.get_rng_state(), random)


class Restless(nn.Module):
    """Dropout in eval mode and a counter."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("calls", torch.zeros(()))
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.model(nn.functional.dropout(images, 0.2))


def test_the_same_seed_finds_the_same_and_another_looks_at_other_images(
    standard: Any, test_set: Samples
) -> None:
    model = Restless(standard)
    first, again, other = (
        inspect(classifier(model), test_set, threat=THREAT, seed=seed) for seed in (1, 1, 2)
    )
    assert {f.name for f in first} >= {"forward-changes-state", "nondeterministic-output"}
    assert first == again
    assert first != other
    assert model.calls == 0


def test_state_changes_are_found_inside_a_guard_too(standard: Any, test_set: Samples) -> None:
    subject = classifier(Restless(standard))
    with subject.guard(seed=3, tolerate_changes=True):
        found = {f.name for f in inspect(subject, test_set, threat=THREAT)}
    assert "forward-changes-state" in found


def test_the_kind_decides_what_blocks(standard: Any, test_set: Samples) -> None:
    subject = classifier(Restless(standard))
    assert blocking(inspect(subject, test_set, threat=THREAT))
    assert not blocking(inspect(subject, test_set, threat=THREAT, kind="gradient-masking"))


def test_waiving_is_visible(standard: Any, test_set: Samples) -> None:
    none = ThreatModel(norm="linf", epsilon=0)
    (finding,) = inspect(classifier(standard), test_set, threat=none, waive=["epsilon-zero"])
    assert (finding.name, finding.waived, blocking([finding])) == ("epsilon-zero", True, ())


def test_an_unknown_waiver_is_refused_before_any_pass(standard: Any, test_set: Samples) -> None:
    subject = classifier(standard)
    with pytest.raises(InvalidInput, match="names of findings"):
        inspect(subject, test_set, waive=["epsilon"])
    assert subject.cost_meter.forward_passes == 0


def test_without_a_threat_model_epsilon_is_not_judged(standard: Any, test_set: Samples) -> None:
    assert inspect(classifier(standard), test_set) == ()


def names(model: Any, images: torch.Tensor, labels: torch.Tensor, **options: Any) -> set[str]:
    # The dataset's own checks come first in a gate; the preflight must not rely on them.
    data: Any = SimpleNamespace(images=images, labels=labels)
    found = inspect(classifier(model, **options), data, threat=THREAT)
    assert {f.name for f in found} <= set(FINDINGS)
    return {f.name for f in found}


def test_nan_images_are_not_passed_through_the_model(standard: Any, test_set: Samples) -> None:
    images = test_set.images.clone()
    images[::2, 0, 0, 0] = float("nan")
    assert names(standard, images, test_set.labels) == {"nan-images"}


def test_broken_data_ends_in_findings_not_in_exceptions(standard: Any, test_set: Samples) -> None:
    images, labels = test_set.images, test_set.labels
    assert "too-few-images" in names(standard, images[:0], labels[:0])
    assert names(standard, images, labels[:-1]) == {"labels-image-count"}
    assert names(standard, images, labels[:0]) == {"labels-image-count"}
    assert names(standard, images, labels.float() + 0.5) == {"labels-dtype"}
    assert "labels-multi-label" in names(standard, images, torch.ones(len(labels), 10))
    assert names(standard, images, labels + 1) == {"labels-out-of-range"}
    assert "nan-images" in names(standard, images * float("nan"), labels)
    assert names(standard, images[:, 0], labels) == {"forward-failed"}
    assert names(standard, images.movedim(1, 3), labels) == {"forward-failed"}
    assert "too-few-images" in names(standard, images[:1], labels[:1])
    assert "images-dtype" in names(standard, images.to(torch.complex64), labels)


def test_channels_of_the_normalisation_that_do_not_fit(standard: Any, test_set: Samples) -> None:
    three = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    found = names(standard, test_set.images, test_set.labels, normalize=three)
    assert found == {"forward-failed"}


def test_outputs_without_logits(test_set: Samples) -> None:
    images, labels = test_set.images, test_set.labels
    assert names(lambda x: x, images, labels) == {"output-shape"}
    assert names(lambda x: None, images, labels) == {"output-shape"}
    assert names(lambda x: x.flatten(1).argmax(1), images, labels) == {"output-shape"}
    assert names(lambda x: x.flatten(1) / 0, images, labels) == {"nan-or-infinite-output"}


def write_onnx(path: Path) -> Path:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    return path


def test_an_onnx_file_blocks_only_gates_that_need_gradients(
    tmp_path: Path, test_set: Samples
) -> None:
    subject = classifier(write_onnx(tmp_path / "model.onnx"))
    labelled = Samples(images=test_set.images, labels=subject.predict(test_set.images))
    (strict,) = inspect(subject, labelled, threat=THREAT)
    assert (strict.name, strict.severity) == ("gradient-missing", "error")
    (lenient,) = inspect(subject, labelled, threat=THREAT, needs_gradient=False)
    assert (lenient.name, lenient.severity) == ("gradient-missing", "note")
