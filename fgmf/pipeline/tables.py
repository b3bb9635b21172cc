"""The tables of a recipe file that are not the defence, as pydantic models."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fgmf.agents.catalogue import RuleName
from fgmf.gatefile.tables import NormalizeTable, SourceTable, Table

Count = Annotated[int, Field(ge=1, lt=2**31)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Backbone = Literal["cnn", "resnet", "vit", "hybrid", "spiking"]


class RecipeHeadTable(Table):
    """The keys at the top of a recipe file."""

    schema_version: Annotated[int, Field(json_schema_extra={"const": 1})] = Field(alias="schema")
    """Version of the format; 1 is the only one."""
    output: Annotated[str, Field(min_length=1)]
    """Directory that the training writes to, from the recipe file's."""
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    """Fixes first weights, order and every draw; a number that JSON keeps whole."""

    @field_validator("schema_version")
    @classmethod
    def _known_version(cls, value: int) -> int:
        if value != 1:
            raise ValueError("1, the version of the format that this release reads")
        return value


class TrainingDataTable(SourceTable):
    """``[data]``: the images to train on."""

    bounds: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest valid pixel value; budgets are in these units."""
    images: Count | None = None
    """Only the first so many."""

    @field_validator("bounds")
    @classmethod
    def _bounds(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not (all(map(math.isfinite, value)) and value[0] < value[1]):
            raise ValueError("two numbers, the lower one first")
        return value


class ViewTable(Table):
    """``view`` of an agent: what it sees of the images."""

    channels: Annotated[tuple[int, ...], Field(min_length=1)] | None = None
    """Numbers of the channels, in this order; by default all."""
    crop: tuple[int, int, int, int] | None = None
    """Top, left, height and width of a rectangle in pixels; by default the whole."""

    @model_validator(mode="after")
    def _is_a_view(self) -> ViewTable:
        numbers = (*(self.channels or ()), *(self.crop or ()))
        if any(number < 0 for number in numbers) or min((self.crop or (0, 0, 1, 1))[2:]) < 1:
            raise ValueError("numbers >= 0, and a height and width of at least 1")
        if len(set(self.channels or ())) < len(self.channels or ()):
            raise ValueError("every channel once")
        return self


class AgentTable(Table):
    """One of ``[[model.agents]]``: a member of a team."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]*[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
    backbone: Backbone | None = None
    """As in ``[model]``."""
    factory: str | None = None
    """As there."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """As there."""
    view: ViewTable = Field(default_factory=ViewTable)
    """What it sees; by default everything."""


class BackboneTable(Table):
    """``[model]``: a network of ours by name, a factory that returns one, or agents of a team."""

    backbone: Backbone | None = None
    """A network of ours; sides, channels and classes are those of the images."""
    factory: str | None = None
    """``package.module:function`` that returns a new module, instead of a backbone."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Sizes of the backbone, or keyword arguments of the factory."""
    agents: tuple[AgentTable, ...] = ()
    """Members of a team, instead of a backbone; needs ``[team]``."""
    normalize: NormalizeTable | None = None
    """Subtracted and divided by in front of the model, which then takes images in the bounds."""


class ScheduleTable(Table):
    """``[schedule]``: how long, and how fast."""

    epochs: Count = 14
    batch_size: Count = 128
    peak_learning_rate: Annotated[float, Field(gt=0, le=1000)] = 4e-3
    rise: BelowOne = 0.3
    """Share of the updates over which the rate rises."""
    weight_decay: NotNegative = 1e-4
    gradient_clip: NotNegative = 5.0
    """Largest norm of the gradient; 0 does not clip."""
    average_decay: BelowOne = 0.98
    """Of the moving average of the weights, with which the model ends; 0 keeps the last weights."""


class OptimizerTable(Table):
    """``[optimizer]``: which, and the shape of its rate."""

    name: Literal["adamw", "sgd", "curvature-aware"] = "adamw"
    base: Literal["adamw", "sgd"] | None = None
    """What `curvature-aware` wraps; by default it stands alone."""
    shape: Literal["one-cycle", "cosine", "constant", "steps"] = "one-cycle"
    momentum: BelowOne = 0.9
    curvature_every: Count = 10
    """Updates between two estimates of `curvature-aware`."""
    curvature_mode: Literal["exact", "secant"] = "exact"
    """Of `curvature-aware`; compiled models have secant curvature only."""


class EngineTable(Table):
    """``[engine]``: how the arithmetic is done."""

    device: Annotated[str, Field(pattern=r"^(cpu|mps|cuda(:\d+)?)$")] = "cpu"
    mixed_precision: Literal["bfloat16", "float16"] | None = None
    channels_last: bool = False
    compiled: bool = False
    backend: str = "inductor"
    """Of `torch.compile`."""
    accumulate: Count = 1
    """Parts that a batch is computed in, one after the other."""
    threads: Count | None = None
    """Of torch on the CPU; the same weights need the same number."""


