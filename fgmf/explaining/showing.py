"""Explain images and write what people look at: overlays, stages, curves, a page, and the numbers.

overlays.png       image, map and overlay for each image
stages.png         of explainers with stages: image and every stage
index.html         both pictures, curves of deletion and insertion, facts; nothing from outside
explanations.json  parameters, passes, and numbers per image
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fgmf.canonical import canonical_json, finite_or_none, write_atomically
from fgmf.errors import MetricFailed
from fgmf.explaining.page import Curves, Picture, render_explanations
from fgmf.explaining.painting import Strip, coloured, draw_strips, overlay, shown_image
from fgmf.faithfulness.measuring import measure_metric
from fgmf.faithfulness.scores import ExplainedImages, MetricPlan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fgmf.attribution.interface import Attribution, Explainer
    from fgmf.classifier import Classifier
    from fgmf.explaining.comparing import Comparison
    from fgmf.faithfulness.replacements import ReplacementName
    from fgmf.types import Images, Json, Labels

SHOWN_REPLACEMENTS: tuple[ReplacementName, ...] = ("zero", "blur")
"""Two, because no explanation is faithful as such, only under a replacement."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShownImages:
    """What is explained.

    Attributes:
        images: (n, c, h, w) floating point within the bounds.
        targets: (n,) class that is explained.
        labels: (n,) right class, for the captions; None where it is not known.
        keys: One per image; None takes digests.
    """

    images: Images
    targets: Labels
    labels: Labels | None = None
    keys: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Explained:
    """An explanation with what was measured on it.

    Attributes:
        attribution: The maps.
        curves: Mean probability of the class while pixels go and come, by replacement.
        without_curves: Why there are none; empty where there are some.
    """

    attribution: Attribution
    curves: Sequence[Curves]
    without_curves: str = ""


def explain_and_measure(
    explainer: Explainer, classifier: Classifier, shown: ShownImages, *, seed: int
) -> Explained:
    """Explain images, and follow the class while pixels go and come.

    Raises:
        InvalidInput: Images that do not fit to the model or the explainer.
        NonFiniteOutput: The model answered NaN or infinity.

    Cost: the explainer's, and about 130 forward passes per image and replacement.
    """
    attribution = explainer.explain(
        classifier, shown.images, shown.targets, keys=shown.keys, seed=seed
    )
    explained = ExplainedImages(
        images=shown.images, targets=attribution.targets, maps=attribution.maps
    )
    try:
        curves = [_curves(name, classifier, explained, seed=seed) for name in SHOWN_REPLACEMENTS]
    except MetricFailed as error:  # a map that orders no pixels: there is still a picture of it
        return Explained(attribution=attribution, curves=[], without_curves=str(error))
    return Explained(attribution=attribution, curves=curves)


def _curves(
    replacement: ReplacementName, classifier: Classifier, explained: ExplainedImages, *, seed: int
) -> Curves:
    going, coming = (
        measure_metric(
            MetricPlan(metric=metric, replacement=replacement), classifier, explained, seed=seed
        ).curves
        for metric in ("deletion", "insertion")
    )
    return Curves(
        replacement=replacement, deletion=_mean_curve(going), insertion=_mean_curve(coming)
    )


def write_explanations(
    explained: Explained,
    classifier: Classifier,
    shown: ShownImages,
    directory: Path,
    *,
    comparison: Comparison | None = None,
) -> list[Path]:
    """Write pictures, page and numbers.

    Args:
        explained: From :func:`explain_and_measure`.
        classifier: For its bounds and name.
        shown: What was explained.
        directory: Made if missing; files of these names are replaced.
        comparison: Shown on the page, too.

    Returns:
        The files.

    Raises:
        OSError: The directory cannot be written.
    """
    attribution = explained.attribution
    pictures = _pictures(attribution, classifier, shown)
    page = render_explanations(
        title=f"{attribution.method} on {classifier.name}",
        pictures=[
            Picture(name=name, png=contents, caption=caption)
            for name, (contents, caption) in pictures.items()
        ],
        curves=explained.curves,
        facts=[*_facts(attribution), *_missing(explained)],
        comparison=comparison,
    )
    files = {
        **{f"{name}.png": contents for name, (contents, _) in pictures.items()},
        "index.html": page.encode(),
        "explanations.json": canonical_json(_document(explained, comparison)) + b"\n",
    }
    for name, contents in files.items():
        write_atomically(directory / name, contents)
    return [directory / name for name in files]


