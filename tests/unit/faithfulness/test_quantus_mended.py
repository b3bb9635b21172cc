"""What Quantus gets wrong, mended: each against an independent slow implementation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from explained_images import COUNT, asking, curved, explained, fills, gradient_times_input, score
from oracles import slow_explanation_metrics as slow
from tiny_models import ConvModel, classify
from torch import nn

from fgmf.errors import InvalidInput, MetricFailed
from fgmf.faithfulness.catalogue import METRICS
from fgmf.faithfulness.quantus_model import hidden_outputs, randomised_layers
from fgmf.seeding import derive_seed, image_generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.classifier import Classifier
    from fgmf.faithfulness.scores import ExplainedImages

EXACT = 1e-9
SEED = 5


def coloured() -> Classifier:
    return classify(ConvModel(channels=3).double())


def each(
    classifier: Classifier, given: ExplainedImages, *, probability: bool
) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Ask, image and map of each, for oracles."""
    with classifier.guard():
        for at in range(COUNT):
            ask = asking(classifier, int(given.targets[at]), probability=probability)
            yield ask, given.images[at].numpy(), given.maps[at].numpy()


@pytest.mark.parametrize("channels", [1, 3])
def test_irof_takes_each_image_by_itself_and_colours(channels: int) -> None:
    from skimage.segmentation import slic

    classifier = curved() if channels == 1 else coloured()
    given = explained(classifier, channels=channels)
    found = score("irof", classifier, given)
    expected = [
        slow.segment_area(ask, image, saliency, slic(np.moveaxis(image, 0, -1), start_label=0))
        for ask, image, saliency in each(classifier, given, probability=True)
    ]
    assert found.values == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize("side", [4, 3])
def test_infidelity_takes_sides_that_patches_do_not_divide(side: int) -> None:
    classifier = coloured()
    given = explained(classifier, channels=3)
    settings = {"patch_size": side}
    found = score("infidelity", classifier, given, parameters=settings, replacement="blur")
    fill = fills(given, "blur")
    expected = [
        slow.patch_infidelity(ask, image, saliency, fill[at], side=side)
        for at, (ask, image, saliency) in enumerate(each(classifier, given, probability=False))
    ]
    assert found.values == pytest.approx(expected, abs=EXACT)


