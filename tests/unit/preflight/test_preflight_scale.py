from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from fgmf.preflight.data import measure_images
from fgmf.preflight.scale import observe_epsilon, observe_normalised
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from fgmf.preflight.policy import Observation

UNIT = torch.rand((40, 3, 8, 8), generator=torch.Generator().manual_seed(0))
BYTES = (UNIT * 255).round()


def found(
    images: torch.Tensor,
    epsilon: float,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    norm: str = "linf",
) -> dict[str, Observation]:
    threat = ThreatModel(norm=norm, epsilon=epsilon, bounds=bounds)  # type: ignore[arg-type]
    return {o.name: o for o in observe_epsilon(measure_images(images), threat)}


def normalised(images: torch.Tensor, bounds: tuple[float, float]) -> dict[str, Observation]:
    seen = observe_normalised(measure_images(images), bounds=bounds, threat=None)
    return {o.name: o for o in seen}


@pytest.mark.parametrize(
    ("norm", "epsilon"),
    [("linf", 1 / 255), ("linf", 0.3), ("l2", 0.1), ("l2", 3.0), ("l1", 12.0), ("l1", 2.0)],
)
def test_budgets_in_use_raise_nothing(norm: str, epsilon: float) -> None:
    assert found(UNIT, epsilon, norm=norm) == {}


@pytest.mark.parametrize(
    ("norm", "epsilon"), [("linf", 1.0), ("linf", 8.0), ("linf", 76.0), ("l2", 128.0)]
)
def test_budgets_in_levels_on_bytes_raise_nothing(norm: str, epsilon: float) -> None:
    assert found(BYTES, epsilon, bounds=(0.0, 255.0), norm=norm) == {}


def test_zero_is_an_error() -> None:
    assert found(UNIT, 0.0)["epsilon-zero"].severity == "error"


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 8.0), ("linf", 1.0), ("l2", 14.0)])
def test_a_budget_that_reaches_every_image_is_an_error(norm: str, epsilon: float) -> None:
    seen = found(UNIT, epsilon, norm=norm)["epsilon-wider-than-range"]
    assert seen.severity == "error"
    assert "8/255, not 8" in seen.fix


def test_a_budget_that_reaches_grey_is_a_warning() -> None:
    assert found(UNIT, 0.5)["epsilon-wider-than-range"].severity == "warning"


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("epsilon", [0.15, 8 / 255])
def test_a_fraction_of_a_level_on_whole_numbers_is_an_error(norm: str, epsilon: float) -> None:
    for images in (BYTES, BYTES.to(torch.uint8)):
        seen = found(images, epsilon, bounds=(0.0, 255.0), norm=norm)
        assert {name: o.severity for name, o in seen.items()} == {
            "integer-images-fractional-epsilon": "error"
        }


def test_the_fix_gives_the_budget_in_the_right_units() -> None:
    seen = found(BYTES, 8 / 255, bounds=(0.0, 255.0))["integer-images-fractional-epsilon"]
    assert "that is 8)" in seen.fix


def test_binary_images_may_have_a_fractional_budget() -> None:
    assert found((UNIT > 0.5).float(), 0.3) == {}


def test_few_grey_levels_may_have_the_same_share_of_the_range() -> None:
    levels = (UNIT * 16).round()
    assert found(levels, 16 * 8 / 255, bounds=(0.0, 16.0)) == {}
    assert "integer-images-fractional-epsilon" in found(levels, 0.15, bounds=(0.0, 16.0))


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.15), ("l2", 0.5)])
def test_a_unit_budget_on_a_byte_range_is_an_error(norm: str, epsilon: float) -> None:
    seen = found(UNIT * 255, epsilon, bounds=(0.0, 255.0), norm=norm)
    assert seen["epsilon-tiny"].severity == "error"


def test_a_budget_that_float32_cannot_hold_is_an_error() -> None:
    assert found(UNIT, 1e-9)["epsilon-tiny"].severity == "error"


def test_a_tiny_budget_on_the_unit_range_may_be_meant() -> None:
    assert found(UNIT, 3e-4)["epsilon-tiny"].severity == "warning"


def test_a_budget_that_was_scaled_twice_is_an_error() -> None:
    assert found(UNIT, 8 / 255 / 255)["epsilon-tiny"].severity == "error"


@pytest.mark.parametrize(
    ("mean", "std", "bounds"),
    [
        (0.5, 0.25, (-2.0, 2.0)),
        (0.45, 0.225, (-2.2, 2.7)),
        (0.1307, 0.3081, (-0.5, 3.0)),
        (0.5, 0.289, (-10.0, 10.0)),
    ],
)
def test_normalised_images_with_widened_bounds_are_an_error(
    mean: float, std: float, bounds: tuple[float, float]
) -> None:
    seen = normalised((UNIT - mean) / std, bounds)["images-normalised-already"]
    assert seen.severity == "error"
    assert "normalised units" in seen.message


def test_images_in_minus_one_to_one_are_a_warning() -> None:
    seen = normalised(UNIT * 2 - 1, (-1.0, 1.0))
    assert seen["images-normalised-already"].severity == "warning"


@pytest.mark.parametrize(
    ("images", "bounds"),
    [
        (UNIT, (0.0, 1.0)),
        (UNIT, (-2.0, 2.0)),
        (UNIT - 0.5, (-0.5, 0.5)),
        (BYTES, (0.0, 255.0)),
        (BYTES - 128, (-128.0, 127.0)),
        ((UNIT > 0.5).float() * 2 - 1, (-1.0, 1.0)),
        (UNIT * 3000 - 1000, (-1000.0, 2000.0)),
    ],
)
def test_other_ranges_are_not_taken_for_normalised(
    images: torch.Tensor, bounds: tuple[float, float]
) -> None:
    assert normalised(images, bounds) == {}
