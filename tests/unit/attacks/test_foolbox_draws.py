from __future__ import annotations

from typing import TYPE_CHECKING, Any

import eagerpy
import numpy as np
import pytest
import torch
from tiny_models import PIXELS, SHAPE, ConvModel, keys_of, make_images

from fgmf.attacks.foolbox_draws import ImageStreams, seeded_tensor_class

if TYPE_CHECKING:
    from collections.abc import Sequence

IMAGES = make_images(6)
KEYS = keys_of(IMAGES)


def tensor(rows: Sequence[int], *, seed: int = 3, restart: int = 0, label: str = "pgd") -> Any:
    """Some of the images, as an attack gets them."""
    keys = tuple(KEYS[row] for row in rows)
    streams = ImageStreams(seed, (label, restart), keys)
    return seeded_tensor_class(streams)(IMAGES[list(rows)])


def uniform(images: Any) -> torch.Tensor:
    return eagerpy.uniform(images, images.shape, -1.0, 1.0).raw


@pytest.mark.parametrize("draw", ["uniform", "normal"])
@pytest.mark.parametrize("rows", [[0], [5, 2], [4, 3, 2, 1, 0], [2, 2]])
@pytest.mark.parametrize("leading", [(), (7,), (2, 3)])
def test_an_image_sees_its_own_numbers_in_any_company(
    draw: str, rows: list[int], leading: tuple[int, ...]
) -> None:
    def drawn(rows: Sequence[int]) -> torch.Tensor:
        images = tensor(rows)
        return getattr(eagerpy, draw)(images, (*leading, *images.shape)).raw

    whole, part = drawn(range(6)), drawn(rows)
    assert torch.equal(part, whole.index_select(len(leading), torch.tensor(rows)))
    assert part.shape == (*leading, len(rows), *SHAPE)


def test_flat_draws_are_per_image_as_well() -> None:
    """L1 and L2 starts are drawn as (n, pixels), L2 with two more."""
    for shape in ((PIXELS,), (PIXELS + 2,)):
        whole = eagerpy.uniform(tensor(range(6)), (6, *shape)).raw
        assert torch.equal(eagerpy.uniform(tensor([4, 1]), (2, *shape)).raw, whole[[4, 1]])


@pytest.mark.parametrize("rows", [[0], [5, 2], list(range(6))])
def test_a_draw_without_an_image_axis_is_the_same_for_all(rows: list[int]) -> None:
    """The boundary attack draws (pixels, 1) for the whole batch."""
    flat = tensor(rows).flatten(start=1)
    drawn = eagerpy.normal(flat, (PIXELS, 1)).raw
    assert torch.equal(drawn, eagerpy.normal(tensor([3]).flatten(start=1), (PIXELS, 1)).raw)
    assert drawn.unique().numel() == PIXELS


def test_as_many_images_as_pixels_do_not_confuse_it() -> None:
    keys = [str(number) for number in range(PIXELS)]
    cls = seeded_tensor_class(ImageStreams(3, ("pgd", 0), keys))
    flat = cls(torch.zeros(PIXELS, PIXELS))
    few = seeded_tensor_class(ImageStreams(3, ("pgd", 0), keys[:2]))(torch.zeros(2, PIXELS))
    shape = (PIXELS, 1)
    assert torch.equal(eagerpy.normal(flat, shape).raw, eagerpy.normal(few, shape).raw)


def test_later_draws_are_new_and_follow_the_image() -> None:
    images = tensor(range(6))
    first, second = uniform(images), uniform(images + 1)
    assert not torch.equal(first, second)
    alone = tensor([2])
    assert torch.equal(uniform(alone), first[[2]])
    assert torch.equal(uniform(alone * 3), second[[2]])


@pytest.mark.parametrize(
    "other", [{"seed": 4}, {"restart": 1}, {"label": "pgd-2"}, {"label": "fgsm"}], ids=repr
)
def test_seed_attack_and_restart_change_the_numbers(other: Any) -> None:
    mine, its = uniform(tensor(range(6))), uniform(tensor(range(6), **other))
    assert not bool((mine == its).flatten(1).any(dim=1).any())


