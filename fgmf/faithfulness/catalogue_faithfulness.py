"""Metrics of faithfulness: what happens to the model's answer when pixels go."""

from __future__ import annotations

from typing import Final

from fgmf.faithfulness.entries import SHARE, SIGNED, STEP, MetricEntry, count_parameter
from fgmf.parameters import Parameter

RUNS: Final = count_parameter(100, "random subsets of each image")
SUBSET: Final = Parameter(
    default=0, lowest=0, meaning="features in a subset; 0 takes a quarter of the pixels"
)

FAITHFULNESS: Final = (
    MetricEntry(
        name="faithfulness-correlation",
        title="Faithfulness correlation",
        category="faithfulness",
        higher_is_better=True,
        scale=SIGNED,
        quantus_class="FaithfulnessCorrelation",
        output="logit",
        replacement="black",
        draws=True,
        fast=True,
        one_by_one=True,
        parameters={"nr_runs": RUNS, "subset_size": SUBSET},
    ),
    MetricEntry(
        name="faithfulness-estimate",
        title="Faithfulness estimate",
        category="faithfulness",
        higher_is_better=True,
        scale=SIGNED,
        quantus_class="FaithfulnessEstimate",
        output="logit",
        replacement="black",
        fast=True,
        parameters={"features_in_step": STEP},
    ),
    MetricEntry(
        name="pixel-flipping",
        title="Pixel flipping",
        category="faithfulness",
        higher_is_better=False,
        quantus_class="PixelFlipping",
        replacement="black",
        fast=True,
        parameters={"features_in_step": STEP},
        mended="its area under the curve calls a function that NumPy 2 dropped",
    ),
    MetricEntry(
        name="deletion",
        title="Deletion",
        category="faithfulness",
        higher_is_better=False,
        scale=SHARE,
        replacement="mean",
        fast=True,
        parameters={"steps": count_parameter(28, "equal steps from the whole image to none of it")},
    ),
    MetricEntry(
        name="insertion",
        title="Insertion",
        category="faithfulness",
        higher_is_better=True,
        scale=SHARE,
        replacement="mean",
        fast=True,
        parameters={"steps": count_parameter(28, "equal steps from nothing to the whole image")},
    ),
    MetricEntry(
        name="region-perturbation",
        title="Region perturbation",
        category="faithfulness",
        higher_is_better=True,
        scale=SIGNED,
        quantus_class="RegionPerturbation",
        replacement="black",
        fast=True,
        parameters={
            "patch_size": count_parameter(4, "side of a square region, in pixels"),
            "regions_evaluation": count_parameter(100, "regions that are removed, at most"),
        },
        mended="it gives a curve, of which the score is the mean; Quantus calls low drops good, "
        "which holds for the order lerf alone",
    ),
    MetricEntry(
        name="irof",
        title="IROF",
        category="faithfulness",
        higher_is_better=True,
        quantus_class="IROF",
        replacement="mean",
        one_by_one=True,
        parameters={
            "segmentation_method": Parameter(
                default="slic", choices=("slic", "felzenszwalb"), meaning="superpixels"
            )
        },
        mended="its area calls a function that NumPy 2 dropped; colour images fail; the mean and "
        "the area mix the images of a batch",
    ),
    MetricEntry(
        name="monotonicity-correlation",
        title="Monotonicity correlation",
        category="faithfulness",
        higher_is_better=True,
        scale=SIGNED,
        quantus_class="MonotonicityCorrelation",
        replacement="uniform",
        draws=True,
        parameters={
            "features_in_step": STEP,
            "nr_samples": count_parameter(10, "replacements drawn for each step"),
        },
        mended="it fails where the model's answer for one image of the batch is below 1e-5",
    ),
    MetricEntry(
        name="infidelity",
        title="Infidelity",
        category="faithfulness",
        higher_is_better=False,
        quantus_class="Infidelity",
        output="logit",
        replacement="black",
        undefined="never",
        parameters={"patch_size": count_parameter(4, "side of a square patch, in pixels")},
        mended="it fails on images that the patches do not divide",
    ),
    MetricEntry(
        name="sufficiency",
        title="Sufficiency",
        category="faithfulness",
        higher_is_better=True,
        quantus_class="Sufficiency",
        scope="among-images",
        undefined="never",
        parameters={
            "threshold": Parameter(
                default=0.6, lowest=0, meaning="share of the largest distance that is similar"
            )
        },
        mended="a pixel that all maps agree on makes every score 0; scores depend on the batches",
    ),
    MetricEntry(
        name="sensitivity-n",
        title="Sensitivity-n",
        category="faithfulness",
        higher_is_better=True,
        quantus_class="SensitivityN",
        scope="step",
        replacement="black",
        parameters={
            "features_in_step": STEP,
            "n_max_percentage": Parameter(
                default=0.8, above=0, highest=1, meaning="share of the pixels that is removed"
            ),
        },
        mended="only the first batch counts; steps without variation are NaN",
    ),
    MetricEntry(
        name="road",
        title="ROAD",
        category="faithfulness",
        higher_is_better=False,
        scale=SHARE,
        quantus_class="ROAD",
        draws=True,
        parameters={
            "noise": Parameter(default=0.01, lowest=0, meaning="deviation of the imputed noise"),
            "stride": Parameter(
                default=10, lowest=1, highest=99, meaning="percents of pixels between two looks"
            ),
        },
        mended="only the first batch counts, and no image has a score of its own; colour images "
        "fail",
    ),
)
