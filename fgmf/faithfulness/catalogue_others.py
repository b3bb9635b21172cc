"""Metrics of everything but faithfulness: stability, randomisation, complexity, axioms, regions."""

from __future__ import annotations

from typing import Final

from fgmf.faithfulness.entries import SHARE, SIGNED, STEP, MetricEntry, Undefined, count_parameter
from fgmf.parameters import Parameter

SAMPLES: Final = count_parameter(10, "noisy copies of each image")
_NOISE: Final = Parameter(
    default=0.2, above=0, meaning="largest uniform noise, in the units of the bounds"
)
_SIMILARITY: Final = Parameter(
    default="spearman", choices=("spearman", "ssim"), meaning="how two maps are compared"
)
_LAYER_ORDER = ("top_down", "bottom_up", "independent")

ROBUSTNESS: Final = (
    MetricEntry(
        name="max-sensitivity",
        title="Max-sensitivity",
        category="robustness",
        higher_is_better=False,
        quantus_class="MaxSensitivity",
        output="none",
        needs=("explainer",),
        draws=True,
        undefined="zero",
        parameters={"nr_samples": SAMPLES, "lower_bound": _NOISE},
    ),
    MetricEntry(
        name="avg-sensitivity",
        title="Avg-sensitivity",
        category="robustness",
        higher_is_better=False,
        quantus_class="AvgSensitivity",
        output="none",
        needs=("explainer",),
        draws=True,
        undefined="zero",
        parameters={"nr_samples": SAMPLES, "lower_bound": _NOISE},
    ),
    MetricEntry(
        name="local-lipschitz",
        title="Local Lipschitz estimate",
        category="robustness",
        higher_is_better=False,
        quantus_class="LocalLipschitzEstimate",
        output="none",
        needs=("explainer",),
        draws=True,
        undefined="zero",
        parameters={
            "nr_samples": SAMPLES,
            "perturb_std": Parameter(
                default=0.1, above=0, meaning="deviation of Gaussian noise, in units of the bounds"
            ),
        },
        mended="maps are divided by the largest value of the whole batch",
    ),
    *(
        MetricEntry(
            name=f"relative-{what}-stability",
            title=f"Relative {what} stability",
            category="robustness",
            higher_is_better=False,
            quantus_class=f"Relative{what.capitalize()}Stability",
            output="logit",
            needs=("explainer", "layers") if what == "representation" else ("explainer",),
            draws=True,
            undefined="zero",
            parameters={"nr_samples": SAMPLES, "upper_bound": _NOISE},
            mended=mended,
        )
        for what, mended in (
            ("input", "NaN where one noisy copy changes the prediction"),
            ("output", "NaN where one noisy copy changes the prediction"),
            (
                "representation",
                "NaN where one noisy copy changes the prediction; layers that work in place "
                "overwrite what was recorded before them",
            ),
        )
    ),
)

_LOCALISATION: Final[tuple[tuple[str, str, str, Undefined, str], ...]] = (
    (
        "relevance-mass-accuracy",
        "Relevance mass accuracy",
        "RelevanceMassAccuracy",
        "zero",
        "values of both signs cancel, so it is given absolute ones",
    ),
    ("relevance-rank-accuracy", "Relevance rank accuracy", "RelevanceRankAccuracy", "constant", ""),
    (
        "pointing-game",
        "Pointing game",
        "PointingGame",
        "constant",
        "an empty region counts as a hit",
    ),
)

OTHERS: Final = (
    MetricEntry(
        name="mprt",
        title="MPRT",
        category="randomisation",
        higher_is_better=False,
        scale=SIGNED,
        quantus_class="MPRT",
        output="none",
        needs=("explainer", "layers"),
        draws=True,
        parameters={
            "similarity": _SIMILARITY,
            "layer_order": Parameter(
                default="top_down", choices=_LAYER_ORDER, meaning="which layers are drawn first"
            ),
            "summary": Parameter(
                default="mean",
                choices=("mean", "last"),
                meaning="the mean over layers, or the last one alone",
            ),
        },
        mended="SSIM fails and sees flattened maps; the mean counts the unchanged model",
    ),
    MetricEntry(
        name="efficient-mprt",
        title="Efficient MPRT",
        category="randomisation",
        higher_is_better=True,
        quantus_class="EfficientMPRT",
        needs=("explainer", "layers"),
        draws=True,
        parameters={"n_bins": count_parameter(100, "bins of the histogram of a map")},
    ),
    MetricEntry(
        name="random-logit",
        title="Random logit",
        category="randomisation",
        higher_is_better=False,
        scale=SIGNED,
        quantus_class="RandomLogit",
        output="none",
        needs=("explainer",),
        draws=True,
        one_by_one=True,
        parameters={"similarity": _SIMILARITY},
        mended="SSIM sees flattened maps; the drawn class depends on the place in the batch",
    ),
    MetricEntry(
        name="sparseness",
        title="Sparseness",
        category="complexity",
        higher_is_better=True,
        scale=SHARE,
        quantus_class="Sparseness",
        output="none",
        undefined="zero",
        mended="it changes the maps that it is given",
    ),
    MetricEntry(
        name="complexity",
        title="Complexity",
        category="complexity",
        higher_is_better=False,
        quantus_class="Complexity",
        output="none",
        undefined="zero",
        mended="it changes the maps that it is given",
    ),
    MetricEntry(
        name="effective-complexity",
        title="Effective complexity",
        category="complexity",
        higher_is_better=False,
        scale=SHARE,
        scale_unit="pixels",
        quantus_class="EffectiveComplexity",
        output="none",
        undefined="zero",
        parameters={
            "eps": Parameter(
                default=1e-5, lowest=0, meaning="share of the largest value that counts"
            )
        },
        mended="maps are divided by the largest value of the whole batch",
    ),
    MetricEntry(
        name="completeness",
        title="Completeness",
        category="axiomatic",
        higher_is_better=True,
        scale=SHARE,
        quantus_class="Completeness",
        output="logit",
        replacement="black",
        undefined="never",
        parameters={
            "tolerance": Parameter(
                default=1e-4, lowest=0, meaning="gap that counts as none, relative to the drop"
            )
        },
        mended="it asks whether two floating-point sums are the same number; it removes the first "
        "channel of colour images alone",
    ),
    MetricEntry(
        name="non-sensitivity",
        title="Non-sensitivity",
        category="axiomatic",
        higher_is_better=False,
        scale=SHARE,
        scale_unit="features",
        quantus_class="NonSensitivity",
        fast=True,
        replacement="black",
        undefined="zero",
        parameters={
            "eps": Parameter(default=1e-5, lowest=0, meaning="effect that counts as none"),
            "features_in_step": STEP,
        },
        mended="it fails for more than one feature in a step; maps are divided by the largest "
        "value of the whole batch",
    ),
    *(
        MetricEntry(
            name=name,
            title=title,
            category="localisation",
            higher_is_better=True,
            quantus_class=quantus_class,
            output="none",
            needs=("regions",),
            undefined=undefined,
            mended=mended,
        )
        for name, title, quantus_class, undefined, mended in _LOCALISATION
    ),
)