def test_monotonicity_takes_answers_near_zero() -> None:
    class Unsure(nn.Module):
        """The target's probability is far below 1e-5 for every other image."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            pixels = images.flatten(1)
            weights = torch.linspace(-1, 1, 64, dtype=images.dtype)
            logit = (pixels * weights).sum(dim=1) + (pixels**2).sum(dim=1)
            low = torch.where(pixels[:, 0] > 0.5, -40.0, 0.0)
            return torch.stack([logit * 0.1 + low, torch.zeros_like(logit)], dim=1)

    classifier = classify(Unsure())
    given = explained(curved())
    given.images[::2, 0, 0, 0], given.images[1::2, 0, 0, 0] = 0.9, 0.1
    given = replace(given, targets=torch.zeros(COUNT, dtype=torch.int64), keys=())
    classifier = classify(Unsure(), dtype="float64")
    settings = {"features_in_step": 8, "nr_samples": 3}
    found = score("monotonicity-correlation", classifier, given, parameters=settings)
    expected = [
        slow.monotonicity(
            ask,
            image,
            saliency,
            step=8,
            draws=lambda number, at=at: fills(given, "uniform", draw=number)[at],
        )
        for at, (ask, image, saliency) in enumerate(each(classifier, given, probability=True))
    ]
    assert found.values == pytest.approx(expected, abs=EXACT)


def test_sufficiency_looks_past_pixels_that_all_maps_agree_on() -> None:
    classifier = curved()
    given = explained(classifier)
    given.maps[:, 0] = 0.0
    found = score("sufficiency", classifier, given, parameters={"threshold": 0.95})
    with classifier.guard():
        classes = classifier.predict(given.images).tolist()
    expected = slow.sufficiency(given.maps.numpy(), classes, threshold=0.95)
    assert found.values == pytest.approx(expected, abs=EXACT)
    assert found.values.max() > 0


def test_sensitivity_n_leaves_out_steps_without_variation() -> None:
    classifier = curved()
    given = explained(classifier)
    whole = score("sensitivity-n", classifier, given, parameters={"features_in_step": 8})
    ranks = given.maps.flatten(1).argsort(dim=1, descending=True).argsort(dim=1)
    given.maps.view(COUNT, -1)[ranks < 8] = 9.0
    part = score("sensitivity-n", classifier, given, parameters={"features_in_step": 8})
    assert (whole.undefined_steps, part.undefined_steps) == (0, 1)
    assert len(part.values) == len(whole.values) - 1


def test_sensitivity_n_and_road_see_all_batches() -> None:
    given = explained(curved())
    small = classify(curved().module, batch_size=2)
    for name in ("sensitivity-n", "road"):
        assert score(name, small, given).values == pytest.approx(
            score(name, curved(), given).values, abs=EXACT
        )


@pytest.mark.parametrize("channels", [1, 3])
def test_road_has_a_score_for_each_image_and_takes_colours(channels: int) -> None:
    classifier = curved() if channels == 1 else coloured()
    given = explained(classifier, channels=channels)
    found = score("road", classifier, given, parameters={"noise": 0.0, "stride": 20})
    expected = []
    with classifier.guard():
        for at in range(COUNT):
            order = slow.by_importance(given.maps[at].numpy().reshape(-1))
            right = []
            for percent in range(20, 100, 20):
                image = slow.imputed(given.images[at].numpy(), order[: int(64 * percent / 100)])
                predicted = classifier.predict(torch.from_numpy(image)[None])
                right.append(float(predicted[0] == given.targets[at]))
            expected.append(np.mean(right))
    assert found.values == pytest.approx(expected, abs=EXACT)


def test_completeness_holds_for_what_is_complete_and_for_nothing_else() -> None:
    class Linear(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logit = (images.flatten(1) * torch.linspace(-1, 2, 192, dtype=images.dtype)).sum(dim=1)
            return torch.stack([logit, torch.zeros_like(logit)], dim=1)

    classifier = classify(Linear(), dtype="float64")
    given = explained(coloured(), channels=3)
    with classifier.guard():
        targets = torch.zeros(COUNT, dtype=torch.int64)
        maps = gradient_times_input(classifier, given.images, targets)
    complete = replace(given, maps=maps, targets=targets)
    values = score("completeness", classifier, complete, replacement="zero").values
    assert values.tolist() == [1, 1, 1, 1]
    complete.maps[1, 0, 0] += 0.01
    values = score("completeness", classifier, complete, replacement="zero").values
    assert values.tolist() == [1, 0, 1, 1]


class Layers(nn.Sequential):
    """Two layers that can be drawn anew, one of which works in place."""

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            super().__init__(
                nn.Conv2d(1, 4, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Flatten(),
                nn.Linear(256, 3),
            )
        self.double()


@pytest.fixture
def layers() -> Classifier:
    return classify(Layers())


@pytest.mark.parametrize("summary", ["mean", "last"])
@pytest.mark.parametrize("similarity", ["spearman", "ssim"])
def test_mprt_compares_with_drawn_layers_alone(
    layers: Classifier, similarity: str, summary: str
) -> None:
    from skimage.metrics import structural_similarity

    given = explained(layers)
    settings = {"similarity": similarity, "summary": summary}
    found = score("mprt", layers, given, parameters=settings)
    rows = []
    with layers.guard(seed=0):
        seed = derive_seed(SEED, "weights")
        for _, other in randomised_layers(layers, order="top_down", seed=seed):
            with other.guard():
                maps = gradient_times_input(other, given.images, given.targets).numpy()
            row = []
            for mine, its in zip(given.maps.numpy(), maps, strict=True):
                one, two = np.abs(mine) / np.abs(mine).max(), np.abs(its) / np.abs(its).max()
                if similarity == "ssim":
                    span = max(one.max(), two.max()) - min(one.min(), two.min())
                    row.append(structural_similarity(one, two, data_range=span))
                else:
                    flat = (slow.ranks(list(values.reshape(-1))) for values in (one, two))
                    row.append(slow.correlation(*flat))
            rows.append(row)
    assert len(rows) == 2
    expected = rows[-1] if summary == "last" else np.mean(rows, axis=0)
    assert found.values == pytest.approx(np.asarray(expected), abs=EXACT)


def test_layers_are_drawn_as_quantus_draws_them(layers: Classifier) -> None:
    from quantus.helpers.model.pytorch_model import PyTorchModel

    assert layers.module is not None
    for order in ("top_down", "bottom_up", "independent"):
        theirs = PyTorchModel(layers.module).get_random_layer_generator(order=order, seed=3)
        ours = randomised_layers(layers, order=order, seed=3)
        for (name, module), (own_name, other) in zip(theirs, ours, strict=True):
            assert name == own_name
            assert other.module is not None
            state = other.module.state_dict()
            assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


def test_what_layers_saw_is_not_overwritten_in_place(layers: Classifier) -> None:
    images = explained(layers).images
    assert layers.module is not None
    convolved = layers.module[0](images).detach()  # type: ignore[index]
    seen = hidden_outputs(layers, images.numpy())
    flat = convolved.flatten(1)
    logits = layers.logits(images)
    expected = torch.cat([flat, flat.relu(), flat.relu(), logits], dim=1)
    assert seen == pytest.approx(expected.detach().numpy(), abs=EXACT)
    assert float(flat.min()) < 0


def test_relative_stability_leaves_out_copies_that_change_the_prediction() -> None:
    name, classifier = "relative-output-stability", curved()
    given = explained(classifier, seed=9)
    found = score(name, classifier, given, parameters={"nr_samples": 8, "upper_bound": 0.2})
    expected, left_out = [], 0
    with classifier.guard():
        for at in range(COUNT):
            image, target = given.images[at : at + 1], given.targets[at : at + 1]
            generator = image_generator(SEED, given.keys[at], name)
            ratios = []
            for _ in range(8):
                noise = torch.from_numpy(generator.uniform(0.02, 0.2, 64)).reshape(1, 1, 8, 8)
                copy = (image + noise).clamp(0, 1)
                before, after = classifier.logits(image), classifier.logits(copy)
                mine, its = given.maps[at], gradient_times_input(classifier, copy, target)[0]
                if before.argmax() == after.argmax():
                    ratios.append(float(((mine - its) / mine).norm() / (before - after).norm()))
                else:
                    left_out += 1
            expected.append(max(ratios))
    assert 0 < left_out < 8 * COUNT
    assert found.values == pytest.approx(expected, rel=EXACT)


def test_relative_stability_needs_one_copy_that_keeps_the_prediction() -> None:
    flips, given = classify(Flipping(), dtype="float64"), explained(curved())
    with pytest.raises(MetricFailed, match=r"changes all of image 0 \(4 of 4 images\)"):
        score("relative-input-stability", flips, given)


class Flipping(nn.Module):
    """Any noise changes the class."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        exact = images.float().double()
        moved = (images - exact).abs().flatten(1).sum(dim=1) > 0
        sign = torch.where(moved, -1.0, 1.0).double() * (1 + images.flatten(1).sum(dim=1))
        return torch.stack([sign, -sign, -sign - 1, -sign - 2], dim=1)


