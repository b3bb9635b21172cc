"""Where Quantus is right, its own score and the bridge's are the same number."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from explained_images import COUNT, curved, explained, score, task_of
from oracles import slow_explanation_metrics as slow

from fgmf.faithfulness.catalogue import METRICS
from fgmf.faithfulness.quantus_mends import NormalNoise, UniformNoise
from fgmf.faithfulness.subsets import draw_subsets
from fgmf.seeding import derive_seed, image_generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.classifier import Classifier

# Both compute in double precision, in sums of another order.
SAME = 1e-6
SEED = 5


class InDouble(torch.nn.Module):
    """Quantus hands over float32; the images of these tests are exact in it."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.inner = module

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner(images.double())


@pytest.fixture(scope="module")
def quantus() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import quantus

        return quantus


@pytest.fixture
def classifier() -> Classifier:
    return curved()


def saliency(model: torch.nn.Module, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
    """Gradient times input by Quantus' interface."""
    points = torch.as_tensor(inputs).double().requires_grad_()
    chosen = model(points).gather(1, torch.as_tensor(targets)[:, None])
    (gradient,) = torch.autograd.grad(chosen.sum(), points)
    return (gradient * points).sum(dim=1, keepdim=True).detach().numpy()


def raw(metric: Any, classifier: Classifier, given: Any, rows: slice, *, softmax: bool) -> Any:
    assert classifier.module is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metric(
            model=InDouble(classifier.module).eval(),
            x_batch=given.images[rows].numpy().copy(),
            y_batch=given.targets[rows].numpy().copy(),
            a_batch=given.maps[rows].numpy()[:, None].copy(),
            s_batch=given.regions[rows].numpy()[:, None].copy(),
            channel_first=True,
            explain_func=saliency,
            softmax=softmax,
        )


def one_by_one(
    name: str,
    classifier: Classifier,
    given: Any,
    make: Callable[[int], Any],
    take: Callable[[Any], float],
) -> list[float]:
    softmax = METRICS[name].output == "probability"
    rows = [slice(at, at + 1) for at in range(COUNT)]
    return [take(raw(make(r.start), classifier, given, r, softmax=softmax)) for r in rows]


def noise(kind: Any, name: str, given: Any, at: int) -> Any:
    return kind([image_generator(SEED, given.keys[at], name)], (0.0, 1.0))


def first(result: Any) -> float:
    return float(result[0])


QUIET = {"disable_warnings": True, "return_aggregate": False}
PLAIN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # Ours, theirs.
    "faithfulness-estimate": ({"features_in_step": 2}, {"features_in_step": 2}),
    "infidelity": ({"patch_size": 4}, {"perturb_patch_sizes": [4], "n_perturb_samples": 3}),
    "non-sensitivity": ({"features_in_step": 1, "eps": 0.02}, {"eps": 0.02}),
    "sparseness": ({}, {}),
    "complexity": ({}, {}),
    "effective-complexity": ({"eps": 0.2}, {"eps": 0.2}),
    "relevance-mass-accuracy": ({}, {"abs": True}),
    "relevance-rank-accuracy": ({}, {}),
    "pointing-game": ({}, {}),
}


@pytest.mark.parametrize("name", PLAIN)
def test_scores_of_one_image(quantus: Any, classifier: Classifier, name: str) -> None:
    given = explained(classifier)
    ours, theirs = PLAIN[name]
    made = getattr(quantus, METRICS[name].quantus_class)
    expected = one_by_one(name, classifier, given, lambda _: made(**theirs, **QUIET), first)
    found = score(name, classifier, given, parameters=ours, engine="quantus")
    assert found.engine == "quantus"
    assert found.values == pytest.approx(expected, abs=SAME)
    assert len(set(expected)) > 1 or name in {"pointing-game", "relevance-rank-accuracy"}


@pytest.mark.parametrize("engine", ["own", "quantus"])
def test_pixel_flipping(quantus: Any, classifier: Classifier, engine: str) -> None:
    given = explained(classifier)
    metric = quantus.PixelFlipping(features_in_step=4, **QUIET)
    curves = np.array(raw(metric, classifier, given, slice(0, COUNT), softmax=True))
    found = score(
        "pixel-flipping",
        classifier,
        given,
        parameters={"features_in_step": 4},
        engine=engine,
    )
    assert found.values == pytest.approx([slow.area(curve) for curve in curves], abs=SAME)
    if engine == "own":
        assert found.curves == pytest.approx(curves, abs=SAME)


@pytest.mark.parametrize("engine", ["own", "quantus"])
def test_faithfulness_estimate_in_a_batch(
    quantus: Any, classifier: Classifier, engine: str
) -> None:
    given = explained(classifier)
    metric = quantus.FaithfulnessEstimate(features_in_step=4, **QUIET)
    expected = raw(metric, classifier, given, slice(0, COUNT), softmax=False)
    settings = {"features_in_step": 4}
    found = score("faithfulness-estimate", classifier, given, parameters=settings, engine=engine)
    assert found.values == pytest.approx(expected, abs=SAME)


