from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from torch import nn

from fgmf.classifier import Normalization
from fgmf.preflight.normalisation import observe_units

if TYPE_CHECKING:
    from fgmf.datasets import Samples

TRAINING = {"mean": 0.5, "std": 0.25}


def units(mean: Any, std: Any, bounds: tuple[float, float]) -> list[str]:
    normalization = Normalization.of({"mean": mean, "std": std})
    return [o.severity for o in observe_units(normalization, bounds=bounds)]


@pytest.mark.parametrize(
    ("mean", "std", "bounds"),
    [
        (0.5, 0.25, (0, 1)),
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], (0, 1)),
        (123.7, 58.4, (0, 255)),
        (0.5, 1.0, (0, 1)),
        (0.0, 255.0, (0, 255)),
        (0.0, 1 / 255, (0, 1)),
    ],
)
def test_units_that_fit(mean: Any, std: Any, bounds: tuple[float, float]) -> None:
    assert units(mean, std, bounds) == []


def test_no_normalisation_has_no_units() -> None:
    assert list(observe_units(None, bounds=(0, 1))) == []


@pytest.mark.parametrize(("mean", "std", "bounds"), [(0.5, 0.25, (0, 255)), (123.7, 58.4, (0, 1))])
def test_units_that_do_not_fit(mean: Any, std: Any, bounds: tuple[float, float]) -> None:
    assert units(mean, std, bounds) == ["warning"]


class Scaled(nn.Module):
    """A model that was trained on images of another scale than [0, 1]."""

    def __init__(self, model: nn.Module, *, mean: float, std: float) -> None:
        super().__init__()
        self.model, self.mean, self.std = model, mean, std
        self.eval()

    def forward(self, images: Any) -> Any:
        return self.model(images * self.std + self.mean)


def test_a_missing_normalisation_is_found(standard: Any, test_set: Samples, ask: Any) -> None:
    found = ask(Scaled(standard, **TRAINING), test_set)
    assert found["normalisation-missing"].severity == "error"
    assert found["normalisation-missing"].evidence["accuracy_rescaled"] > 0.9


def test_a_model_for_bytes_on_unit_images_is_found(
    standard: Any, test_set: Samples, ask: Any
) -> None:
    assert "normalisation-missing" in ask(Scaled(standard, mean=0.0, std=1 / 255), test_set)


def test_normalising_twice_is_found(standard: Any, test_set: Samples, ask: Any) -> None:
    found = ask(standard, test_set, normalize={"mean": 0.7, "std": 0.15})
    assert found["normalised-twice"].severity == "error"


def test_the_right_normalisation_is_silent(standard: Any, test_set: Samples, ask: Any) -> None:
    assert ask(Scaled(standard, **TRAINING), test_set, normalize=TRAINING) == {}


def test_a_model_that_refuses_other_scales_is_not_blamed(
    standard: Any, test_set: Samples, ask: Any
) -> None:
    class Strict(Scaled):
        def forward(self, images: Any) -> Any:
            if float((images.detach() - 0.5).abs().max()) > 0.5001:
                raise ValueError("expected pixels in [0, 1]")
            return super().forward(images)

    assert set(ask(Strict(standard, **TRAINING), test_set)) <= {"clean-accuracy-at-chance"}
