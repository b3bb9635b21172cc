"""Optimizers by name, and the shapes of the learning rate over a training.

one-cycle   up in a line over the first `rise`, then down as half a cosine
cosine      the same without going up
constant    up in a line, then the peak until the end
steps       up in a line, then a tenth after 60 % and again after 85 %
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from fgmf.errors import InvalidInput
from fgmf.scorpio import CurvatureAware, CurvatureWrapped, Hutchinson

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fgmf.training.schedule import Schedule

OptimizerName = Literal["adamw", "sgd", "curvature-aware"]
RateShape = Literal["one-cycle", "cosine", "constant", "steps"]


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """Which optimizer runs, and the shape of its learning rate; length and height are a schedule's.

    Attributes:
        name: ``adamw``, ``sgd`` (Nesterov) or ``curvature-aware``
            (:class:`fgmf.scorpio.CurvatureAware`).
        base: What `curvature-aware` wraps, ``adamw`` or ``sgd``; None lets it stand alone.
        shape: Of the learning rate over the training.
        momentum: Of `sgd` and `curvature-aware`; `adamw` keeps torch's.
        curvature_every: Updates between two estimates of `curvature-aware`.
        curvature_mode: ``exact`` or ``secant``; compiled models need the latter.
    """

    name: OptimizerName = "adamw"
    base: Literal["adamw", "sgd"] | None = None
    shape: RateShape = "one-cycle"
    momentum: float = 0.9
    curvature_every: int = 10
    curvature_mode: Literal["exact", "secant"] = "exact"

    def __post_init__(self) -> None:
        """Refuse what is no optimizer.

        Raises:
            InvalidInput: An unknown name, or a value outside its range.
        """
        if self.name not in ("adamw", "sgd", "curvature-aware"):
            raise InvalidInput(
                f"expected an optimizer of adamw, sgd, curvature-aware, got {self.name!r}"
            )
        if self.base not in (None, "adamw", "sgd") or (
            self.base is not None and self.name != "curvature-aware"
        ):
            raise InvalidInput(
                "expected base as adamw or sgd, and only for curvature-aware, "
                f"got {self.base!r} for {self.name!r}"
            )
        if self.shape not in ("one-cycle", "cosine", "constant", "steps"):
            raise InvalidInput(
                f"expected a shape of one-cycle, cosine, constant, steps, got {self.shape!r}"
            )
        if not 0.0 <= self.momentum < 1.0:
            raise InvalidInput(f"expected momentum from 0 up to, without, 1, got {self.momentum!r}")

    def build(
        self, parameters: Iterable[torch.nn.Parameter], schedule: Schedule, *, seed: int
    ) -> torch.optim.Optimizer:
        """Return a new optimizer; its rate is set before every update."""
        if self.name != "curvature-aware":
            return self._plain(self.name, parameters, schedule)
        if self.base is not None:
            return CurvatureWrapped(
                self._plain(self.base, parameters, schedule),
                every=self.curvature_every,
                estimating=Hutchinson(mode=self.curvature_mode, seed=seed),
            )
        return CurvatureAware(
            parameters,
            lr=schedule.peak_learning_rate,
            beta=self.momentum,
            weight_decay=schedule.weight_decay,
            every=self.curvature_every,
            mode=self.curvature_mode,
            seed=seed,
        )

    def _plain(
        self, name: str, parameters: Iterable[torch.nn.Parameter], schedule: Schedule
    ) -> torch.optim.Optimizer:
        decay = schedule.weight_decay
        if name == "adamw":
            return torch.optim.AdamW(parameters, weight_decay=decay)
        return torch.optim.SGD(
            parameters,
            lr=schedule.peak_learning_rate,
            momentum=self.momentum,
            nesterov=self.momentum > 0,
            weight_decay=decay,
        )

    def learning_rate(self, schedule: Schedule, progress: float) -> float:
        """Return the rate of the update at `progress`, from 0 to 1, through the training."""
        if self.shape == "one-cycle":
            return schedule.learning_rate(progress)
        peak = schedule.peak_learning_rate
        if self.shape == "cosine":
            return peak * (1.0 + math.cos(math.pi * progress)) / 2.0
        if progress < schedule.rise:
            return peak * progress / schedule.rise
        if self.shape == "constant":
            return peak
        return peak * 0.1 ** ((progress >= 0.6) + (progress >= 0.85))
