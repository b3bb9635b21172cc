"""Numbers of a training, on disk: JSON lines as they come, CSV by epoch, TensorBoard if wanted.

A training that goes on after a crash cuts the lines back to where its checkpoint was written, and
purges TensorBoard's events after it, so that no update stands there twice.
"""

from __future__ import annotations

import csv
import io
import json
import os
from typing import TYPE_CHECKING, Any

from fgmf.canonical import finite_or_none, write_atomically
from fgmf.errors import MissingDependency, StaleEvidence
from fgmf.training.callbacks import Callback

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fgmf.training.run import TrainingRun


class MetricsWriter(Callback):
    """Writes `metrics.jsonl` and `metrics.csv` into a directory.

    Args:
        directory: Made if it is missing.
        every: Updates between two lines; epochs have lines of their own.
        tensorboard: Also write event files into `tensorboard/`.

    Raises:
        MissingDependency: TensorBoard is wanted and not installed.
    """

    def __init__(self, directory: Path, *, every: int = 10, tensorboard: bool = False) -> None:
        self._lines, self._table = directory / "metrics.jsonl", directory / "metrics.csv"
        self._every = every
        self._epochs: list[dict[str, Any]] = []
        self._length = 0
        directory.mkdir(parents=True, exist_ok=True)
        self._make_board = _board(directory / "tensorboard") if tensorboard else None
        self._board: Any = None

    def begin(self, run: TrainingRun) -> None:
        """Cut the lines back to those that the state knows."""
        there = self._lines.stat().st_size if self._lines.is_file() else 0
        if there < self._length:
            raise StaleEvidence(
                f"expected at least {self._length} bytes of metrics at {self._lines}, got {there}; "
                "start anew, or put them back"
            )
        with self._lines.open("ab") as stream:
            stream.truncate(self._length)
        if self._make_board is not None:
            self._board = self._make_board(run.step + 1)

    def after_update(self, run: TrainingRun) -> None:
        """Write a line, if it is time or something was noted."""
        if run.step % self._every == 0 or run.notes:
            self._append("update", run, {"loss": run.loss})

    def after_epoch(self, run: TrainingRun) -> None:
        """Write the epoch's line, and the table of all epochs."""
        self._epochs.append(self._append("epoch", run, {"loss": run.losses[-1]}))
        names = list(dict.fromkeys(name for row in self._epochs for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._epochs)
        write_atomically(self._table, text.getvalue().encode())

    def end(self, run: TrainingRun) -> None:  # noqa: ARG002 - of the interface
        """Close the event file: what is in its buffer is written."""
        if self._board is not None:
            self._board.close()

    def state_dict(self) -> dict[str, Any]:
        """How long the lines are, which are on the disk by then, and the epochs."""
        if self._lines.is_file():
            with self._lines.open("ab") as stream:
                os.fsync(stream.fileno())
        return {"length": self._length, "epochs": [dict(row) for row in self._epochs]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave; the file is cut when the training begins."""
        self._length = int(state["length"])
        self._epochs = [dict(row) for row in state["epochs"]]

    def _append(self, kind: str, run: TrainingRun, numbers: dict[str, float]) -> dict[str, Any]:
        numbers = {**numbers, "learning_rate": run.learning_rate, **run.notes}
        row: dict[str, Any] = {"epoch": run.epoch + (kind == "update"), "step": run.step}
        row |= {name: finite_or_none(value) for name, value in numbers.items()}
        row["seconds"] = round(run.seconds, 3)
        line = json.dumps({"kind": kind, **row}, allow_nan=False).encode() + b"\n"
        with self._lines.open("ab") as stream:
            stream.write(line)
        self._length += len(line)
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(f"{kind}/{name}", value, run.step)
        return row


def require_tensorboard() -> type[Any]:
    """Import TensorBoard's writer of event files; return its class.

    Raises:
        MissingDependency: The package is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependency(
            "expected the package tensorboard for TensorBoard's event files, got none; install "
            "it, or leave tensorboard = true out"
        ) from error
    writer: type[Any] = SummaryWriter
    return writer


def _board(directory: Path) -> Callable[[int], Any]:
    """What opens an event file for events from a step on; older ones are void from there."""
    writer = require_tensorboard()
    return lambda step: writer(str(directory), purge_step=step)
