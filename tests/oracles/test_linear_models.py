"""Linear models, whose nearest adversarial examples are known: attacks must find just those.

margin(x)  = z_y - z_j                  dual norm of (w_y - w_j) = how fast a ball eats it
distance   = min over j of margin / dual norm             # away from the box
Linf, two classes, with the box: the margin loses |w_i| * min(epsilon, room_i) at each pixel
several logits at once (targeted, top-k): a linear program
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from tiny_models import PIXELS, LinearModel, classify, make_images, measure, rule

from fgmf.attacks.catalogue import CATALOGUE

if TYPE_CHECKING:
    from fgmf.types import Norm

DUAL = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}
BAND = 2e-3
"""Images this close to the edge of the ball (relative) may fall on either side by rounding."""
IMAGES = make_images(40, margin=0.3)
FEW: dict[str, dict[str, Any]] = {
    "boundary": {"steps": 100},
    "hop-skip-jump": {"steps": 4, "initial_gradient_eval_steps": 20},
    "carlini-wagner": {"steps": 30, "binary_search_steps": 3},
    "ead": {"steps": 40, "binary_search_steps": 6},
    "additive-noise": {"repeats": 20},
}


def distances(model: LinearModel, images: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Exact distance of each image to the nearest other class, were there no box."""
    weight, bias = model.weight.detach().double(), model.bias.detach().double()
    logits = images.double().flatten(1) @ weight.T + bias
    labels = logits.argmax(dim=1)
    margins = logits.gather(1, labels.unsqueeze(1)) - logits
    steepness = (weight[labels].unsqueeze(1) - weight.unsqueeze(0)).norm(p=DUAL[norm], dim=2)
    nearest = margins / steepness
    nearest[torch.arange(len(labels)), labels] = torch.inf
    return nearest.amin(dim=1)


