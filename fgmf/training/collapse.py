"""A monitor of training that says when catastrophic overfitting begins.

every `every` steps: signals of the batch -> window of the last n
a signal stands  while at least k of its last n values lie beyond its limit
"evidence"       stands at once where a value that is judged is NaN or infinite

A collapsed network turns its gradient within the ball: alignment and Frank-Wolfe distortion fall,
gap and curvature rise.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file

from fgmf.errors import InvalidInput
from fgmf.training.collapse_signals import measure_signals
from fgmf.verdict import Cost

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import torch
    from torch import nn

    from fgmf.threat import ThreatModel
    from fgmf.training.collapse_signals import CollapseSignals
    from fgmf.types import Images, Labels

_ABOVE: Final = ("gap", "curvature")
_BELOW: Final = ("alignment", "distortion")


@dataclass(frozen=True, kw_only=True)
class CollapseLimits:
    """From where a signal speaks for collapse; None: measured, and not judged.

    Attributes:
        gap: One-step less iterative accuracy. The literature calls 0.025 to 0.056 healthy and 0.09
            to 0.24 collapsing; small networks under PGD training were seen at up to 0.19 here.
        alignment: Below it. Not judged by default: its level depends on model and budget.
        distortion: Below it: equal gradients give 1, unrelated ones 0.75. Not judged by default,
            for the same reason.
        curvature: Above it, per unit of length. Not judged by default, for the same reason.
        needed: k, so that one noisy batch is no alarm.
        window: n.
    """

    gap: float | None = 0.2
    alignment: float | None = None
    distortion: float | None = None
    curvature: float | None = None
    needed: int = 2
    window: int = 3

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InvalidInput: Nothing is judged, a limit is not finite, or not 1 <= needed <= window.
        """
        limits = [
            v for v in (self.gap, self.alignment, self.distortion, self.curvature) if v is not None
        ]
        if not limits or not all(math.isfinite(limit) for limit in limits):
            raise InvalidInput(f"expected at least one limit, and finite ones, got {self!r}")
        if not 1 <= self.needed <= self.window:
            message = f"expected 1 <= needed <= window, got {self.needed} and {self.window}"
            raise InvalidInput(message)


@dataclass(frozen=True, kw_only=True)
class CollapseReport:
    """Where a training stands.

    Attributes:
        step: Of this observation.
        signals: Measured at it.
        limits: That they are judged by.
        alarms: Names of the signals that stand, with the step since when; empty: none stands.
        first_alarm: Step of the first alarm ever, or None.
        cost: Of all observations so far.
    """

    step: int
    signals: CollapseSignals
    limits: CollapseLimits
    alarms: dict[str, int]
    first_alarm: int | None
    cost: Cost