def test_images_do_not_share_numbers() -> None:
    drawn = uniform(tensor(range(6)))
    assert drawn.unique().numel() == drawn.numel()


def test_the_global_generators_are_not_used() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global one is meant
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002 - as above
    first = uniform(tensor([0]))
    torch.manual_seed(1)
    assert torch.equal(uniform(tensor([0])), first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002 - as above


def test_distributions_are_those_asked_for() -> None:
    """50 000 numbers: the mean of a uniform is off by 5 sigma = 0.0065 at most."""
    images = tensor([0])
    flat = eagerpy.uniform(images, (50_000,), -2.0, 4.0).raw
    assert flat.min() >= -2
    assert flat.max() <= 4
    assert abs(float(flat.mean()) - 1.0) < 6 * 0.0065
    bell = eagerpy.normal(images, (50_000,), 3.0, 2.0).raw
    assert abs(float(bell.mean()) - 3.0) < 0.05
    assert abs(float(bell.std()) - 2.0) < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_are_the_same_in_any_precision(dtype: torch.dtype) -> None:
    cls = seeded_tensor_class(ImageStreams(3, ("pgd", 0), KEYS))
    drawn = cls(IMAGES.to(dtype)).uniform(tuple(IMAGES.shape), -1.0, 1.0)
    assert drawn.dtype is dtype
    assert torch.equal(drawn.raw.float(), uniform(tensor(range(6))))


def test_products_with_a_vector_do_not_depend_on_the_company() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(50, 784, generator=generator)
    vector = torch.randn(784, 1, generator=generator)
    cls = seeded_tensor_class(ImageStreams(0, (), ()))
    whole = eagerpy.matmul(cls(matrix), cls(vector)).raw
    assert torch.allclose(whole, matrix @ vector, atol=1e-3)
    for rows in (slice(3, 4), slice(0, 7), slice(10, 50)):
        assert torch.equal(eagerpy.matmul(cls(matrix[rows]), cls(vector)).raw, whole[rows])
    square = torch.randn(784, 2, generator=generator)
    assert torch.equal(eagerpy.matmul(cls(matrix), cls(square)).raw, matrix @ square)


@pytest.mark.parametrize("grad_enabled", [True, False])
def test_gradients_are_exact_and_leave_nothing_on_parameters(grad_enabled: bool) -> None:
    model = ConvModel().eval()
    images = tensor(range(6))

    def loss(inputs: Any) -> Any:
        return type(inputs)(model(inputs.raw)[:, 0].sum())

    with torch.set_grad_enabled(grad_enabled):
        value, gradient = eagerpy.value_and_grad(loss, images)
    leaf = IMAGES.clone().requires_grad_()
    expected = model(leaf)[:, 0].sum()
    (slope,) = torch.autograd.grad(expected, leaf)
    assert torch.equal(gradient.raw, slope)
    assert value.raw.item() == expected.item()
    assert not value.raw.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_comes_beside_the_loss_is_cut_off_the_graph() -> None:
    images = tensor([0, 1])

    def loss(inputs: Any, scale: Any) -> Any:
        doubled = inputs * scale
        return doubled.sum(), (doubled, (doubled, 3))

    function = eagerpy.value_and_grad_fn(images, loss, has_aux=True)
    value, (first, (second, third)), gradient = function(images, 2.0)
    assert third == 3
    assert not value.raw.requires_grad
    assert not first.raw.requires_grad
    assert not second.raw.requires_grad
    assert gradient.raw.unique().tolist() == [2.0]


def test_a_loss_that_does_not_depend_on_the_images_is_an_error() -> None:
    images = tensor([0])
    with pytest.raises(RuntimeError):
        eagerpy.value_and_grad(lambda inputs: images.sum(), images)