def test_an_empty_region_is_no_hit() -> None:
    classifier = curved()
    given = explained(classifier)
    assert given.regions is not None
    given.regions[2] = False
    for name in ("pointing-game", "relevance-mass-accuracy", "relevance-rank-accuracy"):
        with pytest.raises(InvalidInput, match="got none for image 2"):
            score(name, classifier, given)


@pytest.mark.parametrize("name", [n for n, e in METRICS.items() if e.quantus_class])
def test_maps_and_quantus_stay_as_they_were(name: str, layers: Classifier) -> None:
    import quantus.helpers.asserts
    import quantus.helpers.utils

    given = explained(layers)
    before = given.maps.clone(), given.images.clone(), np.random.get_state()[1].copy()  # noqa: NPY002
    functions = (
        quantus.helpers.utils.get_wrapped_model,
        quantus.helpers.utils.calculate_auc,
        quantus.helpers.asserts.assert_attributions,
    )
    assert layers.module is not None
    weights = {key: value.clone() for key, value in layers.module.state_dict().items()}
    step = {"features_in_step": 1} if name == "non-sensitivity" else {}
    small = {"upper_bound": 0.001} if name.startswith("relative-") and "stab" in name else step
    score(name, layers, given, engine="quantus", parameters=small)
    assert torch.equal(given.maps, before[0])
    assert torch.equal(given.images, before[1])
    assert np.array_equal(np.random.get_state()[1], before[2])  # noqa: NPY002
    assert functions == (
        quantus.helpers.utils.get_wrapped_model,
        quantus.helpers.utils.calculate_auc,
        quantus.helpers.asserts.assert_attributions,
    )
    state = layers.module.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in weights.items())