@pytest.mark.parametrize("engine", ["own", "quantus"])
@pytest.mark.parametrize("side", [4, 3])
def test_region_perturbation(quantus: Any, classifier: Classifier, engine: str, side: int) -> None:
    given = explained(classifier)
    metric = quantus.RegionPerturbation(patch_size=side, regions_evaluation=3, **QUIET)
    drops = np.array(raw(metric, classifier, given, slice(0, COUNT), softmax=True))
    settings = {"patch_size": side, "regions_evaluation": 3}
    found = score("region-perturbation", classifier, given, parameters=settings, engine=engine)
    assert found.values == pytest.approx(drops.mean(axis=1), abs=SAME)


def test_faithfulness_correlation_on_the_same_subsets(
    quantus: Any, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = explained(classifier)
    settings = {"nr_runs": 12, "subset_size": 9}
    subsets = draw_subsets(task_of("faithfulness-correlation", classifier, given, **settings))
    positions = subsets.nonzero()[2].reshape(COUNT, 12, 9)
    order = iter(positions.transpose(1, 0, 2).reshape(-1, 9))
    monkeypatch.setattr(np.random, "choice", lambda *_, **__: next(order))
    metric = quantus.FaithfulnessCorrelation(**settings, **QUIET)
    expected = raw(metric, classifier, given, slice(0, COUNT), softmax=False)
    found = score("faithfulness-correlation", classifier, given, parameters=settings)
    assert found.engine == "own"
    assert found.values == pytest.approx(expected, abs=SAME)


def test_faithfulness_correlation_through_the_bridge_agrees_on_average(
    classifier: Classifier,
) -> None:
    given = explained(classifier)
    settings = {"nr_runs": 400, "subset_size": 9}
    own, theirs = (
        score(
            "faithfulness-correlation", classifier, given, parameters=settings, engine=engine
        ).values
        for engine in ("own", "quantus")
    )
    # Two correlations over 400 draws each: standard error below .05 apiece.
    assert own == pytest.approx(theirs, abs=0.2)


def test_sufficiency_and_sensitivity_n_over_all_images(
    quantus: Any, classifier: Classifier
) -> None:
    given = explained(classifier)
    metric = quantus.Sufficiency(threshold=0.9, **QUIET)
    expected = raw(metric, classifier, given, slice(0, COUNT), softmax=True)
    found = score("sufficiency", classifier, given, parameters={"threshold": 0.9})
    assert found.values == pytest.approx(expected, abs=SAME)
    assert found.scope == "among-images"
    metric = quantus.SensitivityN(features_in_step=4, **QUIET)
    expected = raw(metric, classifier, given, slice(0, COUNT), softmax=True)
    found = score("sensitivity-n", classifier, given, parameters={"features_in_step": 4})
    assert found.values == pytest.approx(expected, abs=SAME)
    assert (found.scope, found.undefined_steps) == ("step", 0)


def test_road_without_noise(quantus: Any, classifier: Classifier) -> None:
    given = explained(classifier)
    percentages = list(range(10, 100, 10))
    expected = one_by_one(
        "road",
        classifier,
        given,
        lambda _: quantus.ROAD(percentages=percentages, noise=0.0, **QUIET),
        lambda shares: float(np.mean(list(shares.values()))),
    )
    found = score("road", classifier, given, parameters={"noise": 0.0, "stride": 10})
    assert found.values == pytest.approx(expected, abs=SAME)
    assert len(set(expected)) > 1


STABILITY: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "max-sensitivity": (UniformNoise, {"lower_bound": 0.1}, {"lower_bound": 0.1}),
    "avg-sensitivity": (UniformNoise, {"lower_bound": 0.1}, {"lower_bound": 0.1}),
    "local-lipschitz": (NormalNoise, {"perturb_std": 0.05}, {"perturb_std": 0.05}),
    "relative-input-stability": (
        UniformNoise,
        {"upper_bound": 0.01},
        {"perturb_func_kwargs": {"lower_bound": 0.001, "upper_bound": 0.01}},
    ),
    "relative-output-stability": (
        UniformNoise,
        {"upper_bound": 0.01},
        {"perturb_func_kwargs": {"lower_bound": 0.001, "upper_bound": 0.01}},
    ),
}


@pytest.mark.parametrize("name", STABILITY)
def test_stability_under_the_same_noise(quantus: Any, classifier: Classifier, name: str) -> None:
    given = explained(classifier, seed=37)  # margins that such noise does not cross
    kind, ours, theirs = STABILITY[name]
    made = getattr(quantus, METRICS[name].quantus_class)

    def make(at: int) -> Any:
        perturb = noise(kind, name, given, at)
        return made(nr_samples=4, perturb_func=perturb, **theirs, **QUIET)

    expected = one_by_one(name, classifier, given, make, first)
    found = score(name, classifier, given, parameters={"nr_samples": 4, **ours})
    # Quantus rounds the noisy images to float32: 1e-7 of noise from 1e-3 on.
    assert found.values == pytest.approx(expected, rel=1e-4)


def test_random_logit_on_the_same_class(quantus: Any, classifier: Classifier) -> None:
    from quantus.functions.similarity_func import correlation_spearman

    given = explained(classifier)

    def make(at: int) -> Any:
        seed = derive_seed(SEED, given.keys[at], "class")
        return quantus.RandomLogit(
            num_classes=4, seed=seed, similarity_func=correlation_spearman, **QUIET
        )

    expected = one_by_one("random-logit", classifier, given, make, first)
    found = score("random-logit", classifier, given)
    assert found.values == pytest.approx(expected, abs=SAME)
