from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from fgmf.classifier import Classifier
from fgmf.errors import GradientUnavailable
from fgmf.preflight.consistency import observe_consistency
from fgmf.preflight.gradients import (
    STEP,
    GradientMeasurement,
    measure_gradients,
    observe_gradients,
    observe_missing,
    probe_points,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.preflight.policy import Observation

GENERATOR = torch.Generator().manual_seed(0)
WEIGHTS = torch.randn((12, 3), generator=GENERATOR)
IMAGES = torch.rand((32, 1, 3, 4), generator=GENERATOR)


def linear(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1) @ WEIGHTS.to(images.dtype)


def classifier(model: Any, **options: Any) -> Classifier:
    return Classifier(model, **{"bounds": (0, 1), "device": "cpu"} | options)


def judged(model: Any, *, norm: str = "linf") -> dict[str, Observation]:
    measured = measure_gradients(classifier(model), IMAGES)
    return {o.name: o for o in observe_gradients(measured, norm=norm)}  # type: ignore[arg-type]


def test_the_margins_gradient_is_the_difference_of_two_weights() -> None:
    measured = measure_gradients(classifier(linear), IMAGES)
    best = linear(IMAGES).topk(2, dim=1).indices
    expected = (WEIGHTS.T[best[:, 0]] - WEIGHTS.T[best[:, 1]]).double()
    torch.testing.assert_close(measured.margin, expected, atol=1e-6, rtol=1e-6)


def test_the_losss_gradient_is_that_of_softmax_minus_one_hot() -> None:
    measured = measure_gradients(classifier(linear), IMAGES)
    logits = linear(IMAGES).double()
    residual = logits.softmax(1) - nn.functional.one_hot(logits.argmax(1), 3)
    torch.testing.assert_close(measured.loss, residual @ WEIGHTS.T.double(), atol=1e-6, rtol=1e-5)


def test_gradients_are_per_range_and_do_not_depend_on_the_batch_size() -> None:
    def on_bytes(images: torch.Tensor) -> torch.Tensor:
        return linear(images / 255)

    whole = measure_gradients(classifier(linear), IMAGES)
    parts = measure_gradients(classifier(on_bytes, bounds=(0, 255), batch_size=5), IMAGES * 255)
    torch.testing.assert_close(whole.margin, parts.margin, atol=1e-5, rtol=1e-5)


def test_passes_are_counted() -> None:
    subject = classifier(linear)
    measure_gradients(subject, IMAGES)
    assert subject.cost_meter.forward_passes == 32
    assert subject.cost_meter.backward_passes == 64


def test_honest_gradients_raise_nothing() -> None:
    assert judged(linear) == {}


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda x: linear(x.detach()), "no grad_fn"),
        (lambda x: torch.from_numpy(linear(x).detach().numpy()), "no grad_fn"),
        (lambda x: torch.from_numpy(linear(x).numpy()), "RuntimeError"),
        (lambda x: linear(x.detach()) * torch.ones(3, requires_grad=True), "no path"),
        (torch.no_grad()(linear), "no grad_fn"),
    ],
)
def test_a_cut_graph_is_told_with_how_it_showed(
    model: Callable[[torch.Tensor], torch.Tensor], words: str
) -> None:
    with pytest.raises(GradientUnavailable, match=words):
        measure_gradients(classifier(model), IMAGES)


def test_rounding_gives_zero_gradients_for_all_images() -> None:
    seen = judged(lambda x: linear((x * 15).round() / 15))
    assert seen["gradient-zero"].severity == "error"
    assert seen["gradient-zero"].evidence["share"] == 1.0
    assert "saturated-logits" not in seen


@pytest.mark.parametrize(("count", "severity"), [(1, "warning"), (3, "warning"), (4, "error")])
def test_a_few_zero_gradients_are_a_warning_and_a_tenth_an_error(count: int, severity: str) -> None:
    alive = (torch.arange(32) >= count).double().unsqueeze(1)
    measured = measured_like(margin=torch.ones(32, 12) * alive, loss=torch.ones(32, 12))
    (seen,) = observe_gradients(measured, norm="linf")
    assert (seen.name, seen.severity) == ("gradient-zero", severity)


def measured_like(
    *, margin: torch.Tensor, loss: torch.Tensor, gap: float = 1.0
) -> GradientMeasurement:
    logits = torch.tensor([[gap, 0.0, 0.0]]).repeat(margin.shape[0], 1)
    return GradientMeasurement(logits=logits, margin=margin.double(), loss=loss.double())


