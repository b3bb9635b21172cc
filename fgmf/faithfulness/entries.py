"""What is said of a metric of explanations that a gate can name: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from fgmf.parameters import Parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

Category: TypeAlias = Literal[
    "faithfulness", "robustness", "randomisation", "complexity", "axiomatic", "localisation"
]
Need: TypeAlias = Literal["explainer", "layers", "regions"]
Output: TypeAlias = Literal["probability", "logit", "none"]
Scope: TypeAlias = Literal["image", "among-images", "step"]
Undefined: TypeAlias = Literal["never", "zero", "constant"]


@dataclass(frozen=True, kw_only=True)
class MetricEntry:
    """A metric by name.

    Attributes:
        name: Name in gate files and reports.
        title: Name in headlines.
        category: What kind of property it is about.
        higher_is_better: The direction in which maps get better.
        quantus_class: Class of Quantus that defines it; empty where the definition is our own.
        output: Which number of the target class the model is asked for.
        needs: What it needs beside images, targets and maps: an explainer that it can call again,
            a model with layers whose weights can be drawn anew, regions that hold the object.
        scope: What a score is about: one image by itself, one image among all, or one step over
            all images.
        replacement: Default replacement of removed pixels; empty where nothing is removed.
        draws: True if another seed gives another score whatever the replacement.
        undefined: Maps that have no score: of zeros, or constant ones.
        scale: Lowest and highest value that a score can have, whatever the parameters; None where
            there are no such bounds.
        scale_unit: What the scale is in: one, or the pixels or features of an image.
        fast: True if our own evaluation, batched over images and steps, carries it out.
        one_by_one: True if Quantus mixes the images of a batch, so it is given one at a time.
        parameters: Its parameters with defaults, by the names of Quantus.
        mended: What the bridge mends.
    """

    name: str
    title: str
    category: Category
    higher_is_better: bool
    quantus_class: str = ""
    output: Output = "probability"
    needs: tuple[Need, ...] = ()
    scope: Scope = "image"
    replacement: str = ""
    draws: bool = False
    undefined: Undefined = "constant"
    scale: tuple[float, float] | None = None
    scale_unit: Literal["one", "pixels", "features"] = "one"
    fast: bool = False
    one_by_one: bool = False
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    mended: str = ""


def count_parameter(default: int, meaning: str) -> Parameter:
    """Return a whole number of at least one."""
    return Parameter(default=default, lowest=1, meaning=meaning)


SHARE: Final = (0.0, 1.0)
SIGNED: Final = (-1.0, 1.0)
STEP: Final = Parameter(
    default=0,
    lowest=0,
    meaning="features removed in one step; 0 takes what makes at most 64 steps of an image",
)