def _pictures(
    attribution: Attribution, classifier: Classifier, shown: ShownImages
) -> dict[str, tuple[bytes, str]]:
    bounds, method = classifier.bounds, attribution.method
    pixels = shown.images.cpu().double().numpy()
    maps = attribution.maps.double().numpy()
    captions = [_caption(attribution, shown, i) for i in range(len(maps))]
    overlays = [
        Strip(
            caption=captions[i],
            tiles=[
                shown_image(pixels[i], bounds),
                coloured(maps[i]),
                overlay(pixels[i], maps[i], bounds),
            ],
        )
        for i in range(len(maps))
    ]
    words = "red speaks for the class, blue against it; each map has its own scale"
    names = ["image", "map", "overlay"]
    made = {"overlays": (draw_strips(overlays, title=f"{method}: {words}", names=names), words)}
    if attribution.stages:
        stages = {name: stage.double().numpy() for name, stage in attribution.stages.items()}
        strips = [
            Strip(
                caption=captions[i],
                tiles=[
                    shown_image(pixels[i], bounds),
                    *(coloured(stage[i]) for stage in stages.values()),
                ],
            )
            for i in range(len(maps))
        ]
        title = f"{method}, stage by stage: {words}"
        picture = draw_strips(strips, title=title, names=["image", *stages])
        made["stages"] = (picture, "what each stage made of the one before")
    return made


def _caption(attribution: Attribution, shown: ShownImages, i: int) -> str:
    words = f"image {i}: class {int(attribution.targets[i])} explained"
    if shown.labels is not None:
        words += f", label {int(shown.labels[i])}"
    if float(attribution.diagnostics["zero_map"][i]):
        words += ", the map is zero everywhere"
    return words


def _facts(attribution: Attribution) -> list[tuple[str, str]]:
    n = len(attribution.maps)
    parameters = ", ".join(f"{k} = {v}" for k, v in attribution.parameters.items())
    cost = attribution.cost
    zero = int(attribution.diagnostics["zero_map"].sum())
    return [
        ("explainer", attribution.method),
        ("parameters", parameters or "none"),
        ("images", str(n)),
        ("maps that are zero everywhere", str(zero)),
        ("forward passes per image", f"{cost.forward_passes / n:.1f}"),
        ("backward passes per image", f"{cost.backward_passes / n:.1f}"),
        ("seed", str(attribution.seed)),
    ]


def _missing(explained: Explained) -> list[tuple[str, str]]:
    return [("no curves", explained.without_curves)] if explained.without_curves else []


def _document(explained: Explained, comparison: Comparison | None) -> dict[str, Json]:
    attribution = explained.attribution
    return {
        "schema": 1,
        "explainer": attribution.method,
        "parameters": dict(attribution.parameters),
        "seed": attribution.seed,
        "keys": list(attribution.keys),
        "targets": attribution.targets.tolist(),
        "diagnostics": {
            name: [finite_or_none(value) for value in values.tolist()]
            for name, values in attribution.diagnostics.items()
        },
        "cost": {
            "forward_passes": attribution.cost.forward_passes,
            "backward_passes": attribution.cost.backward_passes,
        },
        "curves": {
            c.replacement: {"deletion": list(c.deletion), "insertion": list(c.insertion)}
            for c in explained.curves
        },
        "comparison": None
        if comparison is None
        else {
            "scores": {n: dict(scores) for n, scores in comparison.scores.items()},
            "weights": dict(comparison.weights),
            "totals": dict(comparison.totals),
        },
    }


def _mean_curve(curves: NDArray[np.float64] | None) -> tuple[float, ...]:
    values = np.zeros((1, 1)) if curves is None else curves
    return tuple(float(value) for value in values.mean(axis=0))
