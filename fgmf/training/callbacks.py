"""What is told about a training while it runs, and may look, note, stop, or change weights.

begin         before the first update, and again when a training goes on
before_loss   images of a batch, or of a part of one, are there, and passes of the model follow
before_step   gradients of a batch are there, not clipped yet
after_step    weights have moved, the average has not taken them yet: pruning puts its zeros back
after_update  the update is complete: metrics, monitors, checkpoints
after_epoch   all images were seen once more
end           the last update was made; the model still has its own weights, not the average

A callback derives from :class:`Callback` for what it leaves out. One that keeps something says so
in `state_dict`, with tensors and plain values only: a training that goes on after a crash repeats
nothing and loses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from fgmf.training.collapse import CollapseMonitor
    from fgmf.training.run import TrainingRun


class Callback:
    """Told what happens in a training; every method does nothing unless it is written."""

    def begin(self, run: TrainingRun) -> None:
        """Before the first update, or before the first one after a resumption."""

    def before_loss(self, run: TrainingRun) -> None:
        """Before the loss of a batch, or of each part of one, is computed."""

    def before_step(self, run: TrainingRun) -> None:
        """Between the backward pass and the optimizer."""

    def after_step(self, run: TrainingRun) -> None:
        """Between the optimizer and the average."""

    def after_update(self, run: TrainingRun) -> None:
        """After each complete update."""

    def after_epoch(self, run: TrainingRun) -> None:
        """After each epoch."""

    def end(self, run: TrainingRun) -> None:
        """After the last epoch."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs; tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        if state:
            raise InvalidInput(f"expected no state of this callback, got {sorted(state)}")


class CollapseWatch(Callback):
    """Shows each batch to a collapse monitor, and stops a training that collapses if asked to.

    Args:
        monitor: Looks every so many updates.
        stop: Whether an alarm stops the training.
    """

    def __init__(self, monitor: CollapseMonitor, *, stop: bool = False) -> None:
        self._monitor, self._stop = monitor, stop

    def after_update(self, run: TrainingRun) -> None:
        """Look, if it is time, and note the gap between one-step and iterative accuracy."""
        before = self._monitor.report
        self._monitor(run.step, run.model, run.images, run.labels)
        report = self._monitor.report
        if report is None or report is before:
            return
        run.note("collapse_gap", report.signals.gap)
        run.note("collapse_alarms", float(len(report.alarms)))
        if report.alarms and self._stop:
            names = ", ".join(report.alarms)
            run.stop(f"the collapse monitor reports {names} since update {report.first_alarm}")

    def state_dict(self) -> dict[str, Any]:
        """The monitor's."""
        return self._monitor.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back into the monitor."""
        self._monitor.load_state_dict(state)


class Pruning(Callback):
    """The point where pruning gets at the weights: after every step, before the average.

    Args:
        keep: Puts back what must stay zero; called with the model.
    """

    def __init__(self, keep: Callable[[nn.Module], None]) -> None:
        self._keep = keep

    def begin(self, run: TrainingRun) -> None:
        """Zeros from the start."""
        self._keep(run.model)

    def after_step(self, run: TrainingRun) -> None:
        """Zeros again, after the optimizer moved them."""
        self._keep(run.model)
