from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from fgmf.preflight.data import finite_images, measure_images, observe_images, usable_images

if TYPE_CHECKING:
    from fgmf.preflight.policy import Observation


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def found(images: torch.Tensor, bounds: tuple[float, float] = (0.0, 1.0)) -> dict[str, Observation]:
    return {o.name: o for o in observe_images(measure_images(images), bounds=bounds)}


def test_statistics_are_those_of_the_whole_set_across_blocks() -> None:
    images = pixels(600, 3, 4, 5) * torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1) - 0.5
    measured = measure_images(images)
    channels = images.double().transpose(0, 1).flatten(1)
    assert measured.mean == pytest.approx(channels.mean(dim=1).tolist(), abs=1e-9)
    assert measured.std == pytest.approx(channels.std(dim=1, correction=0).tolist(), abs=1e-9)
    assert measured.lowest == float(images.min())
    assert measured.highest == float(images.max())
    assert (measured.count, measured.dtype, measured.whole) == (600, "float32", False)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.float64])
def test_statistics_of_other_dtypes(dtype: torch.dtype) -> None:
    measured = measure_images((pixels(5, 1, 2, 2) > 0.5).to(dtype))
    assert (measured.lowest, measured.highest, measured.whole) == (0.0, 1.0, True)


def test_good_images_raise_nothing() -> None:
    assert found(pixels(20, 1, 4, 4)) == {}


def test_rounding_beyond_the_bounds_is_none_of_our_business() -> None:
    images = pixels(20, 1, 4, 4)
    images[0, 0, 0, 0] = 1.0000001
    assert found(images) == {}


def test_pixels_outside_the_bounds_are_named_with_range_and_shape() -> None:
    seen = found(pixels(20, 1, 4, 4) * 3)["images-outside-bounds"]
    assert seen.severity == "error"
    assert "[0, 1]" in seen.message
    assert "(20, 1, 4, 4)" in seen.message


def test_bytes_under_unit_bounds_are_told_both_ways_out() -> None:
    images = (pixels(20, 3, 4, 4) * 255).to(torch.uint8)
    fix = found(images)["images-outside-bounds"].fix
    assert "divide the images by 255" in fix
    assert "bounds=(0, 255)" in fix


def test_normalised_images_under_unit_bounds_are_told_about_normalize() -> None:
    seen = found((pixels(20, 1, 4, 4) - 0.5) / 0.25)["images-outside-bounds"]
    assert "`normalize`" in seen.fix


def test_bounds_far_wider_than_the_images_are_a_warning() -> None:
    seen = found(pixels(20, 1, 4, 4), bounds=(0.0, 255.0))
    assert {name: o.severity for name, o in seen.items()} == {"bounds-wider-than-images": "warning"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_images_with_nan_or_infinity_are_counted(value: float) -> None:
    images = pixels(300, 1, 4, 4)
    images[7, 0, 1, 1] = value
    images[280, 0, 0] = value
    seen = found(images)
    assert seen["nan-images"].evidence == {"images": 2, "image_count": 300}
    assert set(seen) == {"nan-images"}
    assert (~finite_images(images)).nonzero().flatten().tolist() == [7, 280]


def test_only_nan_images_do_not_break_the_statistics() -> None:
    assert set(found(torch.full((20, 1, 2, 2), float("nan")))) == {"nan-images", "duplicate-images"}


def test_few_images_are_a_warning() -> None:
    assert found(pixels(9, 1, 4, 4))["too-few-images"].severity == "warning"


def test_a_constant_image_is_a_note_and_all_of_them_an_error() -> None:
    images = pixels(20, 1, 4, 4)
    images[3] = 0.5
    assert found(images)["constant-images"].severity == "note"
    levels = torch.linspace(0, 1, 20).reshape(20, 1, 1, 1)
    assert found(levels.expand(20, 1, 4, 4))["constant-images"].severity == "error"


def test_images_of_one_pixel_are_not_called_constant() -> None:
    assert "constant-images" not in found(torch.linspace(0, 1, 20).reshape(20, 1))


@pytest.mark.parametrize(
    ("copies", "severity"), [(1, "note"), (5, "warning"), (29, "warning"), (30, "error")]
)
def test_repeated_images(copies: int, severity: str) -> None:
    images = pixels(60, 1, 4, 4)
    images[30 : 30 + copies] = images[:copies]
    seen = found(images)["duplicate-images"]
    assert seen.severity == severity
    assert seen.evidence["images"] == copies


def test_other_dtypes_are_noted() -> None:
    assert found(pixels(20, 1, 4, 4).double())["images-dtype"].severity == "note"


@pytest.mark.parametrize("shape", [(5,), (0, 1, 4, 4), (5, 0, 4)])
def test_no_images_are_an_error(shape: tuple[int, ...]) -> None:
    (seen,) = usable_images(torch.zeros(shape))
    assert (seen.name, seen.severity) == ("too-few-images", "error")


def test_complex_images_are_an_error() -> None:
    (seen,) = usable_images(torch.zeros(5, 1, 2, 2, dtype=torch.complex64))
    assert (seen.name, seen.severity) == ("images-dtype", "error")