@dataclass(kw_only=True)
class CollapseMonitor:
    """Watch a training, as a callback in any loop.

    Attributes:
        threat: Linf, epsilon above 0.
        limits: That the signals are judged by.
        every: Steps between observations by `__call__`.
        max_images: The first so many of a batch are measured.
    """

    threat: ThreatModel
    limits: CollapseLimits = field(default_factory=CollapseLimits)
    every: int = 10
    max_images: int = 64
    report: CollapseReport | None = field(default=None, init=False)
    _beyond: dict[str, list[bool]] = field(default_factory=dict, init=False)
    _alarms: dict[str, int] = field(default_factory=dict, init=False)
    _first: int | None = field(default=None, init=False)
    _cost: Cost = field(default_factory=Cost, init=False)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InvalidInput: Another norm than Linf, no budget, or a count below 1.
        """
        if self.threat.norm != "linf" or self.threat.epsilon <= 0:
            raise InvalidInput(f"expected linf and epsilon > 0, got {self.threat!r}")
        if min(self.every, self.max_images) < 1:
            raise InvalidInput("expected every and max_images of at least 1")

    def __call__(self, step: int, model: nn.Module, images: Images, labels: Labels) -> None:
        """Observe each `every`-th step: called after each update of a loop."""
        if step % self.every == 0:
            self.observe(step, model, images, labels)

    def observe(
        self,
        step: int,
        model: nn.Module,
        images: Images,
        labels: Labels,
        perturbed_gradient: Images | None = None,
    ) -> CollapseReport:
        """Measure one batch, and judge it with those before.

        Raises:
            InvalidInput: An empty batch.

        Cost: 15 forward and 13 backward passes for each of at most `max_images` images.
        """
        if len(images) == 0 or len(images) != len(labels):
            raise InvalidInput(
                f"expected as many labels as images, at least one, got {len(images)} images "
                f"and {len(labels)} labels"
            )
        few = slice(self.max_images)
        given = None if perturbed_gradient is None else perturbed_gradient[few]
        signals = measure_signals(
            model, images[few], labels[few], self.threat, perturbed_gradient=given
        )
        return self.judge(step, signals)

    def judge(self, step: int, signals: CollapseSignals) -> CollapseReport:
        """Judge signals that were measured elsewhere, with those before."""
        self._cost = self._cost + signals.cost
        self._take(step, signals)
        self.report = CollapseReport(
            step=step,
            signals=signals,
            limits=self.limits,
            alarms=dict(self._alarms),
            first_alarm=self._first,
            cost=self._cost,
        )
        return self.report

    def state_dict(self) -> dict[str, Any]:
        """Plain values from which a resumed training goes on."""
        return {
            "beyond": {name: list(values) for name, values in self._beyond.items()},
            "alarms": dict(self._alarms),
            "first": self._first,
            "cost": asdict(self._cost),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._beyond = {name: list(values) for name, values in state["beyond"].items()}
        self._alarms = dict(state["alarms"])
        self._first = state["first"]
        self._cost = Cost(**state["cost"])

    def _take(self, step: int, signals: CollapseSignals) -> None:
        standing, missing = set(), False
        for name in (*_ABOVE, *_BELOW):
            limit, value = getattr(self.limits, name), getattr(signals, name)
            if limit is None:
                continue
            missing |= not math.isfinite(value)
            beyond = value > limit if name in _ABOVE else value < limit
            window = [*self._beyond.get(name, []), beyond][-self.limits.window :]
            self._beyond[name] = window
            if sum(window) >= self.limits.needed:
                standing.add(name)
        if missing:
            standing.add("evidence")
        self._alarms = {name: self._alarms.get(name, step) for name in sorted(standing)}
        if standing and self._first is None:
            self._first = step


def watch_checkpoints(
    monitor: CollapseMonitor,
    model: nn.Module,
    checkpoints: Iterable[tuple[int, Mapping[str, torch.Tensor] | Path]],
    images: Images,
    labels: Labels,
) -> tuple[CollapseReport, ...]:
    """Look at a series of checkpoints as if the training ran again.

    Args:
        monitor: Takes each as one observation, in the order given.
        model: Of the same architecture; its own weights are put back afterwards.
        checkpoints: Step, and a state dict or a safetensors file; steps must increase.
        images: (n, c, h, w) the same ones for all; the monitor takes its first `max_images`.
        labels: (n,).

    Returns:
        One report for each.

    Raises:
        InvalidInput: No checkpoint, steps that do not increase, or weights that do not fit.

    Cost: 15 forward and 13 backward passes per image and checkpoint.
    """
    own = {name: value.detach().clone() for name, value in model.state_dict().items()}
    reports: list[CollapseReport] = []
    try:
        for step, weights in checkpoints:
            if reports and step <= reports[-1].step:
                message = f"expected steps that increase, got {step} after {reports[-1].step}"
                raise InvalidInput(message)
            _load(model, weights, step)
            reports.append(monitor.observe(step, model, images, labels))
    finally:
        model.load_state_dict(own)
    if not reports:
        raise InvalidInput("expected at least one checkpoint, got none")
    return tuple(reports)


def _load(model: nn.Module, weights: Mapping[str, torch.Tensor] | Path, step: int) -> None:
    try:
        state = load_file(weights) if isinstance(weights, Path) else dict(weights)
        model.load_state_dict(state)
    except (RuntimeError, SafetensorError, OSError) as error:
        message = f"expected weights of this architecture at step {step}, got: {error}"
        raise InvalidInput(message) from error
