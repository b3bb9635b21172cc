"""Our own evaluation against the slow one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from explained_images import COUNT, asking, curved, explained, fills, score, task_of
from oracles import slow_explanation_metrics as slow
from tiny_models import ConvModel, classify

from fgmf.faithfulness.subsets import draw_subsets

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.classifier import Classifier

# Sums of at most 200 numbers near 1 in double precision.
EXACT = 1e-9


def coloured() -> Classifier:
    return classify(ConvModel(channels=3).double())


def slowly(
    name: str, classifier: Classifier, given: Any, fill: np.ndarray, call: Callable[..., float]
) -> list[float]:
    probability = name not in {"faithfulness-correlation", "faithfulness-estimate"}
    with classifier.guard():
        return [
            call(
                asking(classifier, int(given.targets[at]), probability=probability),
                given.images[at].numpy(),
                given.maps[at].numpy(),
                fill[at],
            )
            for at in range(COUNT)
        ]


CASES: dict[str, tuple[dict[str, Any], Callable[..., float]]] = {
    "pixel-flipping": (
        {"features_in_step": 4},
        lambda *given: slow.area(slow.flipping_curve(*given, step=4)),
    ),
    "deletion": ({"steps": 7}, lambda *given: slow.shares(*given, steps=7, insert=False)),
    "insertion": ({"steps": 7}, lambda *given: slow.shares(*given, steps=7, insert=True)),
    "region-perturbation": (
        {"patch_size": 3, "regions_evaluation": 5},
        lambda *given: float(np.mean(slow.region_drops(*given, side=3, regions=5))),
    ),
    "faithfulness-estimate": (
        {"features_in_step": 4},
        lambda *given: slow.estimate(*given, step=4),
    ),
    "non-sensitivity": (
        {"features_in_step": 4, "eps": 0.02},
        lambda *given: slow.idle_disagreement(*given, step=4, eps=0.02),
    ),
}


@pytest.mark.parametrize("replacement", ["black", "noise", "blur", "other-image"])
@pytest.mark.parametrize("name", CASES)
def test_our_own_evaluation_is_the_slow_one(name: str, replacement: str) -> None:
    classifier = curved()
    given = explained(classifier)
    parameters, call = CASES[name]
    fast = score(name, classifier, given, parameters=parameters, replacement=replacement)
    assert fast.engine == "own"
    expected = slowly(name, classifier, given, fills(given, replacement), call)
    assert fast.values == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize("name", CASES)
def test_colours_are_the_slow_ones_too(name: str) -> None:
    classifier = coloured()
    given = explained(classifier, channels=3)
    parameters, call = CASES[name]
    fast = score(name, classifier, given, parameters=parameters, replacement="mean")
    expected = slowly(name, classifier, given, fills(given, "mean"), call)
    assert fast.values == pytest.approx(expected, abs=EXACT)


def test_equal_values_go_in_the_order_of_rows() -> None:
    classifier = curved()
    given = explained(classifier)
    given.maps[:] = given.maps.round(decimals=1)
    assert len(given.maps[0].unique()) < 32
    for name in ("pixel-flipping", "deletion", "region-perturbation"):
        parameters, call = CASES[name]
        fast = score(name, classifier, given, parameters=parameters)
        fill = fills(given, fast.replacement)
        assert fast.values == pytest.approx(slowly(name, classifier, given, fill, call), abs=EXACT)


@pytest.mark.parametrize("channels", [1, 3])
def test_faithfulness_correlation_is_the_slow_one(channels: int) -> None:
    classifier = curved() if channels == 1 else coloured()
    given = explained(classifier, channels=channels)
    settings = {"nr_runs": 12, "subset_size": 9}
    fast = score("faithfulness-correlation", classifier, given, parameters=settings)
    subsets = draw_subsets(task_of("faithfulness-correlation", classifier, given, **settings))
    assert subsets.shape == (COUNT, 12, given.images[0].numel())
    assert (subsets.sum(axis=2) == 9).all()
    numbers = iter(subsets.nonzero()[2].reshape(COUNT, 12, 9))
    expected = slowly(
        "faithfulness-correlation",
        classifier,
        given,
        fills(given, "black"),
        lambda *values: slow.subset_correlation(*values, next(numbers)),
    )
    assert fast.values == pytest.approx(expected, abs=EXACT)


def test_a_curve_ends_on_what_is_left() -> None:
    classifier = curved()
    given = explained(classifier)
    taken = score("deletion", classifier, given, replacement="zero").curves
    put = score("insertion", classifier, given, replacement="zero").curves
    assert taken is not None
    assert put is not None
    with classifier.guard():
        whole, nothing = (
            classifier.logits(images).double().softmax(dim=1)[torch.arange(COUNT), given.targets]
            for images in (given.images, torch.zeros_like(given.images))
        )
    assert taken[:, 0] == pytest.approx(whole.numpy(), abs=EXACT)
    assert put[:, -1] == pytest.approx(whole.numpy(), abs=EXACT)
    assert taken[:, -1] == pytest.approx(nothing.numpy(), abs=EXACT)
    assert put[:, 0] == pytest.approx(nothing.numpy(), abs=EXACT)