def boxed_margins(model: LinearModel, images: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Exact smallest margin in the Linf ball and the unit box, for two classes."""
    weight, bias = model.weight.detach().double(), model.bias.detach().double()
    pixels = images.double().flatten(1)
    logits = pixels @ weight.T + bias
    labels = logits.argmax(dim=1)
    rows = torch.arange(len(labels))
    slope = weight[labels] - weight[1 - labels]
    room = torch.where(slope > 0, pixels, 1 - pixels).clamp(max=epsilon)
    return logits[rows, labels] - logits[rows, 1 - labels] - (slope.abs() * room).sum(dim=1)


def broken_by(
    model: LinearModel, images: torch.Tensor, attack: Any, norm: Norm, epsilon: float
) -> torch.Tensor:
    classifier = classify(model)
    result = measure(
        classifier, images, classifier.predict(images), attacks=[attack], norm=norm, epsilon=epsilon
    )
    assert result.certain
    return result.broken


def assert_equal_off_the_edge(broken: torch.Tensor, nearest: torch.Tensor, epsilon: float) -> None:
    clear = (nearest - epsilon).abs() > BAND * epsilon
    assert int(clear.sum()) >= 0.9 * len(clear)
    assert torch.equal(broken[clear], (nearest < epsilon)[clear])


@pytest.mark.parametrize("attack", ["pgd", "bim", "mi-fgsm", "adam-pgd", "deepfool"])
def test_linf_attacks_break_what_can_be_broken(attack: str) -> None:
    """Two classes: the gradient points the same way everywhere, so steps along its sign do."""
    model = LinearModel(2)
    nearest = distances(model, IMAGES, "linf")
    for share in (0.2, 0.5, 0.8):
        epsilon = float(nearest.quantile(share))
        assert epsilon < 0.3  # the box is farther away
        broken = broken_by(model, IMAGES, attack, "linf", epsilon)
        assert_equal_off_the_edge(broken, nearest, epsilon)


def test_fgsm_without_a_random_start_is_exact() -> None:
    model = LinearModel(2)
    nearest = distances(model, IMAGES, "linf")
    epsilon = float(nearest.median())
    broken = broken_by(model, IMAGES, ("fgsm", {"random_start": False}), "linf", epsilon)
    assert_equal_off_the_edge(broken, nearest, epsilon)


@pytest.mark.parametrize("attack", ["pgd", "bim", "mi-fgsm", "deepfool", "ddn", "fmn"])
def test_l2_attacks_break_what_can_be_broken(attack: str) -> None:
    model = LinearModel(2)
    nearest = distances(model, IMAGES, "l2")
    for share in (0.2, 0.5, 0.8):
        epsilon = float(nearest.quantile(share))
        broken = broken_by(model, IMAGES, attack, "l2", epsilon)
        assert not bool(broken[nearest > epsilon * (1 + BAND)].any())
        # DDN and FMN approach the nearest point in steps of a few per cent.
        surely = nearest < epsilon * (0.93 if attack in {"ddn", "fmn"} else 1 - BAND)
        assert bool(broken[surely].all())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("classes", [3, 10])
def test_deepfool_is_exact_for_several_classes(norm: Norm, classes: int) -> None:
    model = LinearModel(classes)
    nearest = distances(model, IMAGES, norm)
    epsilon = float(nearest.median())
    attack = ("deepfool", {"candidates": classes})
    assert_equal_off_the_edge(broken_by(model, IMAGES, attack, norm, epsilon), nearest, epsilon)


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        pytest.param(entry.name, norm, id=f"{entry.name}-{norm}")
        for entry in CATALOGUE.values()
        for norm in entry.norms
        if entry.name != "brendel-bethge"  # compiles for half a minute
        and entry.engine != "outside"  # there is nothing but the model here
    ],
)
def test_no_attack_breaks_what_cannot_be_broken(name: str, norm: Norm) -> None:
    """And each breaks something, where half of the images can be."""
    model = LinearModel(4)
    images = IMAGES[:16]
    nearest = distances(model, images, norm)
    epsilon = float(nearest.median()) * 1.2
    broken = broken_by(model, images, (name, FEW.get(name, {})), norm, epsilon)
    assert not bool(broken[nearest > epsilon * (1 + 1e-6)].any())
    if name not in {
        "additive-noise",
        "random-search",
    }:  # noise hardly ever points to the nearest class
        assert bool(broken.any())


def test_ead_comes_near_the_exact_l1_distance() -> None:
    model = LinearModel(2)
    nearest = distances(model, IMAGES, "l1")
    reach = (nearest < 0.3).nonzero().flatten()  # one pixel takes it all, if the box lets it
    images, nearest = IMAGES[reach], nearest[reach]
    assert len(images) >= 5
    broken = broken_by(model, images, "ead", "l1", 0.3)
    assert bool(broken[nearest < 0.25].all())


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0.0, 0.6), corner=st.booleans())
def test_the_box_is_part_of_the_ball(seed: int, epsilon: float, corner: bool) -> None:
    """Exact robust accuracy of PGD in Linf, for images on and off the bounds, any epsilon."""
    model = LinearModel(2, seed=seed)
    images = make_images(10, seed=seed + 1)
    if corner:
        images = (images * 3 - 1).clamp(0, 1)
    left = boxed_margins(model, images, epsilon)
    attack = ("pgd", {"steps": 25})
    broken = broken_by(model, images, attack, "linf", epsilon)
    clear = left.abs() > 1e-3
    assert torch.equal(broken[clear], (left < 0)[clear])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_epsilon_is_in_the_units_of_the_bounds(norm: Norm) -> None:
    """The same model on images of another range, and behind a normalisation."""
    model = LinearModel(2)
    nearest = distances(model, IMAGES, norm)
    epsilon = float(nearest.median())
    expected = nearest < epsilon
    clear = (nearest - epsilon).abs() > BAND * epsilon
    labels = classify(model).predict(IMAGES)
    wide = classify(model, bounds=(0, 255), normalize={"mean": 0.0, "std": 255.0})
    result = measure(wide, IMAGES * 255, labels, attacks=["pgd"], norm=norm, epsilon=epsilon * 255)
    assert torch.equal(result.broken[clear], expected[clear])
    shifted = classify(model, bounds=(-2.5, 2.5), normalize={"mean": -2.5, "std": 5.0})
    result = measure(
        shifted, IMAGES * 5 - 2.5, labels, attacks=["pgd"], norm=norm, epsilon=epsilon * 5
    )
    assert torch.equal(result.broken[clear], expected[clear])


def smallest_linf(model: LinearModel, image: torch.Tensor, winners: list[int], loser: int) -> float:
    """Exact Linf distance at which all `winners` beat `loser`: a linear program."""
    weight, bias = model.weight.detach().double().numpy(), model.bias.detach().double().numpy()
    pixels = image.double().flatten().numpy()
    logits = weight @ pixels + bias
    slopes = np.stack([weight[loser] - weight[winner] for winner in winners])
    gaps = np.array([logits[winner] - logits[loser] for winner in winners])
    ball = np.hstack([np.vstack([np.eye(PIXELS), -np.eye(PIXELS)]), -np.ones((2 * PIXELS, 1))])
    rows = np.vstack([np.hstack([slopes, np.zeros((len(winners), 1))]), ball])
    limits = np.concatenate([gaps, np.zeros(2 * PIXELS)])
    box = [(-p, 1 - p) for p in pixels] + [(0, None)]
    solved = linprog([0] * PIXELS + [1], A_ub=rows, b_ub=limits, bounds=box)
    assert solved.success
    return float(solved.x[-1])


@pytest.mark.parametrize("attack", ["pgd", "bim", "fmn"])
def test_top_k_needs_k_rivals_at_once(attack: str) -> None:
    """Three classes, k = 2: both others must beat the label."""
    model, images = LinearModel(3), IMAGES[:15]
    classifier = classify(model)
    labels = classifier.predict(images)
    exact = torch.tensor(
        [
            smallest_linf(model, image, [j for j in range(3) if j != int(label)], int(label))
            for image, label in zip(images, labels, strict=True)
        ]
    )
    epsilon = float(exact.median()) * 1.05
    criterion = rule(labels, kind="top-k", top_k=2)
    broken = measure(classifier, images, criterion, attacks=[attack], epsilon=epsilon).broken
    assert not bool(broken[exact > epsilon * (1 + 1e-6)].any())
    assert bool(broken[exact < epsilon * 0.9].all())


@pytest.mark.parametrize("attack", ["pgd", "bim", "fmn"])
def test_a_target_must_beat_all_others(attack: str) -> None:
    model, images = LinearModel(3), IMAGES[:15]
    classifier = classify(model)
    labels = classifier.predict(images)
    targets = (labels + 1) % 3
    exact = []
    for image, target in zip(images, targets.tolist(), strict=True):
        swapped = LinearModel(3)
        with torch.no_grad():  # "all others lose to the target" is "the target wins, negated"
            swapped.weight.neg_()
            swapped.bias.neg_()
        exact.append(smallest_linf(swapped, image, [j for j in range(3) if j != target], target))
    nearest = torch.tensor(exact)
    epsilon = float(nearest.median()) * 1.05
    criterion = rule(labels, kind="targeted", targets=targets)
    broken = measure(classifier, images, criterion, attacks=[attack], epsilon=epsilon).broken
    assert not bool(broken[nearest > epsilon * (1 + 1e-6)].any())
    assert bool(broken[nearest < epsilon * 0.9].all())
