from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import LinearModel, classify, make_images

from fgmf.attribution.building import explainer
from fgmf.errors import InvalidInput
from fgmf.explaining.comparing import compare_explainers
from fgmf.explaining.criteria import CRITERIA, coherence, fairness, interpretability
from fgmf.explaining.weighing import entropy_weights

COLUMN = st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1), min_size=4, max_size=4)


def test_entropy_weights_are_those_of_the_formula() -> None:
    columns = {"one": {"a": 0.2, "b": 0.6}, "two": {"a": 0.5, "b": 0.5}, "three": {"a": 1, "b": 0}}
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(2)
    whole = (1 - entropy) + 0 + 1
    weights = entropy_weights(columns)
    assert weights == pytest.approx(
        {"one": (1 - entropy) / whole, "two": 0, "three": 1 / whole}, abs=1e-12
    )


@given(first=COLUMN, second=COLUMN)
def test_weights_add_up_to_one(first: dict[str, float], second: dict[str, float]) -> None:
    weights = entropy_weights({"one": first, "two": second})
    assert sum(weights.values()) == pytest.approx(1)
    assert min(weights.values()) >= 0


def test_where_nobody_differs_all_weigh_the_same() -> None:
    assert entropy_weights({"one": {"a": 0.3}, "two": {"a": 0.9}}) == {"one": 0.5, "two": 0.5}


@pytest.mark.parametrize("score", [-0.1, math.nan, math.inf])
def test_scores_must_be_numbers_from_zero_on(score: float) -> None:
    with pytest.raises(InvalidInput, match="for one"):
        entropy_weights({"one": {"a": score, "b": 0.5}})
    with pytest.raises(InvalidInput, match="for two"):
        entropy_weights({"one": {"a": 1, "b": 0.5}, "two": {"a": 1}})


def test_one_bright_region_is_easier_to_read_than_noise_and_a_flat_map_is_nothing() -> None:
    maps = torch.zeros(3, 12, 12, dtype=torch.float64)
    maps[0, 3:7, 3:7] = 1
    maps[1] = torch.randn(12, 12, generator=torch.Generator().manual_seed(0)).double()
    maps[2] = 0.5
    region, noise, flat = interpretability(maps).tolist()
    assert 0 < noise < region <= 1
    assert flat == 0


def test_coherence_is_the_correlation_with_the_neighbours() -> None:
    slope = torch.arange(9.0, dtype=torch.float64).expand(1, 9, 9)
    board = (torch.arange(9)[:, None] + torch.arange(9)).remainder(2).double()[None]
    assert float(coherence(slope)) > 0.99
    assert float(coherence(board)) < -0.8


def test_fairness_is_one_for_equal_groups_and_zero_for_groups_with_nothing_in_common() -> None:
    maps = torch.zeros(4, 4, 4, dtype=torch.float64)
    maps[0, 0], maps[1, 0], maps[2, 3], maps[3, 3] = 1, 1, 1, 1
    groups = torch.tensor([0, 0, 1, 1])
    assert fairness(maps, groups) == pytest.approx(0, abs=1e-12)
    assert fairness(maps, torch.tensor([0, 1, 0, 1])) == pytest.approx(1)
    assert fairness(maps, torch.zeros(4)) == 1


def test_a_sound_explainer_is_ahead_of_a_random_map() -> None:
    """On a linear model, whose gradient times input is what each pixel does."""
    classifier = classify(LinearModel(seed=2))
    images = make_images(12)
    targets = classifier.predict(images)
    names = ("gradient-times-input", "random")
    compared = compare_explainers(
        classifier, images, targets, {name: explainer(name) for name in names}, seed=1
    )
    assert list(compared.totals) == list(names)
    sound, random = (compared.scores[name] for name in names)
    assert sound["fidelity"] > 2 * random["fidelity"]
    assert sound["robustness"] > 0.9
    assert random["robustness"] < 0.5
    assert set(sound) == set(CRITERIA)
    assert all(0 <= score <= 1 for scores in compared.scores.values() for score in scores.values())
    assert compared.image_count == 12
    # Of each: twice the method's own (1 and 1), and 4 variants.
    assert compared.cost.forward_passes == 12 * 2 * (2 + 4)
    again = compare_explainers(
        classifier, images, targets, {name: explainer(name) for name in names}, seed=1
    )
    assert again.scores == compared.scores


def test_nobody_to_compare_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="at least one explainer"):
        compare_explainers(classify(LinearModel()), make_images(1), torch.tensor([0]), {})
