from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import keys_of, make_images

from fgmf.errors import InvalidInput
from fgmf.faithfulness.replacements import REPLACEMENTS
from fgmf.faithfulness.replacing import make_fill

IMAGES = make_images(5, shape=(2, 7, 9)).double()
KEYS = keys_of(IMAGES)


def filled(name: str, removed: torch.Tensor, *, seed: int = 0, draw: int = 0) -> torch.Tensor:
    fill = make_fill(name, IMAGES, bounds=(0, 1), keys=KEYS, seed=seed, draw=draw)
    return fill.replace(slice(0, 5), removed)


def removed_at_random(seed: int, share: float = 0.5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(5, 1, 7, 9, generator=generator) < share


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_what_is_not_removed_stays_and_nothing_leaves_the_bounds(name: str) -> None:
    removed = removed_at_random(1)
    changed = filled(name, removed)
    kept = ~removed.expand_as(IMAGES)
    assert torch.equal(changed[kept], IMAGES[kept])
    assert not torch.equal(changed[~kept], IMAGES[~kept])
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    assert changed.isfinite().all()


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_removing_nothing_changes_nothing(name: str) -> None:
    assert torch.equal(filled(name, torch.zeros(5, 1, 7, 9, dtype=torch.bool)), IMAGES)


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_draws_have_names(name: str) -> None:
    everything = torch.ones(5, 1, 7, 9, dtype=torch.bool)
    first = filled(name, everything)
    assert torch.equal(first, filled(name, everything))
    same = torch.equal(first, filled(name, everything, seed=1))
    assert same != REPLACEMENTS[name].draws
    assert torch.equal(first, filled(name, everything, draw=3)) != REPLACEMENTS[name].draws


@pytest.mark.parametrize("name", [n for n in REPLACEMENTS if n != "other-image"])
def test_a_replacement_depends_on_its_own_image(name: str) -> None:
    removed = removed_at_random(2)
    alone = make_fill(name, IMAGES[3:4], bounds=(0, 1), keys=KEYS[3:4], seed=0)
    there = filled(name, removed)[3:4]
    assert torch.equal(alone.replace(slice(0, 1), removed[3:4]), there)


def test_fixed_values() -> None:
    everything = torch.ones(5, 1, 7, 9, dtype=torch.bool)
    flat = IMAGES.flatten(1)
    for name, expected in (
        ("zero", torch.zeros(5).double()),
        ("mean", torch.stack([image.mean() for image in IMAGES])),
        ("black", flat.min(dim=1).values),
        ("white", flat.max(dim=1).values),
    ):
        assert torch.equal(
            filled(name, everything), expected[:, None, None, None].expand_as(IMAGES)
        )
    above = make_fill("zero", IMAGES, bounds=(0.25, 1), keys=KEYS, seed=0)
    assert above.substitutes is not None
    assert above.substitutes.unique().tolist() == [0.25]


def test_another_image_is_never_the_same_and_does_not_depend_on_the_order() -> None:
    everything = torch.ones(5, 1, 7, 9, dtype=torch.bool)
    partners = filled("other-image", everything)
    at = [next(j for j in range(5) if torch.equal(partner, IMAGES[j])) for partner in partners]
    assert all(i != j for i, j in enumerate(at))
    order = [4, 2, 0, 1, 3]
    turned = make_fill(
        "other-image", IMAGES[order], bounds=(0, 1), keys=[KEYS[i] for i in order], seed=0
    )
    assert turned.substitutes is not None
    assert torch.equal(turned.substitutes, partners[order])
    with pytest.raises(InvalidInput, match="at least two images"):
        make_fill("other-image", IMAGES[:1], bounds=(0, 1), keys=KEYS[:1], seed=0)


def test_blur_keeps_constant_images_and_the_order_of_far_parts() -> None:
    constant = torch.full((1, 1, 12, 12), 0.3, dtype=torch.float64)
    fill = make_fill("blur", constant, bounds=(0, 1), keys=["a"], seed=0)
    assert fill.substitutes is not None
    # Twice 13 products of numbers below 1, in double precision.
    assert fill.substitutes.numpy() == pytest.approx(0.3, abs=1e-12)
    halves = torch.zeros(1, 1, 20, 20).double()
    halves[..., 10:] = 1.0
    substitutes = make_fill("blur", halves, bounds=(0, 1), keys=["a"], seed=0).substitutes
    assert substitutes is not None
    middle = substitutes[0, 0, 10].numpy()
    assert (np.diff(middle) >= 0).all()
    assert 0.3 < middle[9] < 0.5 < middle[10] < 0.7


@given(st.integers(0, 2**31), st.floats(0.0, 1.0))
def test_inpainting_stays_between_what_is_known(seed: int, share: float) -> None:
    removed = removed_at_random(seed, share)
    changed = filled("inpainting", removed)
    for image, gone, result in zip(IMAGES, removed, changed, strict=True):
        known = image[:, ~gone[0]]
        if known.numel():
            low, high = known.amin(dim=1), known.amax(dim=1)
            there = result[:, gone[0]]
            # Means of means, in double precision.
            assert (there >= low[:, None] - 1e-12).all()
            assert (there <= high[:, None] + 1e-12).all()
        else:
            assert result.numpy() == pytest.approx(0.5, abs=1e-12)  # bilinear weights


def test_inpainting_continues_what_is_around() -> None:
    image = torch.zeros(1, 1, 16, 16).double()
    image[..., :8] = 1.0
    removed = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    removed[..., 2:5, 2:5] = True
    removed[..., 2:5, 11:14] = True
    fill = make_fill("inpainting", image, bounds=(0, 1), keys=["a"], seed=0)
    assert torch.equal(fill.replace(slice(0, 1), removed), image)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InvalidInput, match="expected a replacement of zero, mean"):
        make_fill("grey", IMAGES, bounds=(0, 1), keys=KEYS, seed=0)
