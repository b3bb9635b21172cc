"""Progress bars on a terminal; elsewhere nothing at all."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.gates.specification import Progress


class ProgressLine:
    """The bar of the gate that is running, on the standard error stream."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        self._bar: Any = None
        self._task: Any = None

    @contextmanager
    def shown(self, gate: str) -> Iterator[None]:
        """Show a bar while the body runs, and remove it afterwards.

        Args:
            gate: Name of the gate.
        """
        if not sys.stderr.isatty():
            yield
            return
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed

        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), Elapsed())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            self._bar, self._task = bar, bar.add_task(escape(gate), total=None)
            try:
                yield
            finally:
                self._bar = None

    def update(self, progress: Progress) -> None:
        """Take news from a running gate."""
        if self._bar is not None:
            from rich.markup import escape

            self._bar.update(
                self._task,
                description=escape(f"{progress.gate}: {progress.stage}"),
                completed=progress.done,
                total=progress.total,
            )
