"""The explainers that a gate can name, and their parameters: plain data.

Nothing heavy is imported, so a gate file can be checked without torch. `building` turns an entry
into an explainer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from fgmf.errors import InvalidInput
from fgmf.parameters import Parameter, Value

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class ExplainerEntry:
    """An explainer by name.

    Attributes:
        name: Name in gate files and reports.
        title: Name in headlines and captions.
        class_path: Module and class that carry it out.
        needs_gradient: False for methods that only ask for answers.
        random: True if another seed gives another map.
        parameters: Its parameters with defaults.
    """

    name: str
    title: str
    class_path: str
    needs_gradient: bool = True
    random: bool = False
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


OUTPUT = Parameter(
    default="log-odds",
    choices=("log-odds", "logit", "probability"),
    meaning="the number of the target class that is explained",
)

_REPLACEMENTS = ("zero", "mean", "noise", "blur")
_ZERO = Parameter(default=0.0, meaning="the pixel value of the replacement `zero`")
_LAYER = {
    "layer": Parameter(default="auto", meaning="name of the module that is looked at"),
    "output": OUTPUT,
}


def _count(default: int, meaning: str) -> Parameter:
    return Parameter(default=default, lowest=1, meaning=meaning)


def _share(default: float, meaning: str) -> Parameter:
    return Parameter(default=default, lowest=0.0, highest=1.0, meaning=meaning)


def _least(default: float, meaning: str) -> Parameter:
    return Parameter(default=default, lowest=0.0, meaning=meaning)


def _percentile(default: float, meaning: str) -> Parameter:
    return Parameter(default=default, lowest=0.0, highest=100.0, meaning=meaning)


def _entry(
    name: str,
    title: str,
    place: str,
    parameters: Mapping[str, Parameter],
    *,
    needs_gradient: bool = True,
    random: bool = False,
) -> ExplainerEntry:
    return ExplainerEntry(
        name=name,
        title=title,
        class_path=f"fgmf.attribution.{place}",
        parameters=parameters,
        needs_gradient=needs_gradient,
        random=random,
    )


PGCA_PARAMETERS = {
    "fusion": Parameter(
        default="consensus", choices=("consensus", "published"), meaning="how evidence is joined"
    ),
    "grid": _count(8, "cells per side"),
    "fills": Parameter(
        default="both", choices=("both", "alternate"), meaning="what cells are replaced with"
    ),
    "noise_draws": _count(1, "noise fills per cell"),
    "zero": _ZERO,
    "layer": _LAYER["layer"],
    "output": Parameter(
        default="auto",
        choices=("auto", *OUTPUT.choices),
        meaning="the number of the target class that is explained",
    ),
    "smoothing_samples": _count(6, "gradients under noise"),
    "smoothing_deviation": Parameter(
        default=0.15, above=0.0, meaning="of that noise, as a share of the bounds' range"
    ),
    "path_samples": _count(6, "gradients on the way from noise"),
    "path_share": _share(0.5, "of the latter in the evidence of gradients"),
    "surround": Parameter(
        default=0.14, above=0.0, meaning="blur of a pixel's surround, as a share of the longer side"
    ),
    "return_share": _share(0.3, "how much of a cell's disagreement its pixels get"),
    "return_floor": Parameter(default=0.02, above=0.0, meaning="weight of silent pixels"),
    "blur_scale": _least(0.18, "blur as a share of the image's grain"),
    "blur_least": _least(0.25, "smallest blur in pixels"),
    "blur_most": _least(1.5, "largest blur in pixels"),
    "gain": _least(1.0, "amplification where both parents speak"),
    "gamma": Parameter(default=0.7, above=0.0, meaning="exponent of the contrast"),
    "balance": _share(0.7, "published fusion: share of the perturbation map"),
    "published_blur": _least(1.0, "published fusion: blur in pixels"),
    "clip_low": _percentile(1.0, "published fusion: lower percentile"),
    "clip_high": _percentile(99.0, "published fusion: upper percentile"),
}

ENTRIES = (
    _entry("gradient", "Gradient", "gradients:Gradient", {"output": OUTPUT}),
    _entry(
        "gradient-times-input",
        "Gradient x input",
        "gradients:GradientTimesInput",
        {"output": OUTPUT},
    ),
    _entry(
        "integrated-gradients",
        "Integrated Gradients",
        "path_gradients:IntegratedGradients",
        {
            "steps": _count(32, "points on the path"),
            "baseline": Parameter(
                default="zero", choices=_REPLACEMENTS, meaning="where the path begins"
            ),
            "zero": _ZERO,
            "output": OUTPUT,
        },
    ),
    _entry(
        "expected-gradients",
        "Expected gradients",
        "path_gradients:ExpectedGradients",
        {"samples": _count(12, "noise baselines, one gradient each"), "output": OUTPUT},
        random=True,
    ),
    _entry(
        "smooth-grad",
        "SmoothGrad",
        "smooth_grad:SmoothGrad",
        {
            "samples": _count(16, "noisy copies"),
            "deviation": Parameter(
                default=0.15, above=0.0, meaning="of the noise, as a share of the bounds' range"
            ),
            "times": Parameter(
                default="one",
                choices=("one", "input", "centred"),
                meaning="what the gradient is multiplied with",
            ),
            "output": OUTPUT,
        },
        random=True,
    ),
    _entry("grad-cam", "Grad-CAM", "class_activation:GradCam", _LAYER),
    _entry("grad-cam-plus-plus", "Grad-CAM++", "class_activation:GradCamPlusPlus", _LAYER),
    _entry("layer-cam", "LayerCAM", "class_activation:LayerCam", _LAYER),
    _entry(
        "occlusion",
        "Occlusion",
        "occlusion:Occlusion",
        {
            "grid": _count(8, "cells per side"),
            "replacement": Parameter(
                default="zero", choices=_REPLACEMENTS, meaning="what a cell is replaced with"
            ),
            "zero": _ZERO,
            "spread": Parameter(
                default="cell", choices=("cell", "bilinear"), meaning="how cells become pixels"
            ),
            "output": OUTPUT,
        },
        needs_gradient=False,
    ),
    _entry("pgca", "PGCA", "pgca:Pgca", PGCA_PARAMETERS, random=True),
    _entry(
        "random",
        "Random map",
        "random_map:RandomMap",
        {
            "deviation": Parameter(
                default=0.0, lowest=0.0, meaning="of a blur in pixels, 0 for white noise"
            )
        },
        needs_gradient=False,
        random=True,
    ),
)

EXPLAINERS: Mapping[str, ExplainerEntry] = MappingProxyType({e.name: e for e in ENTRIES})
"""Every explainer of this package."""


def explainer_names() -> tuple[str, ...]:
    """Return every name that can stand in a gate, sorted."""
    return tuple(sorted(EXPLAINERS))


def find_explainer(name: str) -> ExplainerEntry:
    """Return the entry of an explainer.

    Raises:
        InvalidInput: There is none of that name.
    """
    if name not in EXPLAINERS:
        known = ", ".join(explainer_names())
        raise InvalidInput(f"expected an explainer of {known}, got {name!r}")
    return EXPLAINERS[name]


def check_parameters(entry: ExplainerEntry, parameters: Mapping[str, object]) -> dict[str, Value]:
    """Return all parameters of an explainer: those that are given, and the defaults.

    Args:
        entry: The explainer.
        parameters: By name.

    Raises:
        InvalidInput: A name that it does not have, or a value outside of what is allowed.
    """
    unknown = sorted(set(parameters) - set(entry.parameters))
    if unknown:
        known = ", ".join(entry.parameters) or "none"
        message = f"expected parameters of {entry.name} among {known}, got {', '.join(unknown)}"
        raise InvalidInput(message)
    values: dict[str, Value] = {}
    for name, parameter in entry.parameters.items():
        value = parameters.get(name, parameter.default)
        if not parameter.accepts(value):
            message = f"expected {entry.name}.{name} as {parameter.allowed}, got {value!r}"
            raise InvalidInput(message)
        values[name] = value  # type: ignore[assignment] # the parameter accepts it
    return values
