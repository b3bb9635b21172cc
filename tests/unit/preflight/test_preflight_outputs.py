from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from fgmf.classifier import Classifier
from fgmf.preflight.outputs import describe_failure, observe_outputs

if TYPE_CHECKING:
    from fgmf.preflight.policy import Observation

LOGITS = 4 * torch.randn((64, 5), generator=torch.Generator().manual_seed(0))
LABELS = LOGITS.argmax(dim=1)


def found(logits: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, Observation]:
    return {o.name: o for o in observe_outputs(logits, labels)}


def single(values: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.zeros_like(values), values], dim=1)


@pytest.mark.parametrize("logits", [LOGITS, LOGITS.double(), LOGITS / 100, LOGITS + 50, -LOGITS])
def test_logits_raise_nothing(logits: torch.Tensor) -> None:
    assert found(logits, LABELS) == {}


@pytest.mark.parametrize("scale", [0.01, 1.0, 20.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_softmax_is_an_error_at_every_confidence_and_precision(
    scale: float, dtype: torch.dtype
) -> None:
    probabilities = (scale * LOGITS).double().softmax(dim=1).to(dtype)
    seen = found(probabilities.float() if dtype.itemsize < 4 else probabilities)
    assert seen["probabilities-not-logits"].severity == "error"


def test_a_sigmoid_per_class_is_an_error() -> None:
    assert "probabilities-not-logits" in found(LOGITS.sigmoid())


def test_log_probabilities_are_a_note() -> None:
    seen = found(LOGITS.log_softmax(dim=1))
    assert {name: o.severity for name, o in seen.items()} == {"log-probabilities": "note"}


def test_a_single_logit_raises_nothing() -> None:
    values = LOGITS[:, 0]
    assert found(single(values), (values > 0).long()) == {}


def test_a_single_probability_is_an_error_with_both_accuracies() -> None:
    values = LOGITS[:, 0]
    seen = found(single(values.sigmoid()), (values > 0).long())["probabilities-not-logits"]
    assert seen.severity == "error"
    assert "1.00 when cut at 1/2" in seen.message


def test_a_single_logit_that_happens_to_be_small_and_positive_is_none() -> None:
    values = LOGITS[:, 0].sigmoid()
    assert found(single(values), torch.ones(64, dtype=torch.int64)) == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_outputs_that_are_not_finite_are_counted(value: float) -> None:
    logits = LOGITS.clone()
    logits[3, 1] = value
    seen = found(logits, LABELS)["nan-or-infinite-output"]
    assert seen.severity == "error"
    assert seen.evidence["images"] == 1


def failure(model: object, images: torch.Tensor) -> Observation:
    classifier = Classifier(model, bounds=(0, 1), device="cpu")  # type: ignore[arg-type]
    try:
        classifier.logits(images)
    except Exception as error:  # noqa: BLE001 - what is described
        (seen,) = describe_failure(classifier, images, error)
        return seen
    raise AssertionError("expected the model to fail")


def test_an_output_of_wrong_shape_is_told_from_a_failed_forward() -> None:
    seen = failure(lambda x: x, torch.zeros(4, 1, 8, 8))
    assert seen.name == "output-shape"
    assert "(4, classes)" in seen.message


def test_a_failed_forward_shows_the_models_own_exception() -> None:
    def broken(images: torch.Tensor) -> torch.Tensor:
        raise KeyError("no such layer")

    seen = failure(broken, torch.zeros(4, 1, 8, 8))
    assert seen.name == "forward-failed"
    assert "KeyError: 'no such layer'" in seen.message


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((4, 8, 8), "unsqueeze(1)"),
        ((4, 8, 8, 3), "permute(0, 3, 1, 2)"),
        ((4, 64), "reshape"),
        ((4, 7, 8, 8), "size, channels"),
    ],
)
def test_a_failed_forward_hints_at_the_shape(shape: tuple[int, ...], words: str) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten())
    if len(shape) == 3:
        model = torch.nn.Sequential(torch.nn.BatchNorm2d(1))
    seen = failure(model, torch.zeros(shape))
    assert seen.name == "forward-failed"
    assert words in seen.fix
