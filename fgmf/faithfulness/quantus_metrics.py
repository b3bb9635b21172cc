"""Which arguments each metric of Quantus gets, and one finite score per image out of it.

for each batch of images (or each image, where Quantus mixes those of a batch):
    metric = class of Quantus with our perturbations, similarities and seeds as its arguments
    scores += metric(classifier, images, targets, maps)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fgmf.errors import FgmfError, InvalidInput, MetricFailed
from fgmf.faithfulness.quantus_bridge import (
    LARGEST_BATCH,
    impute_linearly,
    make_metric,
    make_road_per_image,
    mended_quantus,
    run_metric,
    structural_similarity,
)
from fgmf.faithfulness.quantus_mends import (
    Imputation,
    MapSimilarity,
    Near,
    NormalNoise,
    PaddedRemoval,
    Removal,
    SegmentRemoval,
    UniformNoise,
    WholeRemoval,
    standardised_distance,
)
from fgmf.faithfulness.replacements import REPLACEMENTS
from fgmf.faithfulness.subsets import pearson_rows, subset_size
from fgmf.seeding import derive_seed, image_generator, isolated_randomness

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fgmf.faithfulness.task import MetricTask

    Floats = NDArray[np.float64]


def quantus_scores(task: MetricTask) -> tuple[Floats, int]:
    """Have Quantus score maps.

    Args:
        task: Inside the classifier's guard.

    Returns:
        (n,) float64, and how many steps had no score where scores are about steps.

    Raises:
        InvalidInput: A parameter that the images don't fit, or inpainting.
        MetricFailed: Quantus raised, or did not give one number per image.

    Cost: stated by Quantus; one image at a time where the catalogue says so.
    """
    fill = task.fill
    if fill is not None and not REPLACEMENTS[fill.name].fixed:
        message = f"expected a replacement that Quantus can be given for {task.entry.name}"
        raise InvalidInput(f"{message}, got {fill.name!r}; use a metric of our own evaluation")
    scores = [_part_scores(task, part) for part in _parts(task)]
    values = np.concatenate(scores)
    if task.entry.scope != "step":
        return values, 0
    defined = values[np.isfinite(values)]
    if not defined.size:
        raise MetricFailed(f"expected a step that {task.entry.name} has a score for, got none")
    return defined, int(values.size - defined.size)


def _parts(task: MetricTask) -> list[slice]:
    """Batches that Quantus is given: all images at once where a score is about all of them."""
    count = len(task.explained.images)
    size = min(LARGEST_BATCH, task.classifier.batch_size)
    if task.entry.one_by_one:
        size = 1
    elif task.entry.scope != "image" or "layers" in task.entry.needs:
        size = count
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _part_scores(task: MetricTask, part: slice) -> Floats:
    entry, explained = task.entry, task.explained
    where = f"image {part.start}" if entry.one_by_one else f"images {part.start} to {part.stop - 1}"
    seed = derive_seed(task.seed, entry.name, *explained.keys[part][:1])
    try:
        with isolated_randomness(seed), mended_quantus():
            result = _BUILDERS[entry.name](task, part)
    except FgmfError:
        raise
    except Exception as error:
        message = f"expected Quantus to score {entry.name} for {where}, it raised "
        raise MetricFailed(f"{message}{type(error).__name__}: {error}") from error
    values = np.asarray(result, dtype=np.float64)
    if entry.scope != "step" and values.shape != (part.stop - part.start,):
        message = f"expected one score of {entry.name} for each of {where}, got shape "
        raise MetricFailed(f"{message}{values.shape}")
    return values


def _generators(task: MetricTask, part: slice) -> list[np.random.Generator]:
    keys = task.explained.keys[part]
    return [image_generator(task.seed, key, task.entry.name) for key in keys]


def _plain(task: MetricTask, part: slice) -> object:
    return run_metric(task, part, make_metric(task, {}))


def _mass_accuracy(task: MetricTask, part: slice) -> object:
    # Signed values cancel in both sums, and the share may be anything.
    return run_metric(task, part, make_metric(task, {"abs": True}))


def _faithfulness_correlation(task: MetricTask, part: slice) -> object:
    metric = make_metric(
        task,
        {
            "nr_runs": task.number("nr_runs"),
            "subset_size": subset_size(task),
            "perturb_func": Removal(task, part),
        },
    )
    return run_metric(task, part, metric)


def _stepwise(task: MetricTask, part: slice) -> object:
    more = {"return_auc_per_sample": True} if task.entry.name == "pixel-flipping" else {}
    metric = make_metric(
        task,
        {"features_in_step": task.features_in_step, "perturb_func": Removal(task, part), **more},
    )
    return run_metric(task, part, metric)


def _non_sensitivity(task: MetricTask, part: slice) -> object:
    if task.features_in_step != 1:
        message = "expected features_in_step = 1, for Quantus fails on more; got "
        raise InvalidInput(f"{message}{task.features_in_step}; use our own evaluation")
    eps = float(task.parameters["eps"])
    return run_metric(
        task, part, make_metric(task, {"eps": eps, "perturb_func": Removal(task, part)})
    )


def _region_perturbation(task: MetricTask, part: slice) -> object:
    metric = make_metric(
        task,
        {
            "patch_size": task.number("patch_size"),
            "regions_evaluation": task.number("regions_evaluation"),
            "perturb_func": PaddedRemoval(task, part),
        },
    )
    return np.asarray(run_metric(task, part, metric)).mean(axis=1)


def _irof(task: MetricTask, part: slice) -> object:
    method = str(task.parameters["segmentation_method"])
    metric = make_metric(
        task, {"segmentation_method": method, "perturb_func": SegmentRemoval(task, part)}
    )
    return run_metric(task, part, metric)


def _monotonicity(task: MetricTask, part: slice) -> object:
    # The score ranks the effects of one image, so the factor that `eps` guards cancels out.
    metric = make_metric(
        task,
        {
            "eps": 0.0,
            "nr_samples": task.number("nr_samples"),
            "features_in_step": task.features_in_step,
            "perturb_func": Removal(task, part, again=True),
        },
    )
    return run_metric(task, part, metric)


def _infidelity(task: MetricTask, part: slice) -> object:
    # One sample: the replacement is the same in each.
    metric = make_metric(
        task,
        {
            "perturb_patch_sizes": [task.number("patch_size")],
            "n_perturb_samples": 1,
            "perturb_func": PaddedRemoval(task, part),
        },
    )
    return run_metric(task, part, metric)


def _sufficiency(task: MetricTask, part: slice) -> object:
    distance = standardised_distance(task.flat_maps(per_channel=False))
    threshold = float(task.parameters["threshold"])
    return run_metric(
        task, part, make_metric(task, {"threshold": threshold, "distance_func": distance})
    )


def _sensitivity_n(task: MetricTask, part: slice) -> object:
    if part.stop - part.start < 2:
        raise InvalidInput("expected at least two images for sensitivity-n, got one")

    def similarity(a: Floats, b: Floats, **_: object) -> Floats:
        return pearson_rows(a, b)

    metric = make_metric(
        task,
        {
            "similarity_func": similarity,
            "n_max_percentage": float(task.parameters["n_max_percentage"]),
            "features_in_step": task.features_in_step,
            "perturb_func": Removal(task, part),
        },
    )
    return run_metric(task, part, metric)


def _road(task: MetricTask, part: slice) -> object:
    maps = task.flat_maps(per_channel=False)[part]
    deviation = float(task.parameters["noise"])
    imputation = Imputation(impute_linearly, maps, _generators(task, part), deviation)
    stride = task.number("stride")
    metric = make_road_per_image(
        {"percentages": list(range(stride, 100, stride)), "perturb_func": imputation}
    )
    (right,) = run_metric(task, part, metric)
    return np.asarray(right, dtype=np.float64).mean(axis=1)


def _uniform_noise(task: MetricTask, part: slice) -> object:
    noise = UniformNoise(_generators(task, part), task.classifier.bounds)
    metric = make_metric(
        task,
        {
            "nr_samples": task.number("nr_samples"),
            "lower_bound": float(task.parameters["lower_bound"]),
            "perturb_func": noise,
        },
    )
    return run_metric(task, part, metric)


def _local_lipschitz(task: MetricTask, part: slice) -> object:
    noise = NormalNoise(_generators(task, part), task.classifier.bounds)
    metric = make_metric(
        task,
        {
            "nr_samples": task.number("nr_samples"),
            "perturb_std": float(task.parameters["perturb_std"]),
            "perturb_func": noise,
        },
    )
    return run_metric(task, part, metric)


def _relative_stability(task: MetricTask, part: slice) -> object:
    """The largest ratio over noisy copies that keep their prediction, as in the paper.

    One sample at a time: Quantus takes the maximum with the NaN of those that do not.
    """
    noise = UniformNoise(_generators(task, part), task.classifier.bounds)
    upper = float(task.parameters["upper_bound"])
    arguments = {
        "nr_samples": 1,
        "perturb_func": noise,
        "perturb_func_kwargs": {"lower_bound": upper / 10, "upper_bound": upper},
    }
    metric, count = make_metric(task, arguments), task.number("nr_samples")
    samples = np.array([run_metric(task, part, metric) for _ in range(count)], dtype=np.float64)
    changed = np.flatnonzero(np.isnan(samples).all(axis=0))
    if changed.size:
        message = (
            f"expected noise up to {upper:g} that leaves some predictions as they are, but it "
            f"changes all of image {part.start + changed[0]} ({changed.size} of "
            f"{samples.shape[1]} images); use a smaller upper_bound, or leave such images out"
        )
        raise MetricFailed(message)
    return np.nanmax(samples, axis=0)


def _mprt(task: MetricTask, part: slice) -> object:
    metric = make_metric(
        task,
        {
            "similarity_func": _similarity(task),
            "layer_order": str(task.parameters["layer_order"]),
            "seed": derive_seed(task.seed, "weights"),
        },
    )
    found = run_metric(task, part, metric)
    layers = np.array([scores for name, scores in found.items() if name != "original"])
    return layers[-1] if task.parameters["summary"] == "last" else layers.mean(axis=0)


def _efficient_mprt(task: MetricTask, part: slice) -> object:
    metric = make_metric(
        task,
        {
            "complexity_func_kwargs": {"n_bins": task.number("n_bins")},
            "seed": derive_seed(task.seed, "weights"),
        },
    )
    return run_metric(task, part, metric)


def _random_logit(task: MetricTask, part: slice) -> object:
    images = task.explained.images[part]
    key = task.explained.keys[part.start]
    metric = make_metric(
        task,
        {
            "similarity_func": _similarity(task),
            "num_classes": task.classifier.logits_in_batches(images).shape[1],
            "seed": derive_seed(task.seed, key, "class"),
        },
    )
    return run_metric(task, part, metric)


def _effective_complexity(task: MetricTask, part: slice) -> object:
    return run_metric(task, part, make_metric(task, {"eps": float(task.parameters["eps"])}))


def _completeness(task: MetricTask, part: slice) -> object:
    tolerance = float(task.parameters["tolerance"])
    metric = make_metric(
        task,
        {
            "normalise": False,
            "output_func": lambda drops: Near(drops, tolerance),
            "perturb_func": WholeRemoval(task, part),
        },
    )
    return run_metric(task, part, metric)


def _similarity(task: MetricTask) -> MapSimilarity:
    height, width = task.explained.maps.shape[-2:]
    return MapSimilarity(str(task.parameters["similarity"]), (height, width), structural_similarity)


_BUILDERS: dict[str, Callable[[MetricTask, slice], object]] = {
    "faithfulness-correlation": _faithfulness_correlation,
    "faithfulness-estimate": _stepwise,
    "pixel-flipping": _stepwise,
    "region-perturbation": _region_perturbation,
    "irof": _irof,
    "monotonicity-correlation": _monotonicity,
    "infidelity": _infidelity,
    "sufficiency": _sufficiency,
    "sensitivity-n": _sensitivity_n,
    "road": _road,
    "max-sensitivity": _uniform_noise,
    "avg-sensitivity": _uniform_noise,
    "local-lipschitz": _local_lipschitz,
    "relative-input-stability": _relative_stability,
    "relative-output-stability": _relative_stability,
    "relative-representation-stability": _relative_stability,
    "mprt": _mprt,
    "efficient-mprt": _efficient_mprt,
    "random-logit": _random_logit,
    "sparseness": _plain,
    "complexity": _plain,
    "effective-complexity": _effective_complexity,
    "completeness": _completeness,
    "non-sensitivity": _non_sensitivity,
    "relevance-mass-accuracy": _mass_accuracy,
    "relevance-rank-accuracy": _plain,
    "pointing-game": _plain,
}