class SgamTable(Table):
    """``[sgam]``: a saliency mask in front of the model, and lessons for it."""

    grid_side: Count = 7
    width: Count = 16
    m_min: Annotated[float, Field(ge=0.02, lt=1)] = 0.5
    method: Literal["layer-cam", "grad-cam++"] = "layer-cam"
    layer: str | None = None
    every: Count = 8
    weight: Positive = 1.0


class MessagesTable(Table):
    """``[team.messages]``: what agents tell each other before they decide."""

    size: Count = 8
    """Numbers in a message."""
    topology: Literal["complete", "ring", "star"] = "complete"
    rounds: Count = 1
    m_min: Annotated[float, Field(ge=0.02, le=1)] = 1.0
    """Floor of the saliency mask on messages; 1 dims nothing."""


class TeamTable(Table):
    """``[team]``: how agents decide, and how they are trained together."""

    rule: RuleName = "mean-log-probability"
    training: Literal["independent", "joint", "diverse"] = "independent"
    """The defence for every agent alone, through the rule, or alone and kept apart."""
    alignment: Positive = 1.5
    """Weight of the alignment of gradients, in `diverse`."""
    every: Count = 2
    """Updates from one alignment to the next."""
    share: Share = 0.5
    """Of the batch that it looks at."""
    messages: MessagesTable | None = None
    """What agents tell each other; trained in `joint` only."""


class RampTable(Table):
    """One of ``[ramps.NAME]``: a number of the defence that moves during the training."""

    start: float = 0.0
    end: float
    until: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the training over which it moves."""
    smooth: bool = False
    """Half a cosine instead of a line."""


class WritingTable(Table):
    """``[writing]``: what is written while it trains, and how often."""

    checkpoint_seconds: Positive = 60.0
    checkpoint_updates: Count | None = None
    """Also after so many updates."""
    metrics_every: Count = 10
    """Updates between two lines of metrics."""
    tensorboard: bool = False


class AugmentationTable(Table):
    """``[augmentation]``: images moved anew in every epoch, and what is stored for them too."""

    padding: Annotated[int, Field(ge=0)] = 4
    """Largest shift in pixels."""
    mirror: bool = True
    """Also left and right exchanged, for half of the images."""


class CollapseTable(Table):
    """``[collapse]``: the monitor of catastrophic overfitting."""

    every: Count = 50
    max_images: Count = 64
    gap: Positive = 0.2
    """Of one-step less iterative accuracy, from which it is an alarm."""
    stop: bool = False
    """End the training at an alarm, which the manifest then names."""


class ValidationTable(SourceTable):
    """``[validation]``: robust accuracy on images that are not trained on, after some epochs."""

    images: Count = 100
    every: Count = 1
    """Epochs between two validations; the last one is always validated."""
    epsilon: float | str | None = None
    """Budget of the attacks; by default the defence's own."""
    suite: Literal["quick", "standard"] = "quick"


class TeacherTable(Table):
    """``[teacher]``: the model that a distillation learns from."""

    directory: Annotated[str, Field(min_length=1)]
    """Of a finished `fgmf train`, from the recipe file's."""


class PruningTable(Table):
    """``[pruning]``: channels, heads, units or weights that go while the model is trained."""

    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Of units or weights that are gone at the end; not for `n-of-m`, which says it itself."""
    structure: Literal["units", "weights", "n-of-m"] = "units"
    """Units can be taken out of the model afterwards; single weights only become zero."""
    scores: Literal["gradient", "magnitude"] = "gradient"
    """On the defence's own loss, or the absolute value of the weight."""
    scope: Literal["layer", "global"] = "layer"
    """The share of every layer, or of all together."""
    n: Count = 2
    m: Count = 4
    """For `n-of-m`: so many neighbours, of which N stay."""
    besides: tuple[str, ...] = ()
    """Names of layers that are left alone."""
    begin: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Part of the training at which pruning begins."""
    end: Annotated[float, Field(ge=0, lt=1)] = 0.6
    """And at which the share is reached; the rest of the training repairs."""
    shape: Literal["one-shot", "linear", "cubic"] = "cubic"
    rounds: Count = 8
    """So many times in between the choice is made anew."""
    images: Count = 512
    """On which gradient scores are taken."""


class MaskLogTable(Table):
    """``[mask_log]``: every mask of the training, as evidence; needs ``[sgam]``.

    It has no keys: the log lies beside the weights, and is complete or not.
    """