@pytest.mark.parametrize(("count", "severity"), [(1, "warning"), (8, "error")])
def test_nan_gradients_are_counted(count: int, severity: str) -> None:
    margin = torch.ones(32, 12)
    margin[:count, 3] = float("nan")
    (seen,) = observe_gradients(measured_like(margin=margin, loss=margin), norm="linf")
    assert (seen.name, seen.severity) == ("gradient-nonfinite", severity)


def test_nan_gradients_of_a_norm_at_zero() -> None:
    def model(images: torch.Tensor) -> torch.Tensor:
        return linear(images) + (images * 0).square().sum(dim=(1, 2, 3)).sqrt().unsqueeze(1)

    assert judged(model)["gradient-nonfinite"].severity == "error"


def test_logits_far_apart_let_the_loss_vanish_but_not_the_margin() -> None:
    seen = judged(lambda x: 1e4 * linear(x))["saturated-logits"]
    assert seen.severity == "error"
    assert seen.evidence["vanished"] > 16  # type: ignore[operator]
    assert "divide the logits" in seen.fix


@pytest.mark.parametrize(("norm", "severities"), [("linf", ["note"]), ("l2", ["error"])])
def test_attacks_that_normalise_by_size_lose_small_gradients_first(
    norm: Any, severities: list[str]
) -> None:
    measured = measured_like(margin=torch.ones(32, 12), loss=torch.full((32, 12), 1e-14), gap=40)
    assert [o.severity for o in observe_gradients(measured, norm=norm)] == severities


def test_a_vanishing_share_decides_on_the_severity() -> None:
    loss = torch.ones(32, 12)
    loss[:2] = 0
    (seen,) = observe_gradients(measured_like(margin=torch.ones(32, 12), loss=loss), norm="linf")
    assert (seen.name, seen.severity) == ("saturated-logits", "warning")


def test_a_model_without_gradients_blocks_only_gates_that_need_them() -> None:
    assert observe_missing(needs_gradient=True).severity == "error"
    assert observe_missing(needs_gradient=False).severity == "note"


def test_probe_points_stay_near_the_images_and_off_the_bounds() -> None:
    binary = (IMAGES > 0.5).float() * 255
    points = probe_points(binary, bounds=(0, 255), seed=1)
    assert float((points - binary).abs().max()) <= 255 * 0.0211
    assert float(points.min()) >= 255 * STEP * 0.99
    assert float(points.max()) <= 255 * (1 - STEP * 0.99)
    assert torch.equal(points, probe_points(binary, bounds=(0, 255), seed=1))


class Misleading(torch.autograd.Function):
    """The identity, with the gradient of something else."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor) -> torch.Tensor:
        return images.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return -gradient.roll(1, dims=-1)


def tanh(images: torch.Tensor) -> torch.Tensor:
    return 5 * torch.tanh(linear(images))


def straight_through(images: torch.Tensor) -> torch.Tensor:
    return linear(images + ((images * 15).round() / 15 - images).detach())


def consistency(model: Any, bounds: tuple[float, float] = (0, 1)) -> list[Observation]:
    subject = classifier(model, bounds=bounds)
    images = IMAGES * (bounds[1] - bounds[0]) + bounds[0]
    points = probe_points(images, bounds=bounds, seed=0)
    measured = measure_gradients(subject, points)
    return list(observe_consistency(subject, points, measured, seed=0))


@pytest.mark.parametrize("model", [linear, tanh, straight_through, lambda x: linear(x).double()])
def test_gradients_that_mean_something_are_consistent(model: Any) -> None:
    assert consistency(model) == []


def test_half_precision_is_not_held_to_single_precision() -> None:
    layer = nn.Linear(12, 3, dtype=torch.bfloat16)
    assert consistency(nn.Sequential(nn.Flatten(), layer)) == []


def test_consistency_is_in_units_of_the_range() -> None:
    assert consistency(lambda x: linear(x / 255), bounds=(0.0, 255.0)) == []


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda x: linear(Misleading.apply(x)), "rises by"),
        (lambda x: linear(0.01 * x + 0.99 * x.detach()), "times as much"),
        (
            lambda x: linear(torch.cat([x[..., :2].detach(), x[..., 2:]], dim=-1)),
            "pixels with zero gradient",
        ),
    ],
)
def test_gradients_that_mislead_are_an_error(model: Any, words: str) -> None:
    (seen,) = consistency(model)
    assert (seen.name, seen.severity) == ("gradient-inconsistent", "error")
    assert words in seen.message
