"""`fgmf train`: a recipe file to weights, with a bar on a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fgmf.cli.exits import ExitCode, say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def run_train(recipe: Path, *, restart: bool) -> ExitCode:
    """Train by a recipe file, or go on with a training that was cut off.

    Args:
        recipe: The file.
        restart: Throw an earlier training in its directory away.

    Returns:
        FAILED where the collapse monitor stopped the training; PASSED otherwise.

    Raises:
        InvalidRecipeFile: With every problem of the file.
    """
    from fgmf.pipeline.loading import load_recipe_file

    plan = load_recipe_file(recipe.absolute())
    from fgmf.pipeline.running import TrainingRequest, run_training
    from fgmf.processes import joined_processes

    with joined_processes() as processes, _bar() as bars:
        first = processes is None or processes.rank == 0
        request = TrainingRequest(
            restart=restart,
            notify=lambda text: say(f"note: {text}") if first else None,
            callbacks=bars,
            processes=processes,
        )
        outcome = run_training(plan, request)
    if not first:
        return ExitCode.FAILED if outcome.stopped else ExitCode.PASSED
    what = "was trained before" if outcome.already else "trained"
    say(f"{what}: {outcome.steps} updates, weights in {outcome.directory / 'weights.safetensors'}")
    if outcome.stopped:
        say(f"stopped before its time: {outcome.stopped}", error=True)
        return ExitCode.FAILED
    return ExitCode.PASSED


@contextmanager
def _bar() -> Iterator[list[Any]]:
    """A callback that draws on a terminal; none elsewhere."""
    if not sys.stderr.isatty():
        yield []
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    from fgmf.training import Callback, TrainingRun

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), Remaining())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("training", total=None)

        class Bar(Callback):
            """Where the training stands."""

            def begin(self, run: TrainingRun) -> None:
                progress.update(task, total=run.steps, completed=run.step)

            def after_update(self, run: TrainingRun) -> None:
                text = f"epoch {run.epoch + 1}, loss {run.loss:.3f}"
                progress.update(task, description=text, completed=run.step)

        yield [Bar()]
