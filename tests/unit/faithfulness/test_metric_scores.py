"""What scores promise: one finite number per image, or an error that names the image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from explained_images import COUNT, curved, explained, score
from hypothesis import given as examples
from hypothesis import strategies as st
from tiny_models import classify, make_images
from torch import nn

from fgmf.errors import InvalidInput, MetricFailed, NonFiniteOutput
from fgmf.faithfulness.catalogue import METRICS, find_metric, metric_parameters
from fgmf.faithfulness.measuring import OWN
from fgmf.faithfulness.scores import ExplainedImages, MetricScores

IMAGE_METRICS = [n for n, e in METRICS.items() if e.scope == "image"]
SMALL: dict[str, Any] = {"nr_runs": 10, "nr_samples": 2, "upper_bound": 0.001, "stride": 30}


def small(name: str) -> dict[str, Any]:
    return {key: value for key, value in SMALL.items() if key in METRICS[name].parameters}


def with_layers() -> Any:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 4))
    return classify(layers.double())


@pytest.mark.parametrize("name", ["faithfulness-correlation", "infidelity"])
def test_metrics_of_the_logit_name_the_one_that_is_missing(name: str) -> None:
    """A single logit is that of class 1; that of class 0 is 0 on every image."""
    layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 1))
    classifier = classify(layers.double())
    given = explained(with_layers())
    given = replace(given, targets=torch.zeros(COUNT, dtype=torch.int64))
    with pytest.raises(InvalidInput, match="a logit of its own for each class, got a single one"):
        score(name, classifier, given, parameters=small(name))


@pytest.mark.parametrize("name", IMAGE_METRICS)
def test_scores_are_on_their_scale(name: str) -> None:
    classifier = with_layers()
    found = score(name, classifier, explained(classifier), parameters=small(name))
    entry = METRICS[name]
    assert (found.scale is None) is (entry.scale is None)
    if found.scale is not None:
        assert found.scale[0] <= found.values.min() <= found.values.max() <= found.scale[1]


def test_our_own_evaluation_is_what_the_catalogue_says() -> None:
    assert set(OWN) == {name for name, entry in METRICS.items() if entry.fast}


@pytest.mark.parametrize("name", IMAGE_METRICS)
def test_a_score_depends_on_its_own_image_and_the_seed_alone(name: str) -> None:
    classifier = with_layers()
    given = explained(classifier)
    whole = score(name, classifier, given, parameters=small(name))
    assert whole.values.shape == (COUNT,)
    assert whole.values.dtype == np.float64
    rows = [2, 0]
    part = replace(
        given,
        images=given.images[rows],
        targets=given.targets[rows],
        maps=given.maps[rows],
        keys=tuple(given.keys[row] for row in rows),
        regions=None if given.regions is None else given.regions[rows],
    )
    classifier.batch_size = 1
    again = score(name, classifier, part, parameters=small(name))
    # Rounding inside the model, which sees other batches.
    assert again.values == pytest.approx(whole.values[rows], rel=1e-6, abs=1e-9)
    if METRICS[name].draws and name != "road":  # counts right answers, which noise seldom turns
        other = score(name, classifier, given, parameters=small(name), seed=6)
        assert not np.array_equal(other.values, whole.values)


def test_scores_cannot_be_changed() -> None:
    scores = score("deletion", curved(), explained(curved()))
    with pytest.raises(ValueError, match="read-only"):
        scores.values[0] = 1.0
    assert repr(scores).startswith("MetricScores(metric='deletion', n=4, mean=")


@pytest.mark.parametrize("name", [n for n, e in METRICS.items() if e.undefined != "never"])
def test_maps_without_a_score_are_errors(name: str) -> None:
    classifier = with_layers()
    given = explained(classifier)
    given.maps[2] = 0.0
    with pytest.raises(MetricFailed, match=r"for image 2 \(1 of 4 images\)"):
        score(name, classifier, given)
    given.maps[2] = 0.7
    if METRICS[name].undefined == "constant":
        with pytest.raises(MetricFailed, match="the same value everywhere for image 2"):
            score(name, classifier, given)


@pytest.mark.parametrize("name", [n for n, e in METRICS.items() if e.undefined == "never"])
def test_zero_maps_have_a_score_where_the_metric_says_so(name: str) -> None:
    classifier = with_layers()
    given = explained(classifier)
    given.maps[2] = 0.0
    assert np.isfinite(score(name, classifier, given).values).all()


@pytest.mark.parametrize("name", ["deletion", "sparseness", "max-sensitivity"])
def test_a_map_of_negative_values_has_a_score(name: str) -> None:
    """Quantus refuses a batch of them."""
    classifier = curved()
    given = explained(classifier)
    given = replace(given, maps=-given.maps.abs() - 0.1)
    assert np.isfinite(score(name, classifier, given).values).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_maps_with_nan_are_errors(bad: float) -> None:
    given = explained(curved())
    maps = given.maps.clone()
    maps[3, 1, 1] = bad
    with pytest.raises(InvalidInput, match="NaN or infinity for image 3"):
        replace(given, maps=maps)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maps": torch.zeros(4, 1, 8, 8)}, r"maps of shape \(4, 8, 8\), got \(4, 1, 8, 8\)"),
        ({"maps": torch.zeros(3, 8, 8)}, r"got \(3, 8, 8\); the first image without one is 3"),
        ({"maps": torch.zeros(4, 8, 7)}, r"got \(4, 8, 7\)"),
        ({"targets": torch.zeros(3, dtype=torch.int64)}, r"targets of shape \(4,\), got \(3,\)"),
        ({"regions": torch.zeros(4, 8, 7)}, "regions of shape"),
        ({"keys": ("one",)}, "one key for each of 4 images, got 1"),
        ({"images": torch.zeros(0, 1, 8, 8)}, "n >= 1"),
        ({"images": torch.zeros(4, 1, 8, 8, dtype=torch.uint8)}, "floating point"),
    ],
)
def test_wrong_shapes_are_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        replace(explained(curved()), **changes)


def test_a_score_of_nan_is_an_error_with_its_image() -> None:
    values = np.array([0.1, np.nan, 0.2, np.inf])
    common: dict[str, Any] = {
        "metric": "irof",
        "scope": "image",
        "higher_is_better": True,
        "parameters": {},
        "replacement": "",
        "engine": "own",
        "seed": 0,
    }
    with pytest.raises(MetricFailed, match=r"for image 1 \(2 of 4\)"):
        MetricScores(values=values, **common)
    for shapeless in (np.zeros((2, 2)), np.zeros(0), [0.1], np.zeros(3, dtype=np.float32)):
        with pytest.raises(MetricFailed, match="one float64 score each"):
            MetricScores(values=shapeless, **common)


def test_a_drop_that_is_the_same_everywhere_has_no_correlation() -> None:
    class Sure(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1.0, 0.0]]).expand(len(images), 2) + 0 * images.sum()

    given = explained(curved())
    given = replace(given, targets=torch.zeros(COUNT, dtype=torch.int64))
    for engine in ("own", "quantus"):
        with pytest.raises(MetricFailed, match="NaN or infinity for image 0"):
            score("faithfulness-correlation", classify(Sure()), given, engine=engine)


def test_a_model_that_answers_nan_is_an_error() -> None:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            wrong = torch.where(images[:, 0, 0, 0] == 0, torch.nan, 0.0)
            return images.flatten(1)[:, :3] + wrong[:, None]

    given = explained(curved())
    given = replace(given, targets=torch.zeros(COUNT, dtype=torch.int64))
    with pytest.raises(NonFiniteOutput, match="for a variant of image 0"):
        score("deletion", classify(Broken()), given, replacement="zero")


def test_an_error_inside_quantus_is_ours() -> None:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise ZeroDivisionError("in the model")

    given = explained(curved())
    message = "expected Quantus to score infidelity for images 0 to 3, it raised ZeroDivisionError"
    with pytest.raises(MetricFailed, match=message):
        score("infidelity", classify(Broken()), given)


def without_explainer(given: ExplainedImages) -> ExplainedImages:
    return replace(given, explain=None)


def without_regions(given: ExplainedImages) -> ExplainedImages:
    return replace(given, regions=None)


def one_image(given: ExplainedImages) -> ExplainedImages:
    return ExplainedImages(images=given.images[:1], targets=given.targets[:1], maps=given.maps[:1])


def wrong_target(given: ExplainedImages) -> ExplainedImages:
    return replace(given, targets=torch.tensor([0, 9, 1, 1]))


def as_it_is(given: ExplainedImages) -> ExplainedImages:
    return given


@pytest.mark.parametrize(
    ("name", "change", "plan", "message"),
    [
        ("mprt", without_explainer, {}, "an explainer that can be called again for mprt"),
        ("mprt", as_it_is, {}, "layers that have reset_parameters"),
        ("pointing-game", without_regions, {}, "regions that hold the object for pointing-game"),
        ("sparseness", as_it_is, {"replacement": "blur"}, "no replacement for sparseness"),
        ("deletion", as_it_is, {"engine": "quantus"}, "another engine for deletion"),
        ("irof", as_it_is, {"engine": "own"}, "another engine for irof"),
        ("infidelity", as_it_is, {"replacement": "inpainting"}, "replacement that Quantus can be"),
        ("deletion", wrong_target, {}, "expected targets from 0 to 3, got 0 to 9"),
        (
            "pixel-flipping",
            as_it_is,
            {"parameters": {"features_in_step": 5}},
            "features_in_step to divide the 64 pixels",
        ),
        (
            "faithfulness-correlation",
            as_it_is,
            {"parameters": {"subset_size": 64}},
            "subset_size below the 64 pixels",
        ),
        (
            "non-sensitivity",
            as_it_is,
            {"parameters": {"features_in_step": 4}, "engine": "quantus"},
            "Quantus fails on more",
        ),
        ("sensitivity-n", one_image, {}, "at least two images"),
    ],
)
def test_what_is_missing_or_wrong_is_said(
    name: str, change: Any, plan: dict[str, Any], message: str
) -> None:
    given = change(explained(curved()))
    with pytest.raises(InvalidInput, match=message):
        score(name, curved(), given, **plan)


def test_a_callable_has_no_layers() -> None:
    opaque = classify(lambda images: images.flatten(1)[:, :4])
    with pytest.raises(InvalidInput, match=r"a torch\.nn\.Module with layers for mprt"):
        score("mprt", opaque, explained(curved()))


def test_maps_of_another_shape_from_the_explainer_are_errors() -> None:
    given = explained(curved())
    for wrong, message in (
        (lambda _c, images, _t: images, r"maps of shape \(4, 8, 8\)"),
        (lambda _c, images, _t: images[:, 0] * torch.nan, "finite maps"),
    ):
        with pytest.raises(MetricFailed, match=message):
            score("max-sensitivity", curved(), replace(given, explain=wrong))


@examples(st.sampled_from(sorted(METRICS)), st.text(max_size=5))
def test_unknown_parameters_are_refused(name: str, parameter: str) -> None:
    entry = find_metric(name)
    if parameter not in entry.parameters:
        with pytest.raises(InvalidInput, match="expected parameters of"):
            metric_parameters(entry, {parameter: 1})


def test_values_outside_their_range_are_refused() -> None:
    entry = find_metric("mprt")
    with pytest.raises(InvalidInput, match=r"mprt\.similarity as one of spearman, ssim, got 'cos'"):
        metric_parameters(entry, {"similarity": "cos"})
    with pytest.raises(InvalidInput, match="expected a metric of"):
        find_metric("faith")


def test_images_in_half_precision_and_of_any_size_are_taken() -> None:
    classifier = classify(nn.Sequential(nn.Flatten(), nn.Linear(35, 3)))
    images = make_images(2, shape=(1, 5, 7)).half()
    maps = torch.arange(70.0).reshape(2, 5, 7).sin()
    given = ExplainedImages(images=images, targets=torch.tensor([0, 1]), maps=maps)
    for name in ("pixel-flipping", "deletion", "region-perturbation", "infidelity"):
        assert score(name, classifier, given).values.shape == (2,)
