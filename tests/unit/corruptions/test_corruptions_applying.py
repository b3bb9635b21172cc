"""Every corruption in closed form, where there is one; what all of them promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import keys_of, make_images

from fgmf.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from fgmf.corruptions.blur import gaussian_blur, motion_blur
from fgmf.corruptions.coding import pixelate
from fgmf.corruptions.geometry import scale, shifted, turned
from fgmf.errors import InvalidInput
from fgmf.seeding import image_generator


def pictures(
    count: int = 4, shape: tuple[int, ...] = (1, 28, 28), bounds: Any = (0.0, 1.0)
) -> torch.Tensor:
    return make_images(count, shape=shape, bounds=bounds)


def corrupted(images: torch.Tensor, name: str, severity: int = 3, **options: Any) -> torch.Tensor:
    settings = {"severity": severity, "keys": keys_of(images)} | options
    return corrupt(images, name, **settings)


def parameter(name: str, severity: int = 3, side: int = 28) -> float:
    return CORRUPTIONS[name].values(severity, height=side, width=side)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 20), (1, 8, 8), (3, 70, 65)])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_shape_type_and_bounds_are_kept(name: str, shape: tuple[int, ...], bounds: Any) -> None:
    images = pictures(2, shape, bounds)
    before = images.clone()
    for severity in (1, 5):
        result = corrupted(images, name, severity, bounds=bounds)
        assert (result.shape, result.dtype) == (images.shape, images.dtype)
        assert bounds[0] <= float(result.min()) <= float(result.max()) <= bounds[1]
        assert not torch.equal(result, images)
        assert result.isfinite().all()
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_units_of_the_bounds_do_not_matter(name: str) -> None:
    unit = pictures(3, (3, 28, 28)).double()
    options: dict[str, Any] = {"keys": ("a", "b", "c")}
    expected = corrupted(unit, name, **options)
    other = corrupted(unit * 6 - 2, name, bounds=(-2.0, 4.0), **options)
    difference = ((other + 2) / 6 - expected).abs().amax()
    # Rounding may move a pixel to the next of the 256 levels of a JPEG.
    assert difference < (0.05 if name == "jpeg" else 1e-9)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_alike_in_any_batch(name: str) -> None:
    images = pictures(5, (3, 28, 28))
    whole = corrupted(images, name)
    keys = keys_of(images)
    for at in (4, 0, 2):
        alone = corrupted(images[at : at + 1], name, keys=[keys[at]])
        assert torch.equal(alone[0], whole[at])
    turned_round = corrupted(images.flip(0), name, keys=keys[::-1])
    assert torch.equal(turned_round.flip(0), whole)


@pytest.mark.parametrize("name", [n for n, entry in CORRUPTIONS.items() if entry.draws])
def test_draws_depend_on_seed_severity_and_key_alone(name: str) -> None:
    images = pictures(1).expand(30, -1, -1, -1).contiguous()
    keys = [str(at) for at in range(30)]
    first = corrupted(images, name, keys=keys)
    torch.manual_seed(5)
    assert torch.equal(corrupted(images, name, keys=keys), first)
    assert not torch.equal(corrupted(images, name, keys=keys, seed=1), first)
    assert len({image.numpy().tobytes() for image in first}) > 1
    assert torch.equal(corrupted(images[:2], name, keys=["1", "1"])[0], first[1])


@pytest.mark.parametrize("name", [n for n, entry in CORRUPTIONS.items() if not entry.draws])
def test_the_others_draw_nothing(name: str) -> None:
    images = pictures(2)
    assert torch.equal(
        corrupted(images, name, keys=["a", "b"]), corrupted(images, name, keys=["c", "c"], seed=9)
    )


def test_brightness_adds_a_constant_up_to_the_bound() -> None:
    images = pictures(bounds=(-1.0, 1.0))
    added = 2 * parameter("brightness")
    expected = (images + added).clamp(max=1.0)
    assert torch.allclose(corrupted(images, "brightness", bounds=(-1.0, 1.0)), expected, atol=1e-6)


def test_contrast_keeps_the_mean_and_scales_the_deviation() -> None:
    images = pictures(shape=(3, 28, 28)).double()
    result = corrupted(images, "contrast")
    assert torch.allclose(result.mean(dim=(2, 3)), images.mean(dim=(2, 3)))
    factor = parameter("contrast")
    assert torch.allclose(result.std(dim=(2, 3)), factor * images.std(dim=(2, 3)))


def test_gaussian_noise_has_its_moments() -> None:
    grey = torch.full((40, 1, 28, 28), 0.5, dtype=torch.float64)
    keys = [str(at) for at in range(40)]
    for severity in SEVERITIES:
        noise = corrupted(grey, "gaussian-noise", severity, keys=keys) - 0.5
        deviation = parameter("gaussian-noise", severity)
        assert abs(float(noise.mean())) < 4 * deviation / noise.numel() ** 0.5
        assert float(noise.std()) == pytest.approx(deviation, rel=0.02)


def test_shot_noise_has_the_moments_of_counted_photons() -> None:
    grey = torch.full((40, 1, 28, 28), 0.5, dtype=torch.float64)
    keys = [str(at) for at in range(40)]
    photons = parameter("shot-noise")
    counted = corrupted(grey, "shot-noise", keys=keys)
    assert float(counted.mean()) == pytest.approx(0.5, abs=0.002)
    assert float(counted.var()) == pytest.approx(0.5 / photons, rel=0.05)
    assert torch.allclose(counted * photons, (counted * photons).round())


def test_impulse_noise_replaces_its_share_by_both_bounds() -> None:
    grey = torch.full((40, 1, 28, 28), 100.0)
    keys = [str(at) for at in range(40)]
    result = corrupted(grey, "impulse-noise", 5, bounds=(0.0, 255.0), keys=keys)
    share = parameter("impulse-noise", 5)
    for value in (0.0, 255.0):
        assert float((result == value).double().mean()) == pytest.approx(share / 2, rel=0.1)
    kept = (result - 100.0).abs() < 1e-4
    assert float(kept.double().mean()) == pytest.approx(1 - share, rel=0.01)


def test_translation_shifts_by_whole_pixels() -> None:
    images = pictures(30)
    pixels = max(1, round(28 * parameter("translation", 5)))
    assert pixels == 3
    results = corrupted(images, "translation", 5)
    seen = set()
    for image, result in zip(images, results, strict=True):
        ways = [(d, r) for d in (-pixels, pixels) for r in (-pixels, pixels)]
        (way,) = [w for w in ways if torch.allclose(shifted(image, *w), result, atol=1e-6)]
        seen.add(way)
    assert len(seen) == 4


def test_a_shift_is_a_slice_with_black_behind_it() -> None:
    image = pictures(1)[0] + 0.1
    moved = shifted(image, 3, -2)
    assert torch.equal(moved[:, 3:, :-2], image[:, :-3, 2:])
    assert not moved[:, :3].any()
    assert not moved[:, :, -2:].any()
    assert torch.equal(shifted(image, 0, 0), image)
    assert not shifted(image, 28, 0).any()
    assert not shifted(image, 0, -50).any()


def test_whole_turns_and_quarter_turns_are_known() -> None:
    images = pictures(2, (3, 28, 28)).double()
    quarter = torch.pi / 2
    assert torch.allclose(turned(images, [0.0, 4 * quarter]), images, atol=1e-9)
    expected = torch.rot90(images, 1, dims=(2, 3))
    assert torch.allclose(turned(images, [quarter, quarter]), expected, atol=1e-9)
    oblong = pictures(1, (1, 20, 30)).double()
    half = torch.rot90(oblong, 2, dims=(2, 3))
    assert torch.allclose(turned(oblong, [2 * quarter]), half, atol=1e-9)


def test_rotation_goes_either_way() -> None:
    images = pictures(1).double().expand(20, -1, -1, -1).contiguous()
    radians = torch.pi * parameter("rotation") / 180
    results = corrupted(images, "rotation", keys=[str(at) for at in range(20)])
    left, right = turned(images[:2], [radians, -radians])
    ways = [torch.allclose(r, left) + 2 * torch.allclose(r, right) for r in results]
    assert set(ways) == {1, 2}


def test_scale_leaves_a_black_frame() -> None:
    white = torch.ones(1, 1, 28, 28, dtype=torch.float64)
    small = scale(white, 0.5)
    assert float(small.sum()) == pytest.approx(14 * 14)
    assert torch.equal(small[0, 0, 7:21, 7:21], torch.ones(14, 14, dtype=torch.float64))
    assert torch.allclose(scale(white, 1.0), white)


def test_blur_keeps_constants_and_spreads_a_point() -> None:
    flat = torch.full((2, 3, 28, 28), 0.3, dtype=torch.float64)
    generators = [image_generator(0, "a"), image_generator(0, "b")]
    assert torch.allclose(gaussian_blur(flat, 2.0), flat)
    assert torch.allclose(motion_blur(flat, 6, 2.0, generators), flat)
    point = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    point[0, 0, 20, 20] = 1.0
    spread = gaussian_blur(point, 2.0)[0, 0]
    assert float(spread.sum()) == pytest.approx(1.0)
    away = (torch.arange(41, dtype=torch.float64) - 20) ** 2
    assert float((spread.sum(dim=0) * away).sum()) == pytest.approx(4.0, rel=0.01)
    line = motion_blur(point, 6, 2.0, generators[:1])[0, 0]
    assert float(line.sum()) == pytest.approx(1.0)
    assert not line[:, :20].any()  # half a kernel, within 45 degrees of the horizontal
    assert int((line > 0).sum()) <= 13


def test_pixelation_takes_means_of_blocks() -> None:
    images = pictures(2, (3, 8, 8)).double()
    blocks = images.reshape(2, 3, 4, 2, 4, 2).mean(dim=(3, 5))
    expected = blocks.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.allclose(pixelate(images, 0.5), expected)


def test_jpeg_has_256_levels_and_is_near() -> None:
    smooth = torch.linspace(0, 1, 28).expand(2, 3, 28, 28).contiguous()
    result = corrupted(smooth, "jpeg", 1)
    assert torch.allclose(result * 255, (result * 255).round(), atol=1e-3)
    assert float((result - smooth).abs().max()) < 0.1


def test_jpeg_is_for_grey_and_colour() -> None:
    with pytest.raises(InvalidInput, match="1 or 3 channels for jpeg, got 2"):
        corrupted(pictures(shape=(2, 8, 8)), "jpeg")
    assert corrupted(pictures(shape=(2, 8, 8)), "contrast").shape == (4, 2, 8, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "fog"}, "expected a corruption of gaussian-noise"),
        ({"severity": 0}, "severity of 1 to 5, got 0"),
        ({"severity": 6}, "severity of 1 to 5, got 6"),
        ({"severity": True}, "severity of 1 to 5, got True"),
        ({"images": torch.rand(2, 64)}, r"shape \(n, channels, height, width\), got \(2, 64\)"),
        ({"images": torch.rand(2, 8, 8)}, "got \\(2, 8, 8\\)"),
        ({"images": torch.rand(2, 0, 8, 8)}, "got \\(2, 0, 8, 8\\)"),
        ({"images": torch.zeros(2, 1, 8, 8, dtype=torch.uint8)}, "floating-point type, got"),
        ({"images": torch.full((2, 1, 8, 8), torch.nan)}, "within the bounds"),
        ({"images": torch.full((2, 1, 8, 8), 1.5)}, "within the bounds"),
        ({"bounds": (1.0, 1.0)}, "lower < upper"),
        ({"keys": ("one",)}, "one key for each of 2 images, got 1"),
    ],
)
def test_what_cannot_be_corrupted_is_refused(changes: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {
        "images": pictures(2),
        "name": "brightness",
        "severity": 1,
        "keys": ("a", "b"),
    } | changes
    with pytest.raises(InvalidInput, match=message):
        corrupt(values.pop("images"), values.pop("name"), **values)


def test_no_images_are_no_images() -> None:
    for name in CORRUPTIONS:
        assert corrupted(torch.zeros(0, 1, 8, 8), name).shape == (0, 1, 8, 8)
